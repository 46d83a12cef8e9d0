package sioclient

import (
	"encoding/json"
	"reflect"
	"testing"
)

func TestParseSocketPacket(t *testing.T) {
	cases := []struct {
		text string
		want socketPacket
	}{
		{`0{"sid":"a"}`, socketPacket{'0', "/", -1, json.RawMessage(`{"sid":"a"}`)}},
		{`1`, socketPacket{'1', "/", -1, nil}},
		{`2["a",1]`, socketPacket{'2', "/", -1, json.RawMessage(`["a",1]`)}},
		{`30[]`, socketPacket{'3', "/", 0, json.RawMessage(`[]`)}},
		{`2456["a"]`, socketPacket{'2', "/", 456, json.RawMessage(`["a"]`)}},
		{`4/x,{"message":"no"}`, socketPacket{'4', "/x", -1, json.RawMessage(`{"message":"no"}`)}},
		{`2/x,7["a"]`, socketPacket{'2', "/x", 7, json.RawMessage(`["a"]`)}},
		{`1/x`, socketPacket{'1', "/x", -1, nil}},
	}
	for _, c := range cases {
		got, err := parseSocketPacket(c.text)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v %v, want %+v", c.text, got, err, c.want)
		}
	}
}

func TestParseSocketPacketRefuses(t *testing.T) {
	for _, text := range []string{"", "2{", `2["a"]x`, "299999999999999999999[]"} {
		if got, err := parseSocketPacket(text); err == nil {
			t.Errorf("%q: %+v, want an error", text, got)
		}
	}
}

func TestParseEvent(t *testing.T) {
	e, err := parseEvent(json.RawMessage(`["news",{"n":1},"x"]`))
	if err != nil || e.Name != "news" || len(e.Args) != 2 {
		t.Fatalf("%+v %v", e, err)
	}
	var body struct{ N int }
	if err := e.Decode(&body); err != nil || body.N != 1 {
		t.Errorf("body %+v %v", body, err)
	}
	for _, bad := range []string{`[]`, `{}`, `[1]`} {
		if e, err := parseEvent(json.RawMessage(bad)); err == nil {
			t.Errorf("%s: %+v, want an error", bad, e)
		}
	}
}

func TestEventPacket(t *testing.T) {
	for id, want := range map[int64]string{-1: `42["a",1,{"b":2}]`, 0: `420["a",1,{"b":2}]`, 12: `4212["a",1,{"b":2}]`} {
		if got, err := eventPacket(id, "a", []any{1, map[string]int{"b": 2}}); err != nil || got != want {
			t.Errorf("%s %v, want %s", got, err, want)
		}
	}
	if _, err := eventPacket(-1, "a", []any{func() {}}); err == nil {
		t.Error("a func was encoded")
	}
}
