package routes

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/hometrip/gateway/codec"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 5e6, time.FixedZone("", 3600))

const noonText = `"2026-01-02T11:00:00.005Z"`

func table(t testing.TB, more ...Route) *Table {
	t.Helper()
	table, err := NewTable(more)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// packetOf returns the payload of an event packet: [name, object].
func packetOf(m *codec.Message) string { return strings.TrimPrefix(string(m.AppendPayload(nil)), "42") }

// Each body, bare or in an envelope, becomes an event for the rooms and with the
// fields of its route.
func TestBodiesAreEncodedAsEvents(t *testing.T) {
	e := NewEncoder(table(t,
		Route{Event: "trip.#", Rooms: []string{"user:{travellers[]}", "user:{organiser|host}"}, Emit: "trip", All: true, Volatile: true},
		Route{Event: "stay", Rooms: []string{"{room}"}, Emit: "st\"ay", Fields: []Field{
			{Name: "n", From: []string{"a", "b"}, Default: `{"x":[1]}`}, {Name: "at", From: []string{"timestamp"}}, {Name: "kind", From: []string{FromKey}},
		}},
	), 1000)
	many := make([]string, 20)
	for i := range many {
		many[i] = fmt.Sprint("user:", i)
	}
	for _, c := range []struct{ key, body, rooms, packet string }{
		{"message.sent", `{"conversationId":42,"senderId":"a","recipientId":"b","message":"hi","timestamp":"T"}`,
			"conversation:42", `["new_message",{"conversationId":42,"senderId":"a","recipientId":"b","message":"hi","timestamp":"T"}]`},
		{"message.sent", ` { "message" : "h\u00e9\n" , "conversationId" : "4\u0032", "secret": 1 } `,
			"conversation:42", `["new_message",{"conversationId":"4\u0032","message":"h\u00e9\n","timestamp":` + noonText + `}]`},
		{"message.sent", `{"conversationId":1,"conversationId":2,"timestamp":null,"senderId":null}`,
			"conversation:2", `["new_message",{"conversationId":2,"senderId":null,"timestamp":` + noonText + `}]`},
		{"message.sent", `{"conversationId":9007199254740993123,"senderId":1.50e2}`,
			"conversation:9007199254740993123", `["new_message",{"conversationId":9007199254740993123,"senderId":1.50e2,"timestamp":` + noonText + `}]`},
		{"message.sent", `{"conversationId":42.0,"senderId":-0}`,
			"conversation:42", `["new_message",{"conversationId":42.0,"senderId":-0,"timestamp":` + noonText + `}]`},
		{"message.sent", `{"conversationId":1,"messageId":"m-1","id":2,"message":"hi","timestamp":"T"}`,
			"conversation:1", `["new_message",{"conversationId":1,"message":"hi","messageId":"m-1","timestamp":"T"}]`},
		{"message.sent", `{"eventName":"message.sent","id":"of the envelope","data":{"conversationId":1,"id":2,"timestamp":"T"}}`,
			"conversation:1", `["new_message",{"conversationId":1,"messageId":2,"timestamp":"T"}]`},
		{"notification.created", `{"userId":-7.0}`, "user:-7", `["new_notification",{"timestamp":` + noonText + `}]`},
		{"trip.a.b", `{"travellers":[42,4.2e1,42.0],"host":"42"}`,
			"user:42", `["trip",{"travellers":[42,4.2e1,42.0],"host":"42","timestamp":` + noonText + `}]`},
		{"message.sent", `{"eventName":"message.sent","source":"s","timestamp":"outer","data":{"conversationId":1,"timestamp":"inner"}}`,
			"conversation:1", `["new_message",{"conversationId":1,"timestamp":"inner"}]`},
		{"message.sent", `{"eventType":"message.sent","timestamp":"outer","data":{"conversationId":1},"conversationId":2}`,
			"conversation:1", `["new_message",{"conversationId":1,"timestamp":"outer"}]`},
		{"booking.confirmed", `{"userId":"u","reservationId":5,"status":"ok","type":"mine"}`,
			"user:u", `["booking_update",{"bookingId":5,"status":"ok","type":"booking_confirmed","timestamp":` + noonText + `}]`},
		{"booking.cancelled", `{"userId":7,"bookingId":"b","reservationId":5}`,
			"user:7", `["booking_update",{"bookingId":"b","type":"booking_cancelled","timestamp":` + noonText + `}]`},
		{"notification.created", `{"userId":7,"notificationId":1,"type":"x","title":"t","message":"m","data":{"deep":[1,{"a":null}]},"timestamp":1700000000}`,
			"user:7", `["new_notification",{"notificationId":1,"type":"x","title":"t","message":"m","data":{"deep":[1,{"a":null}]},"timestamp":1700000000}]`},
		{"notification.created", `{"eventType":"notification.created","data":{"userId":7,"data":{"a":1}}}`,
			"user:7", `["new_notification",{"data":{"a":1},"timestamp":` + noonText + `}]`},
		{"trip.a.b", `{"travellers":[ 1 ,"2",1],"host":3,"organiser":null,"x":[]}`,
			"user:1 user:2 user:3", `["trip",{"travellers":[ 1 ,"2",1],"host":3,"organiser":null,"x":[],"timestamp":` + noonText + `}]`},
		{"trip", `{"travellers":[],"timestamp":"T"}`, "", `["trip",{"travellers":[],"timestamp":"T"}]`},
		{"trip", `{"travellers":[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,19]}`, strings.Join(many, " "), ""},
		{"stay", `{"room":"conversation:1"}`, "conversation:1", `["st\u0022ay",{"n":{"x":[1]},"at":` + noonText + `,"kind":"stay"}]`},
		{"stay", `{"room":"r","a":null,"b":false,"timestamp":""}`, "r", `["st\u0022ay",{"n":false,"at":"","kind":"stay"}]`},
	} {
		got, err := e.Encode(c.key, []byte(c.body), noon)
		if err != nil {
			t.Errorf("%s %s: %v", c.key, c.body, err)
			continue
		}
		packet := strings.ReplaceAll(packetOf(got.Message), `st\"ay`, `st\u0022ay`)
		if strings.Join(got.Rooms, " ") != c.rooms || c.packet != "" && packet != c.packet {
			t.Errorf("%s %s:\ngot  %v %s\nwant %v %s", c.key, c.body, got.Rooms, packet, c.rooms, c.packet)
		}
		if got.Message.Volatile != strings.HasPrefix(c.key, "trip") {
			t.Errorf("%s: Volatile is %v, want it for trip only", c.key, got.Message.Volatile)
		}
	}
}

// Two events have the same Latest key, and therefore the later one replaces the
// earlier, if they have the same name and the same values of the fields that the route
// names.
func TestLatestKeys(t *testing.T) {
	e := NewEncoder(table(t,
		Route{Event: "a", Rooms: []string{"user:{u}"}, Emit: "a", All: true, Latest: "{id|other}/{kind}"},
		Route{Event: "b", Rooms: []string{"user:{u}"}, Emit: "b", All: true, Latest: "{id|other}/{kind}"},
		route("c", "user:{u}"),
	), 1000)
	for _, c := range []struct{ key, body, want string }{
		{"a", `{"u":1,"id":7,"kind":"x"}`, "a\x007/x"},
		{"a", `{"u":2,"other":"7","kind":"x"}`, "a\x007/x"},
		{"b", `{"u":1,"id":7,"kind":"x"}`, "b\x007/x"},
		{"a", `{"u":1,"id":7}`, ""},
		{"a", `{"u":1,"id":[7],"kind":"x"}`, ""},
		{"c", `{"u":1,"id":7,"kind":"x"}`, ""},
	} {
		got, err := e.Encode(c.key, []byte(c.body), noon)
		if err != nil || got.Message.Latest != c.want {
			t.Errorf("%s %s: Latest %q %v, want %q", c.key, c.body, got.Message.Latest, err, c.want)
		}
		if n := got.Message.WithOffset("log", 1, 0).Latest; n != c.want {
			t.Errorf("%s %s: with an offset Latest is %q", c.key, c.body, n)
		}
	}
}

// Each kind of body that cannot be delivered gets its reason.
func TestUndeliverableBodiesGetTheirReason(t *testing.T) {
	e := NewEncoder(table(t, route("list", "user:{ids[]}")), 100_000)
	for _, c := range []struct {
		key, body string
		want      Reason
	}{
		{"message.sent", ``, ReasonNotJSON},
		{"message.sent", `hello`, ReasonNotJSON},
		{"message.sent", `{"conversationId":1`, ReasonNotJSON},
		{"message.sent", `{"conversationId":1}{}`, ReasonNotJSON},
		{"message.sent", `{"conversationId":1{"a":2}}`, ReasonNotJSON},
		{"message.sent", `{"conversationId":1,}`, ReasonNotJSON},
		{"message.sent", `{,"conversationId":1}`, ReasonNotJSON},
		{"message.sent", `,"conversationId":1}`, ReasonNotJSON},
		{"message.sent", `}`, ReasonNotJSON},
		{"message.sent", `{`, ReasonNotJSON},
		{"message.sent", ` { } `, ReasonNoRoom},
		{"message.sent", "{\"conversationId\":1,\"message\":\"\xff\"}", ReasonNotJSON},
		{"message.sent", `[{"conversationId":1}]`, ReasonNotObject},
		{"message.sent", ` "text"`, ReasonNotObject},
		{"message.sent", `null`, ReasonNotObject},
		{"message.sent", `{}`, ReasonNoRoom},
		{"message.sent", `{"conversationId":null}`, ReasonNoRoom},
		{"message.sent", `{"conversationId":""}`, ReasonNoRoom},
		{"message.sent", `{"eventName":"x","data":{},"conversationId":1}`, ReasonNoRoom},
		{"message.sent", `{"conversationId":1e999}`, ReasonBadID},
		{"message.sent", `{"conversationId":true}`, ReasonBadID},
		{"message.sent", `{"conversationId":{"id":1}}`, ReasonBadID},
		{"message.sent", `{"conversationId":[1]}`, ReasonBadID},
		{"message.sent", `{"conversationId":"` + strings.Repeat("x", codec.MaxID+1) + `"}`, ReasonBadID},
		{"list", `{"ids":7}`, ReasonBadID},
		{"list", `{"ids":[7,[8]]}`, ReasonBadID},
		{"list", `{"ids":[` + strings.Repeat("7,", 10_000) + `7]}`, ReasonTooManyRooms},
		{"message.sent", `{"conversationId":1,"x":"` + strings.Repeat("x", 100_000) + `"}`, ReasonTooLarge},
		{"message.read", `{"conversationId":1}`, ReasonNoRoute},
	} {
		_, err := e.Encode(c.key, []byte(c.body), noon)
		var bad *Poison
		if !errors.As(err, &bad) || bad.Reason != c.want {
			t.Errorf("%s %.60s: got %v, want %v", c.key, c.body, err, c.want)
		}
	}
}

func TestEveryReasonHasAName(t *testing.T) {
	seen := make(map[string]bool)
	for r := range NumReasons {
		if name := r.String(); seen[name] || strings.HasPrefix(name, "reason_") {
			t.Errorf("reason %d has the name %q, want a unique one", r, name)
		} else {
			seen[name] = true
		}
	}
}

// An encoder reused for another route keeps nothing of the event before.
func TestAReusedEncoderKeepsNothingOfTheLastEvent(t *testing.T) {
	e := NewEncoder(table(t), 1000)
	if _, err := e.Encode("notification.created", []byte(`{"userId":1,"title":"secret","timestamp":"old","eventId":"e"}`), noon); err != nil {
		t.Fatal(err)
	}
	got, err := e.Encode("message.sent", []byte(`{"conversationId":1}`), noon)
	if err != nil || packetOf(got.Message) != `["new_message",{"conversationId":1,"timestamp":`+noonText+`}]` {
		t.Errorf("got %s %v", packetOf(got.Message), err)
	}
}

// maxEncodeAllocs counts the list of rooms, the room's name, the message and its
// bytes.
const maxEncodeAllocs = 4

func TestEncodingAllocatesOnlyWhatItReturns(t *testing.T) {
	e := NewEncoder(table(t), 1000)
	body := []byte(`{"eventName":"message.sent","data":{"conversationId":42,"senderId":"a","message":"hi"}}`)
	allocs := testing.AllocsPerRun(200, func() {
		if _, err := e.Encode("message.sent", body, noon); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > maxEncodeAllocs {
		t.Errorf("%v allocations, want at most %d", allocs, maxEncodeAllocs)
	}
}

// FuzzEncode compares the encoder with encoding/json: a packet must be valid JSON with
// the values of the body.
func FuzzEncode(f *testing.F) {
	for _, body := range []string{
		`{"conversationId":1,"message":"x"}`, `{"eventName":"a","data":{"conversationId":"\u0041"},"timestamp":7}`, `[]`, `{"conversationId":`, "{\"conversationId\":\"\xff\"}",
	} {
		f.Add("message.sent", []byte(body))
	}
	f.Add("list.x", []byte(`{"ids":[1,"2",null]}`))
	more := []Route{{Event: "list.#", Rooms: []string{"user:{ids[]}", "user:{a|b}"}, Emit: "l", All: true}}
	f.Fuzz(func(t *testing.T, key string, body []byte) {
		got, err := NewEncoder(table(t, more...), 10_000).Encode(key, body, noon)
		if err != nil {
			var bad *Poison
			if !errors.As(err, &bad) {
				t.Fatalf("error %v, want a *Poison", err)
			}
			if bad.Reason == ReasonNotJSON && json.Valid(body) && utf8.Valid(body) && len(body) < 400 {
				t.Fatalf("not_json for %q, which is valid JSON", body)
			}
			if !json.Valid(body) && bad.Reason != ReasonNotJSON && bad.Reason != ReasonTooLarge && bad.Reason != ReasonNoRoute {
				t.Fatalf("reason %v for %q, which is not JSON", bad, body)
			}
			return
		}
		var packet []json.RawMessage
		if err := json.Unmarshal([]byte(packetOf(got.Message)), &packet); err != nil || len(packet) != 2 {
			t.Fatalf("packet %s: %v", packetOf(got.Message), err)
		}
		var out, in map[string]any
		if json.Unmarshal(packet[1], &out) != nil || json.Unmarshal(body, &in) != nil {
			t.Fatalf("packet %s of body %s", packet[1], body)
		}
		if data, ok := in["data"].(map[string]any); ok && (isText(in["eventName"]) || isText(in["eventType"])) {
			in = data
		}
		for name, value := range out {
			if name != "timestamp" && name != "type" && name != "bookingId" && !reflect.DeepEqual(value, in[name]) {
				t.Fatalf("%s is %v in %s and %v in %s", name, value, packet[1], in[name], body)
			}
		}
	})
}

func isText(v any) bool { _, ok := v.(string); return ok }
