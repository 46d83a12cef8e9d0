package codec

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestParseEnginePacket(t *testing.T) {
	for _, tt := range []struct {
		text    string
		typ     EngineType
		content string
	}{
		{`0{"sid":"x"}`, EngineOpen, `{"sid":"x"}`},
		{"1", EngineClose, ""},
		{"2", EnginePing, ""},
		{"2probe", EnginePing, "probe"},
		{"3probe", EnginePong, "probe"},
		{`42["a"]`, EngineMessage, `2["a"]`},
		{"4", EngineMessage, ""},
		{"4é\x1e", EngineMessage, "é\x1e"},
		{"5", EngineUpgrade, ""},
		{"6", EngineNoop, ""},
	} {
		typ, content, err := ParseEnginePacket([]byte(tt.text))
		if typ != tt.typ || string(content) != tt.content || err != nil {
			t.Errorf("%q: %c %q, %v; want %c %q", tt.text, typ, content, err, tt.typ, tt.content)
		}
	}
	for _, text := range []string{"", "7", "/", "b", "bAQID", "a", "\x00", "\x1e", " 4", "é", "\xff"} {
		_, content, err := ParseEnginePacket([]byte(text))
		wantSyntax(t, len(content), err, LayerEngine)
	}
}

// payloadSamples are bodies of long-polling requests with the packets in them.
var payloadSamples = []struct {
	body    string
	packets []string
}{
	{"2", []string{"2"}},
	{"4hello\x1e2\x1e4world", []string{"4hello", "2", "4world"}},
	{"4hello\x1ebAQIDBA==", []string{"4hello", "bAQIDBA=="}},
	{"451-[\"a\",{\"_placeholder\":true,\"num\":0}]\x1ebAQID\x1e2", []string{`451-["a",{"_placeholder":true,"num":0}]`, "bAQID", "2"}},
	{"\x1e", []string{"", ""}},
	{"4a\x1e", []string{"4a", ""}},
	{"\x1e4a", []string{"", "4a"}},
	{"", []string{""}},
}

func TestNextPacket(t *testing.T) {
	for _, sample := range payloadSamples {
		var got []string
		for packet, rest := NextPacket([]byte(sample.body)); ; packet, rest = NextPacket(rest) {
			got = append(got, string(packet))
			if rest == nil {
				break
			}
		}
		if strings.Join(got, "|") != strings.Join(sample.packets, "|") || len(got) != len(sample.packets) {
			t.Errorf("%q: packets %q, want %q", sample.body, got, sample.packets)
		}
	}
}

func TestAppendPacket(t *testing.T) {
	for _, sample := range payloadSamples {
		var body []byte
		for _, packet := range sample.packets {
			body = AppendPacket(body, []byte(packet))
		}
		if want := strings.TrimLeft(sample.body, "\x1e"); string(body) != want { // the separator stands only between packets
			t.Errorf("packets %q are written as %q, want %q", sample.packets, body, want)
		}
	}
}

// binarySamples are binary packets of a payload with the bytes they carry.
var binarySamples = []struct {
	packet string
	data   []byte
}{
	{"b", nil},
	{"bAA==", []byte{0}},
	{"b+/8=", []byte{0xfb, 0xff}},
	{"bAQID", []byte{1, 2, 3}},
	{"bAQIDBA==", []byte{1, 2, 3, 4}},
	{"bHh4e", []byte{0x1e, 0x1e, 0x1e}},
}

func TestBinaryPacket(t *testing.T) {
	for _, sample := range binarySamples {
		data, err := DecodeBinaryPacket([]byte(sample.packet))
		if !IsBinaryPacket([]byte(sample.packet)) || err != nil || !bytes.Equal(data, sample.data) {
			t.Errorf("%q: % x, %v; want % x", sample.packet, data, err, sample.data)
		}
		if got := newBinary(sample.data).AppendPayload(nil); string(got) != sample.packet {
			t.Errorf("% x is written as %q, want %q", sample.data, got, sample.packet)
		}
		for i := 1; i < len(sample.packet); i++ {
			// If it is cut after a group of four characters, the rest is valid base64
			// of the beginning.
			got, err := DecodeBinaryPacket([]byte(sample.packet[:i]))
			if err == nil && (i%4 != 1 || !bytes.HasPrefix(sample.data, got)) {
				t.Errorf("%q: decoded to % x", sample.packet[:i], got)
			}
		}
	}
	for _, packet := range []string{"", "4a", "bA", "bAQI", "bAQID=", "bAQ==ID", "b-_8=", "b*", "bé", "b\x1e", "b AQID"} {
		data, err := DecodeBinaryPacket([]byte(packet))
		wantSyntax(t, len(data), err, LayerEngine)
	}
	if IsBinaryPacket([]byte("4b")) || IsBinaryPacket(nil) {
		t.Error("a text packet or an empty one counts as binary")
	}
}

func TestAppendOpen(t *testing.T) {
	for _, tt := range []struct {
		open Open
		want string
	}{
		{Open{SID: "lv_VI97HAXpY6yYWAAAC", Upgrade: true, PingInterval: 25000, PingTimeout: 20000, MaxPayload: 1000000},
			`0{"sid":"lv_VI97HAXpY6yYWAAAC","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`},
		{Open{SID: "x", PingInterval: 1, PingTimeout: 2, MaxPayload: 3},
			`0{"sid":"x","upgrades":[],"pingInterval":1,"pingTimeout":2,"maxPayload":3}`},
	} {
		got := string(AppendOpen([]byte("x"), tt.open))
		if got != "x"+tt.want || !ValidJSON([]byte(tt.want[1:])) {
			t.Errorf("open packet %q, want %q", got, "x"+tt.want)
		}
	}
}

func TestErrorsNameTheirLayer(t *testing.T) {
	for layer, want := range map[Layer]string{
		LayerHTTP: "http", LayerWebSocket: "websocket", LayerEngine: "engine.io", LayerSocket: "socket.io", 9: "layer 9",
	} {
		if got := layer.String(); got != want {
			t.Errorf("the name of layer %d is %q, want %q", layer, got, want)
		}
	}
	_, _, err := ParseEnginePacket([]byte("x"))
	if got := err.Error(); got != "engine.io: packet type 'x'" {
		t.Errorf("syntax error %q", got)
	}
	_, err = ParseSocketPacket([]byte("511-[]"))
	var limit *LimitError
	if !errors.As(err, &limit) || err.Error() != "socket.io: attachments 11, max 10" {
		t.Errorf("limit error %q", err)
	}
}
