package routes

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/hometrip/gateway/rooms"
)

func TestRoutesFileIsParsed(t *testing.T) {
	lists, err := parseFile([]byte(`
# comment
routes:
  - event: "a.*"
    rooms: user:{x}
    emit: 'e'
    fields: all
    latest: "{x}"
  - {event: b, rooms: ["user:{y|z}", "conversation:{c}"], emit: f, volatile: true,
     fields: [p, {name: q, from: r|s, default: {"k": [1, 2.50, true, null, text]}}, {name: t, default: 7}]}
  - event: c
    rooms: "user:{w[]}"
    emit: g
    fields:
      - name: kind
        from: $key
      - timestamp
`))
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseRoutes(lists["routes"])
	want := []Route{
		{Event: "a.*", Rooms: []string{"user:{x}"}, Emit: "e", All: true, Latest: "{x}"},
		{Event: "b", Rooms: []string{"user:{y|z}", "conversation:{c}"}, Emit: "f", Volatile: true, Fields: []Field{
			{Name: "p"}, {Name: "q", From: []string{"r", "s"}, Default: `{"k":[1,2.50,true,null,"text"]}`}, {Name: "t", Default: "7"}}},
		{Event: "c", Rooms: []string{"user:{w[]}"}, Emit: "g", Fields: []Field{{Name: "kind", From: []string{"$key"}}, {Name: "timestamp"}}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v %v\nwant %+v", got, err, want)
	}
}

func TestErrorsInARoutesFileHaveTheirLine(t *testing.T) {
	const head = "routes:\n  - event: a\n    rooms: user:{x}\n    emit: e\n"
	for _, c := range []struct{ text, want string }{
		{"", "line 1: want one document"},
		{"# nothing\n", "line 1: want one document"},
		{"routes: 7\n", "line 1: routes: want a list"},
		{"- 7\n", "line 1: want a mapping with routes"},
		{"\nroutez: []\n", "line 2: unknown routez, want routes"},
		{"routes:\n  - 7\n", "line 2: want a mapping with event"},
		{head, "line 2: the route has no fields"},
		{head + "    fields: some\n", "line 5: fields: want a list, or all"},
		{head + "    fields: all\n    color: red\n", "line 6: unknown color, want event, rooms, emit, fields, volatile, latest"},
		{head + "    fields: all\n    volatile: perhaps\n", "line 6: volatile: want true or false"},
		{head + "    fields: all\n    latest: true\n", "line 6: true: want text"},
		{head + "    fields: all\n    latest: \"\"\n", "line 6: latest: want a template"},
		{head + "    fields: all\n    latest: booking\n", `line 2: latest "booking": want something like {bookingId}`},
		{head + "    fields: all\n    latest: \"{a[]}\"\n", `line 2: latest "{a[]}": want something like`},
		{head + "    fields: all\n    latest: \"{a}\"\n    volatile: true\n", "line 2: event a: want volatile or latest, not both"},
		{head + "    fields:\n      - a\n      - 7\n", "line 7: want a mapping with name"},
		{head + "    fields:\n      - from: b\n", "line 6: the field has no name"},
		{head + "    fields:\n      - name: a\n        from: b||c\n", `line 7: from "b||c"`},
		{head + "    fields:\n      - name: a\n        default: 0x10\n", "line 7: number 0x10"},
		{head + "    fields:\n      - name: a\n        default: .inf\n", "line 7"},
		{head + "    fields:\n      - name: a\n        default: &x 1\n", "line 7"},
		{head + "    fields: [a, a]\n", `line 2: event a: field "a" is empty or named twice`},
		{strings.Replace(head, "event: a", "event: 7", 1) + "    fields: all\n", "line 2: 7: want text"},
		{strings.Replace(head, "user", "usr", 1) + "    fields: all\n", "no client can be in it"},
		{head + "    fields: all\n" + strings.TrimPrefix(head, "routes:\n") + "    fields: all\n", "line 6: event a has a route in line 2 already"},
		{"routes:\n  - event: a\n   rooms: b\n", "line "},
		{"routes: [\n", "line "},
		{"routes: []\n---\nroutes: []\n", "want one document"},
		{"routes: []\nroutes: []\n", "line 2"},
		{strings.Repeat("#", 1<<20) + "\n", "at most 1048576 are allowed"},
	} {
		_, err := ParseTable([]byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.200q: got %v, want %q", c.text, err, c.want)
		}
	}
}

func TestExampleRoutesFileWorks(t *testing.T) {
	table, err := LoadTable("../../deploy/routes.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	e := NewEncoder(table, 1000)
	for _, c := range []struct{ key, body, rooms, packet string }{
		{"review.posted", `{"hostId": 7, "reviewId": 1, "stars": 5, "timestamp": "T"}`, "user:7",
			`["review_posted",{"reviewId":1,"rating":5,"comment":"","type":"review_posted","timestamp":"T"}]`},
		{"trip.changed", `{"travellerIds": ["7", "8"], "organiserId": 9, "timestamp": "T"}`, "user:7 user:8 user:9",
			`["trip_update",{"travellerIds":["7", "8"],"organiserId":9,"timestamp":"T"}]`},
		{"notification.created", `{"userId": 7, "data": 1, "timestamp": "T"}`, "user:7", `["new_notification",{"timestamp":"T"}]`},
		{"booking.paid", `{"userId": 7, "timestamp": "T"}`, "user:7", `["booking_update",{"type":"booking_paid","timestamp":"T"}]`},
	} {
		got, err := e.Encode(c.key, []byte(c.body), noon)
		if err != nil || strings.Join(got.Rooms, " ") != c.rooms || packetOf(got.Message) != c.packet {
			t.Errorf("%s: got %v %s %v", c.key, got.Rooms, packetOf(got.Message), err)
		}
	}
}

func TestErrorsNameTheRoutesFile(t *testing.T) {
	if _, err := LoadTable("no-such-file.yaml"); err == nil || !strings.Contains(err.Error(), "no-such-file.yaml") {
		t.Errorf("got %v", err)
	}
	path := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(path, []byte("routes: 7"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadTable(path); err == nil || !strings.HasPrefix(err.Error(), path+": line 1: ") {
		t.Errorf("got %v", err)
	}
}

// FuzzParseTable checks that parsing does not panic, and that client events of
// accepted files can be used.
func FuzzParseTable(f *testing.F) {
	example, err := os.ReadFile("../../deploy/routes.example.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	f.Add([]byte("routes:\n  - {event: a, rooms: user:{x}, emit: e, fields: [a, {name: b, default: [1]}]}\n"))
	f.Add([]byte("client_events:\n  - {event: a, room: user:{x}, emit: e, fields: [a], publish: b.c, ack: confirmed, rate: 1}\n"))
	f.Add([]byte("routes: *x"))
	f.Add([]byte("routes: !!map [&a 1, *a]\n<<: {}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		table, err := ParseTable(text)
		if err != nil {
			return
		}
		hub, err := rooms.New(rooms.Config{Shards: 1, MaxPacket: 1, MaxMailbox: 1})
		if err != nil {
			t.Fatal(err)
		}
		if err := hub.SetClientEvents(table.ClientEvents()); err != nil {
			t.Fatalf("%v from a file that was accepted:\n%s", err, text)
		}
	})
}
