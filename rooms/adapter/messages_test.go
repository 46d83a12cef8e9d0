package adapter

import (
	"encoding/hex"
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/rooms/adapter/notepack"
)

func bytesOf(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// encode writes JSON as notepack.
func encode(text string) []byte { return notepack.AppendFromJSON(nil, []byte(text)) }

func TestParseEmitReadsWhatNodePublishes(t *testing.T) {
	for _, c := range []struct {
		name, hex string
		packet    string
		want      Emit
	}{
		{
			"emitter to one room",
			"93a7656d697474657283a47479706502a46461746192ae626f6f6b696e675f75706461746581a9626f6f6b696e674964a26231a36e7370a12f83a5726f6f6d7391a7757365723a3432a5666c61677380a665786365707490",
			`42["booking_update",{"bookingId":"b1"}]`,
			Emit{Sender: EmitterID, Event: "booking_update", Options: Options{Rooms: []string{"user:42"}, Except: []string{}}},
		},
		{
			"server to a room but one socket",
			"93a661423378593983a47479706502a46461746192ab6e65775f6d65737361676581a16101a36e7370a12f83a5726f6f6d7391ae636f6e766572736174696f6e3a37a665786365707491a3534944a5666c61677380",
			`42["new_message",{"a":1}]`,
			Emit{Sender: "aB3xY9", Event: "new_message", Options: Options{Rooms: []string{"conversation:7"}, Except: []string{"SID"}}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := ParseEmit(bytesOf(t, c.hex))
			if err != nil {
				t.Fatal(err)
			}
			if got := string(e.Message(-1).AppendPayload(nil)); got != c.packet {
				t.Errorf("packet %s, want %s", got, c.packet)
			}
			e.text = nil
			if !reflect.DeepEqual(*e, c.want) {
				t.Errorf("got %+v, want %+v", *e, c.want)
			}
		})
	}
}

func TestParseEmitDropsWhatWouldEndClients(t *testing.T) {
	for _, c := range []struct {
		name, json string
		reason     Reason
	}{
		{"a map, as the streams adapter publishes", `{"uid":"a"}`, Undecodable},
		{"no options", `["a",{"type":2,"data":["x"],"nsp":"/"}]`, Undecodable},
		{"options null", `["a",{"type":2,"data":["x"],"nsp":"/"},null]`, Undecodable},
		{"rooms that are no list", `["a",{"type":2,"data":["x"],"nsp":"/"},{"rooms":7}]`, Undecodable},
		{"packet null", `["a",null,{}]`, Undecodable},
		{"another namespace", `["a",{"type":2,"data":["x"],"nsp":"/admin"},{}]`, Namespace},
		{"a CONNECT, which changes the client's id", `["a",{"type":0,"data":{"sid":"y"},"nsp":"/"},{}]`, PacketType},
		{"a DISCONNECT", `["a",{"type":1,"nsp":"/"},{}]`, PacketType},
		{"an ACK", `["a",{"type":3,"data":[],"id":1,"nsp":"/"},{}]`, PacketType},
		{"a type that is a text", `["a",{"type":"2","data":["x"],"nsp":"/"},{}]`, PacketType},
		{"an id that is a text", `["a",{"type":2,"id":"7","data":["x"],"nsp":"/"},{}]`, PacketType},
		{"no data", `["a",{"type":2,"nsp":"/"},{}]`, EventName},
		{"empty data", `["a",{"type":2,"data":[],"nsp":"/"},{}]`, EventName},
		{"data that is no list", `["a",{"type":2,"data":{"a":1},"nsp":"/"},{}]`, EventName},
		{"a name that is a number", `["a",{"type":2,"data":[1],"nsp":"/"},{}]`, EventName},
		{"a reserved name", `["a",{"type":2,"data":["disconnect"],"nsp":"/"},{}]`, EventName},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseEmit(encode(c.json))
			var unfit *Unfit
			if !errors.As(err, &unfit) || unfit.Reason != c.reason {
				t.Errorf("got %v, want it dropped for: %s", err, c.reason)
			}
		})
	}
	many := notepack.AppendArray(nil, 3)
	many = notepack.AppendString(many, "a")
	many = notepack.AppendString(notepack.AppendMap(many, 2), "type")
	many = notepack.AppendString(notepack.AppendInt(many, 2), "data")
	many = notepack.AppendString(notepack.AppendArray(many, 12), "x")
	for range 11 {
		many = append(many, 0xc4, 1, 7)
	}
	many = notepack.AppendMap(many, 0)
	var unfit *Unfit
	if _, err := ParseEmit(many); !errors.As(err, &unfit) || unfit.Reason != Attachments {
		t.Errorf("eleven attachments: %v", err)
	}
}

func TestAnEmitOfOursReadsAsOneOfTheirs(t *testing.T) {
	o := Options{Rooms: []string{"conversation:7"}, Except: []string{"sid"}, Volatile: true}
	b, err := AppendEmit(nil, "gateway", []byte(`42["user_typing",{"userId":"é","room":"conversation:7"}]`), o)
	if err != nil {
		t.Fatal(err)
	}
	e, err := ParseEmit(b)
	if err != nil {
		t.Fatal(err)
	}
	if e.checkSize(60) != nil || e.checkSize(40) == nil {
		t.Errorf("its %d bytes are not between 40 and 60", len(e.text))
	}
	if !reflect.DeepEqual(e.Options, o) || e.Sender != "gateway" || e.Event != "user_typing" {
		t.Errorf("got %+v", *e)
	}
	if got := string(e.Message(7).AppendPayload(nil)); got != `427["user_typing",{"userId":"é","room":"conversation:7"}]` {
		t.Errorf("packet %s", got)
	}
	for _, packet := range []string{"", "2", `43["x"]`, "41", `40{"sid":"x"}`, `451-["x",{"_placeholder":true,"num":0}]`} {
		if _, err := AppendEmit(nil, "gateway", []byte(packet), o); err == nil {
			t.Errorf("%q was published", packet)
		}
	}
}

func TestParseRequest(t *testing.T) {
	room := Options{Rooms: []string{"a"}, Except: []string{}}
	for _, c := range []struct {
		name string
		in   []byte
		want Request
	}{
		{"sockets", []byte(`{"uid":"u","requestId":"r","type":0,"rooms":["a"]}`),
			Request{Type: AskSockets, Sender: "u", ID: "r", Options: Options{Rooms: []string{"a"}}}},
		{"rooms", []byte(`{"uid":"u","requestId":"r","type":1}`), Request{Type: AskRooms, Sender: "u", ID: "r"}},
		{"join of many", []byte(`{"uid":"u","type":2,"opts":{"rooms":["a"],"except":[]},"rooms":["b","c"]}`),
			Request{Type: Join, Sender: "u", Options: room, Names: []string{"b", "c"}}},
		{"leave by an emitter", []byte(`{"type":3,"opts":{"rooms":["a"],"except":[]},"rooms":["b"]}`),
			Request{Type: Leave, Options: room, Names: []string{"b"}}},
		{"join of one, in the old form", []byte(`{"requestId":"r","type":2,"sid":"s","room":"b"}`),
			Request{Type: Join, ID: "r", Single: "s", Names: []string{"b"}}},
		{"disconnect", []byte(`{"uid":"u","type":4,"opts":{"rooms":["a"],"except":[]},"close":true}`),
			Request{Type: Disconnect, Sender: "u", Options: room, Close: true}},
		{"fetch in notepack", encode(`{"uid":"u","requestId":"r","type":5,"opts":{"rooms":["a"],"except":[]}}`),
			Request{Type: Fetch, Sender: "u", ID: "r", Options: room}},
		{"server side emit", []byte(`{"uid":"u","requestId":"r","type":6,"data":["x",1]}`),
			Request{Type: ServerSideEmit, Sender: "u", ID: "r"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := ParseRequest(c.in)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(*r, c.want) {
				t.Errorf("got %+v, want %+v", *r, c.want)
			}
		})
	}
	r, err := ParseRequest(encode(`{"uid":"u","requestId":"r","type":7,"packet":{"type":2,"data":["x",1],"nsp":"/"},` +
		`"opts":{"rooms":["a"],"except":[],"flags":{"timeout":2000}}}`))
	if err != nil || r.Emit == nil || r.Emit.Event != "x" || r.Timeout != 2000 {
		t.Errorf("event to be acknowledged: %+v, %v", r, err)
	}
	for _, bad := range []string{``, `{`, `{}`, `null`, `{"type":5}`, `{"type":0,"rooms":7}`, `{"type":7,"requestId":"r"}`,
		`{"type":12}`, `{"type":"0"}`, `{"type":2}`, `[1]`} {
		if _, err := ParseRequest([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestAnswersAreWhatNodeReads(t *testing.T) {
	r := &Request{ID: "r"}
	for _, c := range []struct{ name, got, want string }{
		{"sockets", string(SocketsAnswer(r, nil)), `{"requestId":"r","sockets":[]}`},
		{"rooms", string(RoomsAnswer(r, []string{"a"})), `{"requestId":"r","rooms":["a"]}`},
		{"done", string(DoneAnswer(r)), `{"requestId":"r"}`},
		{"server side", string(ServerSideAnswer(r)), `{"type":6,"requestId":"r","data":null}`},
		{"count", string(CountAnswer(r, 0)), `{"type":8,"requestId":"r","clientCount":0}`},
		{"fetch", string(FetchAnswer(r, []Socket{{ID: "s", User: "42", Rooms: []string{"s"}}})),
			`{"requestId":"r","sockets":[{"id":"s","handshake":{"headers":{},"query":{},"auth":{}},"rooms":["s"],"data":{"userId":"42"}}]}`},
		{"disconnect", string(DisconnectRequest("g", "user:42")),
			`{"uid":"g","type":4,"opts":{"rooms":["user:42"],"except":[]},"close":false}`},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, c.got, c.want)
		}
	}
	v, err := notepack.Decode(AckAnswer(r, []byte(`[{"ok":true},2]`), nil))
	if err != nil {
		t.Fatal(err)
	}
	if text, _ := v.AppendJSON(nil, nil); string(text) != `{"type":9,"requestId":"r","packet":{"ok":true}}` {
		t.Errorf("ack: %s", text)
	}
	v, err = notepack.Decode(AckAnswer(r, []byte(`[{"file":{"_placeholder":true,"num":0}}]`), [][]byte{{1, 2}}))
	if err != nil {
		t.Fatal(err)
	}
	packet, _ := v.Get("packet")
	if file, _ := packet.Get("file"); file.Kind != notepack.Binary || len(file.Bytes) != 2 {
		t.Errorf("attachment: %+v", packet)
	}
}

func TestChannels(t *testing.T) {
	n := NamesOf("socket.io")
	for _, room := range []string{"conversation:7", "#", "a#b", ""} {
		channel := n.Room(room)
		if room == "" {
			channel = n.Broadcast
		}
		if got, ok := n.RoomOf(channel); got != room || !ok {
			t.Errorf("%q: %q, %v", channel, got, ok)
		}
	}
	if got, want := NamesOf(`a*[b]?\`).Rooms(), `a\*\[b\]\?\\#/#*`; got != want {
		t.Errorf("pattern %s, want %s", got, want)
	}
	if _, ok := n.RoomOf(n.Request); ok {
		t.Error("the request channel is taken for a broadcast's")
	}
}

// In Node, io.to(undefined) means nobody.
func TestNamesOfNoRoomAreNotNoNames(t *testing.T) {
	for _, c := range []struct {
		rooms string
		want  Options
	}{
		{`[]`, Options{All: true, Rooms: []string{}}},
		{`null`, Options{All: true}},
		{`[null]`, Options{Rooms: []string{}}},
		{`[null,true,{},[]]`, Options{Rooms: []string{}}},
		{`[""]`, Options{Rooms: []string{}}},
		{`["",null,"a",7]`, Options{Rooms: []string{"a", "7"}}},
	} {
		t.Run(c.rooms, func(t *testing.T) {
			e, err := ParseEmit(encode(`["a",{"type":2,"data":["x"],"nsp":"/"},{"rooms":` + c.rooms + `}]`))
			if err != nil || !reflect.DeepEqual(e.Options, c.want) {
				t.Errorf("emit: %+v, %v; want %+v", e, err, c.want)
			}
			for _, kind := range []string{"3", "4", "5"} {
				r, err := ParseRequest([]byte(`{"type":` + kind + `,"requestId":"r","opts":{"rooms":` + c.rooms + `},"rooms":["b"]}`))
				if err != nil || !reflect.DeepEqual(r.Options, c.want) {
					t.Errorf("request %s: %+v, %v; want %+v", kind, r, err, c.want)
				}
			}
			r, err := ParseRequest([]byte(`{"type":0,"requestId":"r","rooms":` + c.rooms + `}`))
			if err != nil || !reflect.DeepEqual(r.Options, c.want) {
				t.Errorf("sockets: %+v, %v; want %+v", r, err, c.want)
			}
		})
	}
	e, err := ParseEmit(encode(`["a",{"type":2,"data":["x"],"nsp":"/"},{"except":["",null,"a"]}]`))
	if want := []string{"a"}; err != nil || !slices.Equal(e.Except, want) {
		t.Errorf("except: %+v, %v", e, err)
	}
}

// FuzzMessages looks for messages of others that make a panic, or that come
// out as something clients do not take.
func FuzzMessages(f *testing.F) {
	f.Add(encode(`["a",{"type":2,"data":["x",{"a":1}],"nsp":"/"},{"rooms":["a"],"except":[],"flags":{}}]`))
	f.Add(encode(`{"uid":"u","requestId":"r","type":7,"packet":{"type":2,"data":["x",1],"nsp":"/"},"opts":{"rooms":["a"]}}`))
	f.Add([]byte(`{"uid":"u","type":4,"opts":{"rooms":["a"],"except":[]},"close":true}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := ParseEmit(b); err == nil {
			checkPacket(t, e)
		}
		if r, err := ParseRequest(b); err == nil && r.Emit != nil {
			checkPacket(t, r.Emit)
		}
	})
}

func checkPacket(t *testing.T, e *Emit) {
	t.Helper()
	if _, err := codec.FromFrames(e.Message(-1).Frames()); err != nil {
		t.Fatalf("frames: %v", err)
	}
	text := e.Message(3).Text()
	p, err := codec.ParseSocketPacket(text[1:])
	if err != nil || p.ID != 3 || p.Attachments != len(e.binaries) {
		t.Fatalf("%q: %+v, %v", text, p, err)
	}
	if _, _, err := codec.ParseEvent(p.Data); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
}
