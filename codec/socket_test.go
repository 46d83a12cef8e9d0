package codec

import (
	"errors"
	"strconv"
	"strings"
	"testing"
)

// socketSamples are packets of clients with their parsed fields. Most are from the
// protocol document.
var socketSamples = []struct {
	text string
	want SocketPacket
}{
	{"0", SocketPacket{Type: SocketConnect, ID: NoAck}},
	{`0{"token":"123"}`, SocketPacket{Type: SocketConnect, ID: NoAck, Data: []byte(`{"token":"123"}`)}},
	{"0/admin,", SocketPacket{Type: SocketConnect, Namespace: []byte("/admin"), ID: NoAck}},
	{"0/admin", SocketPacket{Type: SocketConnect, Namespace: []byte("/admin"), ID: NoAck}},
	{`0/admin,{"token":"123"}`, SocketPacket{Type: SocketConnect, Namespace: []byte("/admin"), ID: NoAck, Data: []byte(`{"token":"123"}`)}},
	{"0/,{}", SocketPacket{Type: SocketConnect, Namespace: []byte("/"), ID: NoAck, Data: []byte("{}")}},
	{"1", SocketPacket{Type: SocketDisconnect, ID: NoAck}},
	{"1/admin,", SocketPacket{Type: SocketDisconnect, Namespace: []byte("/admin"), ID: NoAck}},
	{`2["foo"]`, SocketPacket{Type: SocketEvent, ID: NoAck, Data: []byte(`["foo"]`)}},
	{`2/admin,["bar"]`, SocketPacket{Type: SocketEvent, Namespace: []byte("/admin"), ID: NoAck, Data: []byte(`["bar"]`)}},
	{`212["foo"]`, SocketPacket{Type: SocketEvent, ID: 12, Data: []byte(`["foo"]`)}},
	{`20["foo",1]`, SocketPacket{Type: SocketEvent, ID: 0, Data: []byte(`["foo",1]`)}},
	{`2/admin,456["project:delete",123]`, SocketPacket{Type: SocketEvent, Namespace: []byte("/admin"), ID: 456, Data: []byte(`["project:delete",123]`)}},
	{`29007199254740991["foo"]`, SocketPacket{Type: SocketEvent, ID: maxAckID, Data: []byte(`["foo"]`)}},
	{`2[ "foo" ] `, SocketPacket{Type: SocketEvent, ID: NoAck, Data: []byte(`[ "foo" ] `)}},
	{`212 ["foo"]`, SocketPacket{Type: SocketEvent, ID: 12, Data: []byte(`["foo"]`)}},
	{"2/admin, 12\t\r\n[\"foo\"]", SocketPacket{Type: SocketEvent, Namespace: []byte("/admin"), ID: 12, Data: []byte(`["foo"]`)}},
	{`2 ["foo"]`, SocketPacket{Type: SocketEvent, ID: NoAck, Data: []byte(`["foo"]`)}},
	{`0 {}`, SocketPacket{Type: SocketConnect, ID: NoAck, Data: []byte(`{}`)}},
	{`1 `, SocketPacket{Type: SocketDisconnect, ID: NoAck}},
	{`3/admin,456[]`, SocketPacket{Type: SocketAck, Namespace: []byte("/admin"), ID: 456, Data: []byte("[]")}},
	{`312["bar"]`, SocketPacket{Type: SocketAck, ID: 12, Data: []byte(`["bar"]`)}},
	{`51-["baz",{"_placeholder":true,"num":0}]`,
		SocketPacket{Type: SocketBinaryEvent, Attachments: 1, ID: NoAck, Data: []byte(`["baz",{"_placeholder":true,"num":0}]`)}},
	{`52-/admin,7["baz",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`,
		SocketPacket{Type: SocketBinaryEvent, Attachments: 2, Namespace: []byte("/admin"), ID: 7,
			Data: []byte(`["baz",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`)}},
	{`510-["a"]`, SocketPacket{Type: SocketBinaryEvent, Attachments: MaxAttachments, ID: NoAck, Data: []byte(`["a"]`)}},
	{`61-/admin,456[{"_placeholder":true,"num":0}]`,
		SocketPacket{Type: SocketBinaryAck, Attachments: 1, Namespace: []byte("/admin"), ID: 456, Data: []byte(`[{"_placeholder":true,"num":0}]`)}},
}

func samePacket(a, b *SocketPacket) bool {
	return a.Type == b.Type && a.Attachments == b.Attachments && string(a.Namespace) == string(b.Namespace) &&
		a.ID == b.ID && string(a.Data) == string(b.Data) && (a.Data == nil) == (b.Data == nil)
}

func TestParseSocketPacket(t *testing.T) {
	for _, sample := range socketSamples {
		p, err := ParseSocketPacket([]byte(sample.text))
		if err != nil || !samePacket(&p, &sample.want) {
			t.Errorf("%q: %+v, %v; want %+v", sample.text, p, err, sample.want)
		}
		if root := len(sample.want.Namespace) <= 1; p.IsRoot() != root {
			t.Errorf("%q: is for the root namespace: %v, want %v", sample.text, p.IsRoot(), root)
		}
	}
}

// Each sample is truncated at every byte. It must be refused, or be a packet without
// data, which only CONNECT and DISCONNECT may be.
func TestParseSocketPacketCutShort(t *testing.T) {
	for _, sample := range socketSamples {
		end := len(strings.TrimRight(sample.text, " "))
		for i := range end {
			p, err := ParseSocketPacket([]byte(sample.text[:i]))
			if err != nil {
				continue
			}
			if p.Data != nil || p.Type != SocketConnect && p.Type != SocketDisconnect || i > end-len(sample.want.Data) {
				t.Errorf("first %d bytes of %q: %+v", i, sample.text, p)
			}
		}
	}
}

var refusedPackets = []struct{ reason, text string }{
	{"nothing", ""},
	{"unknown type", `7["a"]`},
	{"no type", `["a"]`},
	{"type as a letter", `a["a"]`},
	{"event without data", "2"},
	{"event with an id only", "212"},
	{"event with an object", `2{"a":1}`},
	{"event with a string", `2"a"`},
	{"event with null", "2null"},
	{"event with broken JSON", `2["a"`},
	{"event with something behind the array", `2["a"]x`},
	{"event with two arrays", `2["a"]["b"]`},
	{"event with a comma too many", `2["a",]`},
	{"event with a space in its id", `21 2["a"]`},
	{"event with a no-break space before the array", "212\u00a0[\"a\"]"},
	{"event in a namespace without a comma", `2/admin["a"]`},
	{"event with a fraction for an id", `21.5["a"]`},
	{"event with a negative id", `2-1["a"]`},
	{"event with an id over 2^53-1", `29007199254740992["a"]`},
	{"event with an id that overflows 64 bits", `218446744073709551617["a"]`},
	{"event with an endless id", "2" + strings.Repeat("9", 5000) + `["a"]`},
	{"event with attachments", `21-["a"]`},
	{"event nested too deep", "2" + strings.Repeat("[", maxJSONDepth+1) + strings.Repeat("]", maxJSONDepth+1)},
	{"binary event with no attachments", `50-["a"]`},
	{"binary ack with no attachments", `600-["a"]`},
	{"connect with an array", `0["a"]`},
	{"connect with a string", `0"a"`},
	{"connect with null", "0null"},
	{"connect with broken JSON", `0{"token":`},
	{"disconnect with data", "1{}"},
	{"disconnect with an array", `1["a"]`},
	{"ack without data", "312"},
	{"ack with an object", "312{}"},
	{"connect error, which only servers send", `4{"message":"x"}`},
	{"binary event without a count", `5["a"]`},
	{"binary event with an empty count", `5-["a"]`},
	{"binary event with a negative count", `5-1-["a"]`},
	{"binary event with a count that is no number", `5x-["a"]`},
	{"binary event with a count of four digits", `50001-["a"]`},
	{"binary event whose only dash is in its data", `5["a-b"]`},
	{"binary event without data", "51-"},
	{"binary ack with an object", `61-1{}`},
}

func TestParseSocketPacketRefuses(t *testing.T) {
	for _, tt := range refusedPackets {
		t.Run(tt.reason, func(t *testing.T) {
			_, err := ParseSocketPacket([]byte(tt.text))
			wantSyntax(t, 0, err, LayerSocket)
			if len(err.Error()) > 300 {
				t.Errorf("an error of %d bytes quotes too much", len(err.Error()))
			}
		})
	}
}

func TestParseSocketPacketLimitsAttachments(t *testing.T) {
	for _, count := range []int{MaxAttachments + 1, 99, 999} {
		_, err := ParseSocketPacket([]byte("5" + strconv.Itoa(count) + `-["a"]`))
		var limit *LimitError
		if !errors.As(err, &limit) || limit.Got != count || limit.Max != MaxAttachments {
			t.Errorf("%d attachments: %v, want a limit error", count, err)
		}
	}
}

// eventSamples are the data of events, with their names and arguments.
var eventSamples = []struct {
	data string
	name string
	args []string
}{
	{`["foo"]`, "foo", nil},
	{`["typing",{"roomType":"conversation","roomId":"42"}]`, "typing", []string{`{"roomType":"conversation","roomId":"42"}`}},
	{`["a",1,"b",null,true,[1,[2]],{"c":[]},-1.5e+3]`, "a", []string{"1", `"b"`, "null", "true", "[1,[2]]", `{"c":[]}`, "-1.5e+3"}},
	{" [ \"a\"\n,\t1 , {\"b\" : 2}\r\n] "[1:], "a", []string{"1", `{"b" : 2}`}},
	{`["a,]\"",",]"]`, `a,]"`, []string{`",]"`}},
	{`["\u0041\ud83d\ude00"]`, "A\U0001f600", nil},
	{`["Zoë"]`, "Zoë", nil},
	{`[""]`, "", nil},
}

func TestParseEvent(t *testing.T) {
	for _, sample := range eventSamples {
		name, args, err := ParseEvent([]byte(sample.data))
		if err != nil || string(name) != sample.name {
			t.Errorf("%s: name %q, %v; want %q", sample.data, name, err, sample.name)
			continue
		}
		var got []string
		for arg, rest := NextArg(args); arg != nil; arg, rest = NextArg(rest) {
			got = append(got, string(arg))
		}
		if strings.Join(got, "|") != strings.Join(sample.args, "|") || len(got) != len(sample.args) {
			t.Errorf("%s: arguments %q, want %q", sample.data, got, sample.args)
		}
	}
}

func TestParseEventRefuses(t *testing.T) {
	for _, data := range []string{
		"", "[", "[]", "[ ]", "[1]", "[null]", `[{"a":1}]`, `[["a"]]`, `["a`, `{"a":1}`, `"a"`, "null",
		`["connect"]`, `["connect_error",1]`, `["disconnect"]`, `["disconnecting"]`, `["newListener"]`, `["removeListener"]`,
		`["disc\u006fnnect"]`,
	} {
		_, args, err := ParseEvent([]byte(data))
		wantSyntax(t, len(args), err, LayerSocket)
	}
}

// Invalid text ends the iteration over arguments without panicking.
func TestNextArgOnBrokenText(t *testing.T) {
	for _, args := range []string{"", "]", ",", ", ", ",]", ",x]", `,"a`, ",[1", `"a"`, ",-", ",{", ":1]"} {
		if arg, rest := NextArg([]byte(args)); arg != nil || rest != nil {
			t.Errorf("%q: argument %q, rest %q", args, arg, rest)
		}
	}
}
