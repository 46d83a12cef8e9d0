package routes

import (
	"strings"
	"testing"
)

func TestPatternsMatchAsTopicExchangesDo(t *testing.T) {
	wantPatterns(t, matches, []patternCase{
		{"message.sent", "message.sent", "message message.sent.x message.sen x.message.sent"},
		{"booking.*", "booking.confirmed booking.x", "booking booking.a.b bookings.a"},
		{"*.created", "a.created b.created", "created a.b.created a.created.c"},
		{"#", "a a.b a.b.c", ""},
		{"trip.#", "trip trip.a trip.a.b", "trips trips.a x.trip"},
		{"#.end", "end a.end a.b.end", "end.a ends"},
		{"a.#.z", "a.z a.b.z a.b.c.z", "a z a.b a.zz b.z"},
		{"a.*.#", "a.b a.b.c", "a b.a"},
		{"#.#", "a a.b", ""},
		{"a.#.#", "a a.b", "b"},
		{"*.#.b", "a.b a.x.b", "b a"},
	})
}

// patternCase has a pattern, and keys or patterns for which a property holds (yes) or
// does not hold (no).
type patternCase struct{ pattern, yes, no string }

func wantPatterns(t *testing.T, holds func(pattern, other string) bool, cases []patternCase) {
	t.Helper()
	for _, c := range cases {
		for other := range strings.FieldsSeq(c.yes) {
			if !holds(c.pattern, other) {
				t.Errorf("%s: want it to hold for %s", c.pattern, other)
			}
		}
		for other := range strings.FieldsSeq(c.no) {
			if holds(c.pattern, other) {
				t.Errorf("%s: want it not to hold for %s", c.pattern, other)
			}
		}
	}
}

func route(event, room string) Route {
	return Route{Event: event, Rooms: []string{room}, Emit: "x", All: true}
}

// A key gets the route with that exact key, then the first pattern that matches, with
// the routes of the file before the built-in ones.
func TestExactKeysPrecedePatternsAndCustomRoutesPrecedeBuiltIn(t *testing.T) {
	table, err := NewTable([]Route{
		route("booking.#", "user:{a}"),
		route("booking.confirmed", "user:{b}"),
		route("message.sent", "user:{c}"),
		route("*.late", "user:{d}"),
	})
	if err != nil {
		t.Fatal(err)
	}
	for key, room := range map[string]string{
		"booking.confirmed":    "user:{b}",
		"booking.late":         "user:{a}",
		"booking":              "user:{a}",
		"trip.late":            "user:{d}",
		"message.sent":         "user:{c}",
		"notification.created": "user:{userId}",
	} {
		if r := table.Find(key); r == nil || r.Rooms[0] != room {
			t.Errorf("%s has the route %+v, want the one to %s", key, r, room)
		}
	}
	if r := table.Find("message.read"); r != nil {
		t.Errorf("message.read has the route %+v, want none", r)
	}
	if n := len(table.Routes()); n != 9 { // message.sent is replaced; two built-in routes and three orders remain
		var events []string
		for _, r := range table.Routes() {
			events = append(events, r.Event)
		}
		t.Errorf("%d routes, want 9: those of this test, the built-in ones of upstream/routes/table.go and the orders of upstream/routes/orders.go. There are %q", n, events)
	}
}

func TestWrongRoutesAreRefused(t *testing.T) {
	ok := route("a.b", "user:{id}")
	if _, err := NewTable([]Route{ok}); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Route){
		"want words":                    func(r *Route) { r.Event = "a..b" },
		"at most 200":                   func(r *Route) { r.Event = strings.Repeat("a", 201) },
		"no rooms":                      func(r *Route) { r.Rooms = nil },
		"no client can be in it":        func(r *Route) { r.Rooms = []string{"users:{id}"} },
		"{ without }":                   func(r *Route) { r.Rooms = []string{"user:{id"} },
		"want something like":           func(r *Route) { r.Rooms = []string{"user:id}"} },
		"want a member's name":          func(r *Route) { r.Rooms = []string{"user:{}"} },
		"only one member can be a list": func(r *Route) { r.Rooms = []string{"user:{a[]}{b[]}"} },
		"no name for the event":         func(r *Route) { r.Emit = "" },
		"reserves the name":             func(r *Route) { r.Emit = "disconnect" },
		"either a list of them or all":  func(r *Route) { r.All = false },
		"either a list":                 func(r *Route) { r.Fields = fields("a") },
		"empty or named twice":          func(r *Route) { r.All, r.Fields = false, fields("a", "a") },
		"default nope of field a":       func(r *Route) { r.All, r.Fields = false, []Field{{Name: "a", Default: "nope"}} },
		"looks at 102 members":          func(r *Route) { r.All, r.Fields = false, fields(strings.Split(strings.Repeat("x", 100), "")...) },
	} {
		r := ok
		change(&r)
		if strings.HasPrefix(want, "looks at") {
			for i := range r.Fields {
				r.Fields[i].Name = strings.Repeat("x", i+1)
			}
			want = "looks at 103 members"
		}
		if _, err := NewTable([]Route{r}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q", r, err, want)
		}
	}
	if _, err := NewTable([]Route{ok, ok}); err == nil || !strings.Contains(err.Error(), "two routes") {
		t.Errorf("two routes of one key: %v, want an error", err)
	}
}
