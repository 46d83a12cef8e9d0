package explain

import (
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/rooms"
)

var noon = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// home is a room of the event at position 100.
const home = "conversation:1"

func event(change ...func(*Event)) *Event {
	e := &Event{Position: 100, Offset: "log.2s", Found: true, Log: "log", Key: "message.sent", Name: "new_message", Rooms: []string{home, "user:7"}, Published: noon}
	for _, c := range change {
		c(e)
	}
	return e
}

// stay is a connection that joined home at position 50 and got everything up to
// position 200.
func stay(change ...func(*rooms.Stay)) rooms.Stay {
	s := rooms.Stay{Socket: "ann", Session: "a", Log: "log", Since: noon.Add(-time.Hour), Given: 200,
		Rooms: []rooms.StayRoom{{Name: "user:1", From: 10, Known: true}, {Name: home, From: 50, Known: true}}}
	for _, c := range change {
		c(&s)
	}
	return s
}

func ended(at uint64, reason string) func(*rooms.Stay) {
	return func(s *rooms.Stay) { s.Given, s.End = at, &rooms.StayEnd{At: noon, Reason: reason} }
}

// back is the connection with which the client of stay reconnected.
func back(result string, from, through uint64) rooms.Stay {
	return stay(func(s *rooms.Stay) {
		s.Since = noon.Add(time.Minute)
		s.Return = &rooms.StayReturn{Session: "a", Result: result, At: noon.Add(time.Minute), From: from, Through: through}
		if result != "recovered" {
			s.Session = "b"
			s.Rooms = []rooms.StayRoom{{Name: "user:1", From: 150, Known: true}}
		}
	})
}

// Each history of a user's connections gets its state, its verdict about the event at
// position 100, and the reason.
func TestVerdictsOnConnections(t *testing.T) {
	volatile := func(e *Event) { e.Volatile = true }
	for name, c := range map[string]struct {
		stays   []rooms.Stay
		event   *Event
		state   State // of the first connection
		verdict Verdict
		why     string
	}{
		"in the room":                {[]rooms.Stay{stay()}, event(), Connected, Given, "it was in conversation:1; it was sent to its connection"},
		"volatile":                   {[]rooms.Stay{stay()}, event(volatile), Connected, Given, "unless more than 64 KiB waited"},
		"latest":                     {[]rooms.Stay{stay()}, event(func(e *Event) { e.Latest = true }), Connected, Given, "or a newer state"},
		"in none of the rooms":       {[]rooms.Stay{stay(func(s *rooms.Stay) { s.Rooms = s.Rooms[:1] })}, event(), Connected, Not, "it was not in conversation:1, nor in user:7"},
		"too many rooms":             {[]rooms.Stay{stay(func(s *rooms.Stay) { s.Rooms, s.Cut = s.Rooms[:1], true })}, event(), Connected, Unknown, "too many rooms"},
		"joined later":               {[]rooms.Stay{stay(func(s *rooms.Stay) { s.Rooms[1].From = 100 })}, event(), Connected, Not, "it joined conversation:1 later, at 2s"},
		"left before":                {[]rooms.Stay{stay(func(s *rooms.Stay) { s.Rooms[1].To, s.Rooms[1].Why = 99, "the client left it" })}, event(), Connected, Not, "it had left conversation:1 at 2r: the client left it"},
		"left later":                 {[]rooms.Stay{stay(func(s *rooms.Stay) { s.Rooms[1].To = 100 })}, event(), Connected, Given, "it was sent"},
		"left and joined again":      {[]rooms.Stay{stay(func(s *rooms.Stay) { s.Rooms = append(s.Rooms, s.Rooms[1]); s.Rooms[1].To = 60 })}, event(), Connected, Given, "it was sent"},
		"did not ask, connected":     {[]rooms.Stay{stay(func(s *rooms.Stay) { s.Session, s.Rooms[1] = "", rooms.StayRoom{Name: home} })}, event(), Connected, Unknown, "known only of clients that ask for recovery"},
		"did not ask, came later":    {[]rooms.Stay{stay(func(s *rooms.Stay) { s.Since, s.Rooms[1] = noon.Add(time.Minute), rooms.StayRoom{Name: home} })}, event(), Connected, Not, "it connected later"},
		"another log":                {[]rooms.Stay{stay(func(s *rooms.Stay) { s.Log = "old" })}, event(), Connected, Unknown, "of another log"},
		"node behind":                {[]rooms.Stay{stay(func(s *rooms.Stay) { s.Given = 99 })}, event(), Connected, Later, "its node is behind: it has delivered the log up to 2i"},
		"node missed events":         {[]rooms.Stay{stay(func(s *rooms.Stay) { s.Given, s.Lost = 99, true })}, event(), Connected, Not, "the node was not sent all events"},
		"not in the log yet":         {[]rooms.Stay{stay(func(s *rooms.Stay) { s.Given = 99 })}, event(func(e *Event) { e.Found, e.Trouble = false, "no such position" }), Connected, Later, "has delivered the log up to 2i"},
		"removed from the log":       {[]rooms.Stay{stay()}, event(func(e *Event) { e.Found, e.Trouble = false, "the log does not reach back" }), Connected, Unknown, "the log does not reach back"},
		"an order":                   {[]rooms.Stay{stay()}, event(func(e *Event) { e.Trouble = "it is an order" }), Connected, Not, "it is an order"},
		"sent before the end":        {[]rooms.Stay{stay(ended(150, "slow_consumer"))}, event(), Ended, Given, "that ended at 2026-11-30T12:00:00.000Z (slow_consumer)"},
		"ended, nobody came back":    {[]rooms.Stay{stay(ended(99, "ping_timeout"))}, event(), Ended, Not, "(ping_timeout), and nobody has come back"},
		"ended, had not asked":       {[]rooms.Stay{stay(ended(99, "ping_timeout"), func(s *rooms.Stay) { s.Session = "" })}, event(), Ended, Not, "had not asked for recovery"},
		"ended for good":             {[]rooms.Stay{stay(ended(99, "client_disconnect"), func(s *rooms.Stay) { s.End.Final = true })}, event(), Ended, Not, "which is final"},
		"away":                       {[]rooms.Stay{stay(ended(99, "ping_timeout"), func(s *rooms.Stay) { s.End.Until = noon.Add(time.Minute) })}, event(), Away, Later, "if the client comes back until 2026-11-30T12:01:00.000Z"},
		"away, volatile":             {[]rooms.Stay{stay(ended(99, "ping_timeout"), func(s *rooms.Stay) { s.End.Until = noon.Add(time.Minute) })}, event(volatile), Away, Not, "are not replayed"},
		"came back":                  {[]rooms.Stay{stay(ended(99, "ping_timeout")), back("recovered", 90, 120)}, event(), Recovered, Not, "was recovered: see that connection"},
		"replayed":                   {[]rooms.Stay{back("recovered", 90, 120)}, event(), Connected, Given, "it was replayed when the client came back"},
		"had it when it came back":   {[]rooms.Stay{back("recovered", 100, 120)}, event(), Connected, Given, "the client had it when it came back"},
		"sent after it came back":    {[]rooms.Stay{back("recovered", 90, 99)}, event(), Connected, Given, "it was sent to its connection"},
		"volatile while it was away": {[]rooms.Stay{back("recovered", 90, 120)}, event(volatile), Connected, Not, "are not replayed"},
		"came back too late":         {[]rooms.Stay{stay(ended(99, "ping_timeout")), back("window_over", 0, 0)}, event(), Lost, Not, "was not recovered: window_over"},
		"the new one of these":       {[]rooms.Stay{back("window_over", 0, 0)}, event(), Connected, Not, "it was not in"},
		"node gone":                  {[]rooms.Stay{stay(ended(0, ""), func(s *rooms.Stay) { s.End.Orphan = true })}, event(), NodeGone, Unknown, "its node does not answer"},
		"node gone, came back":       {[]rooms.Stay{stay(ended(0, ""), func(s *rooms.Stay) { s.End.Orphan = true }), back("recovered", 90, 120)}, event(), Recovered, Not, "was recovered: see that connection"},
	} {
		t.Run(name, func(t *testing.T) {
			a := Explain("1", []Node{{ID: "n", Position: 90, Stays: c.stays}}, c.event)
			got := a.Connections[0]
			if got.State != c.state || got.Verdict != c.verdict || !strings.Contains(got.Why, c.why) {
				t.Errorf("%q, %q: %q; want %q, %q: %q", got.State, got.Verdict, got.Why, c.state, c.verdict, c.why)
			}
			if text := a.Text(); !strings.Contains(text, got.Why) {
				t.Errorf("the text lacks the reason:\n%s", text)
			}
		})
	}
}

func TestConnectionsAreSortedByTheirStart(t *testing.T) {
	first, second := stay(ended(99, "transport_closed")), back("recovered", 90, 120)
	a := Explain("1", []Node{{ID: "x", Stays: []rooms.Stay{second}}, {ID: "y", Stays: []rooms.Stay{first}}}, nil)
	if len(a.Connections) != 2 || a.Connections[0].Node != "y" || a.Connections[0].State != Recovered || a.Connections[1].State != Connected {
		t.Errorf("%+v", a.Connections)
	}
	if a.Got() || a.Connections[0].Verdict != "" {
		t.Error("there is a verdict although no event was asked for")
	}
}

// Users, rooms and keys come from outside and are printed on terminals: control
// characters are escaped.
func TestTextEscapesControlCharacters(t *testing.T) {
	const name = "a\x1b[2Jb\u202ec\nd"
	s := stay(func(s *rooms.Stay) { s.Rooms = append(s.Rooms, rooms.StayRoom{Name: "user:" + name}) })
	e := event(func(e *Event) { e.Key, e.Rooms = name, []string{"conversation:" + name} })
	some := Explain("1", []Node{{ID: "1", Stays: []rooms.Stay{s}}}, e)
	none := Explain(name, nil, nil)
	for _, text := range []string{some.Text(), none.Text()} {
		if strings.ContainsAny(text, "\x1b\u202e") || strings.Contains(text, "\nd") {
			t.Errorf("got %q, want them escaped", text)
		}
		if !strings.Contains(text, `a\x1b[2Jb\u202ec\nd`) {
			t.Errorf("got %q, want the name in it", text)
		}
	}
}
