package codec

import (
	"strings"
	"testing"
)

// pollingHead is the head of a poll of the JavaScript client, as Chromium sends it.
const pollingHead = "GET /socket.io/?EIO=4&transport=polling&t=P2xkXzq&sid=AAAB3nQx0a9cJm1KcG8rZw HTTP/1.1\r\n" +
	"Host: gateway.hometrip.example:3002\r\n" +
	"Connection: keep-alive\r\n" +
	"sec-ch-ua-platform: \"Linux\"\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36\r\n" +
	"Accept: */*\r\n" +
	"sec-ch-ua: \"Not)A;Brand\";v=\"8\", \"Chromium\";v=\"138\"\r\n" +
	"sec-ch-ua-mobile: ?0\r\n" +
	"Origin: http://localhost:3000\r\n" +
	"Sec-Fetch-Site: cross-site\r\n" +
	"Sec-Fetch-Mode: cors\r\n" +
	"Sec-Fetch-Dest: empty\r\n" +
	"Referer: http://localhost:3000/\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
	"Accept-Language: en-US,en;q=0.9,de;q=0.8\r\n" +
	"Cookie: _ga=GA1.1.1234567890.1700000000; session=s%3Aabcdefghijklmnopqrstuvwxyz0123456789\r\n" +
	"\r\n"

// webSocketHead is a WebSocket handshake as Chromium sends it.
const webSocketHead = "GET /socket.io/?EIO=4&transport=websocket&sid=AAAB3nQx0a9cJm1KcG8rZw HTTP/1.1\r\n" +
	"Host: gateway.hometrip.example:3002\r\n" +
	"Connection: Upgrade\r\n" +
	"Pragma: no-cache\r\n" +
	"Cache-Control: no-cache\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36\r\n" +
	"Upgrade: websocket\r\n" +
	"Origin: http://localhost:3000\r\n" +
	"Sec-WebSocket-Version: 13\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
	"Accept-Language: en-US,en;q=0.9,de;q=0.8\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
	"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" +
	"\r\n"

const typingPacket = `42["typing",{"roomType":"conversation","roomId":"42"}]`

// walkTyping reads the fields of a typing event as its handler does.
func walkTyping(packet []byte) (roomType, roomID []byte) {
	_, content, err := ParseEnginePacket(packet)
	if err != nil {
		panic(err)
	}
	p, err := ParseSocketPacket(content)
	if err != nil {
		panic(err)
	}
	_, args, err := ParseEvent(p.Data)
	if err != nil {
		panic(err)
	}
	object, _ := NextArg(args)
	for key, value := range Members(object) {
		switch string(key) {
		case "roomType":
			roomType, _ = Text(value)
		case "roomId":
			roomID, _ = Text(value)
		}
	}
	return roomType, roomID
}

// Results are stored here so that the compiler must allocate them.
var (
	sink     *Message
	sinkText []byte
)

// hotPaths returns the operations of the hot path, each with the most allocations it
// may make.
func hotPaths() []struct {
	name   string
	allocs float64
	bytes  int // read or written by run, for the throughput
	run    func()
} {
	polling, webSocket := []byte(pollingHead), []byte(webSocketHead)
	typing := []byte(typingPacket)
	header := []byte{0x81, 0xfe, 0x01, 0x00, 1, 2, 3, 4}
	long := []byte(`"` + strings.Repeat("a long message of 64 bytes, with some ünïcödé in the middle of it ", 64) + `"`)
	open := Open{SID: "AAAB3nQx0a9cJm1KcG8rZw", Upgrade: true, PingInterval: 25000, PingTimeout: 60000, MaxPayload: 1000000}
	escaped := []byte(`"conversation \"42\" of Zo\u00eb \ud83d\ude00\n"`)
	warm := make([]byte, 0, 1024)
	chunked := []byte("1f\r\n" + strings.Repeat("x", 31) + "\r\n0\r\n\r\n")
	var h Head
	if n, err := ParseHead(webSocket, &h); n == 0 || err != nil {
		panic(err)
	}
	handshake := h
	return []struct {
		name   string
		allocs float64
		bytes  int
		run    func()
	}{
		{"ParseHead/polling", 0, len(polling), func() { ParseHead(polling, &h) }},
		{"ParseHead/websocket", 0, len(webSocket), func() { ParseHead(webSocket, &h) }},
		{"Field/last", 0, len(webSocket), func() { handshake.Field("sec-websocket-extensions") }},
		{"AcceptWebSocket", 0, len(webSocket), func() {
			if handshake.CheckWebSocket() == nil {
				AppendSwitching(warm, &handshake)
			}
		}},
		{"ParseChunked", 0, len(chunked), func() { ParseChunked(warm, chunked, 1000) }},
		{"ParseFrameHeader", 0, len(header), func() { ParseFrameHeader(header) }},
		{"Typing", 0, len(typing), func() { walkTyping(typing) }},
		{"ValidJSON/long", 0, len(long), func() { ValidJSON(long) }},
		{"Text/escaped", 1, len(escaped), func() { sinkText, _ = Text(escaped) }},
		{"AppendOpen", 0, 0, func() { AppendOpen(warm, open) }},
		{"AppendString", 0, 64, func() { AppendString(warm, "conversation:42, \"Zoë\" is typing\n, and has been for some minutes") }},
		{"NewText", 2, len(typing), func() { sink = NewText(typing) }},
	}
}

func TestHotPathsDoNotAllocate(t *testing.T) {
	for _, hot := range hotPaths() {
		if got := testing.AllocsPerRun(100, hot.run); got > hot.allocs {
			t.Errorf("%s: %v allocations, want at most %v", hot.name, got, hot.allocs)
		}
	}
}

func BenchmarkHotPaths(b *testing.B) {
	for _, hot := range hotPaths() {
		b.Run(hot.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(hot.bytes))
			for b.Loop() {
				hot.run()
			}
		})
	}
}
