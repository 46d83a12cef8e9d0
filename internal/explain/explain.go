// Package explain says for each connection of a user whether it was given an
// event of the log, and why not: a pure function of what the nodes know.
package explain

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hometrip/gateway/rooms"
)

// A Node is the answer of one node.
type Node struct {
	ID       string       `json:"node"`              // as in its log
	Name     string       `json:"name,omitempty"`    // in the records of sessions
	Address  string       `json:"address,omitempty"` // that it serves on
	Log      string       `json:"log,omitempty"`
	Position uint64       `json:"position"`       // up to which it has delivered the log
	Gone     bool         `json:"gone,omitempty"` // it does not answer: what is known is from Redis
	Stays    []rooms.Stay `json:"-"`
}

// An Event is an event of the log.
type Event struct {
	Position  uint64    `json:"position"`
	Offset    string    `json:"offset"`
	Found     bool      `json:"found"`
	Key       string    `json:"key,omitempty"`
	Name      string    `json:"event,omitempty"` // that clients are sent
	Rooms     []string  `json:"rooms,omitempty"`
	Published time.Time `json:"published,omitzero"`
	Volatile  bool      `json:"volatile,omitempty"`
	Latest    bool      `json:"latest,omitempty"`
	Log       string    `json:"-"`
	Trouble   string    `json:"trouble,omitempty"` // why nobody is sent it
}

// A Verdict says whether a connection was given an event.
type Verdict string

// The verdicts.
const (
	Given   Verdict = "given"   // it was sent to the connection
	Not     Verdict = "not"     // it was not, and will not be
	Later   Verdict = "not yet" // it will be, unless something fails
	Unknown Verdict = "unknown"
)

// A Connection is a stay with the verdict about it.
type Connection struct {
	Node string `json:"node"`
	rooms.Stay
	State   State   `json:"state"`
	Verdict Verdict `json:"got,omitempty"`
	Why     string  `json:"why,omitempty"`
}

// A State says how a connection ended, or that it has not.
type State string

// The states.
const (
	Connected State = "connected"
	Away      State = "away"      // its client may come back
	Recovered State = "recovered" // its client has come back, and missed nothing
	Lost      State = "lost"      // its client has come back, and was not recovered
	Ended     State = "ended"
	NodeGone  State = "node gone" // the node does not answer; its client may come back
)

// An Answer is the answer of all nodes together.
type Answer struct {
	User        string       `json:"user"`
	Nodes       []Node       `json:"nodes"`
	Silent      []string     `json:"silent,omitempty"` // nodes that have not answered
	Trouble     []string     `json:"trouble,omitempty"`
	Event       *Event       `json:"event,omitempty"`
	Connections []Connection `json:"connections"` // the oldest first
}

// Got reports whether a connection of the user was given the event.
func (a *Answer) Got() bool {
	return slices.ContainsFunc(a.Connections, func(c Connection) bool { return c.Verdict == Given })
}

// Explain combines the answers of the nodes about a user. Unless event is nil,
// it decides whether each connection was given the event.
func Explain(user string, nodes []Node, event *Event) Answer {
	a := Answer{User: user, Nodes: nodes, Event: event, Connections: []Connection{}}
	for i := range nodes {
		for _, stay := range nodes[i].Stays {
			a.Connections = append(a.Connections, Connection{Node: nodes[i].ID, Stay: stay})
		}
	}
	slices.SortStableFunc(a.Connections, func(x, y Connection) int { return x.begin().Compare(y.begin()) })
	for i := range a.Connections {
		c := &a.Connections[i]
		next := a.next(c)
		c.State = state(&c.Stay, next)
		if event != nil {
			c.Verdict, c.Why = judge(event, c, next, node(nodes, c.Node))
		}
	}
	return a
}

func (c *Connection) begin() time.Time {
	switch {
	case c.Return != nil:
		return c.Return.At
	case c.Since.IsZero() && c.End != nil:
		return c.End.At
	}
	return c.Since
}

func node(nodes []Node, id string) *Node {
	for i := range nodes {
		if nodes[i].ID == id {
			return &nodes[i]
		}
	}
	return &Node{}
}

// next returns the connection with which the client of an ended one has come
// back, successfully or not; nil if it has not.
func (a *Answer) next(c *Connection) *Connection {
	if c.End == nil || c.Session == "" {
		return nil
	}
	for i := range a.Connections {
		n := &a.Connections[i]
		if n.Return != nil && n.Return.Session == c.Session && n != c && !n.Return.At.Before(c.End.At) {
			return n
		}
	}
	return nil
}

func state(s *rooms.Stay, next *Connection) State {
	switch {
	case s.End == nil:
		return Connected
	case next != nil && next.Recovered():
		return Recovered
	case next != nil:
		return Lost
	case s.End.Orphan:
		return NodeGone
	case !s.End.Until.IsZero():
		return Away
	}
	return Ended
}

// judge decides whether a connection was given an event, and why.
func judge(e *Event, c *Connection, next *Connection, n *Node) (Verdict, string) {
	switch {
	case !e.Found && c.End == nil && c.Log == e.Log && e.Position > c.Given:
		return Later, fmt.Sprintf("the node has delivered the log up to %s", base36(n.Position))
	case !e.Found:
		return Unknown, e.Trouble
	case e.Trouble != "":
		return Not, e.Trouble
	case c.Log != e.Log:
		return Unknown, fmt.Sprintf("its positions are of another log, %q", c.Log)
	}
	in, v, why := inRoom(e, &c.Stay)
	if !in {
		return v, why
	}
	if e.Position <= c.Given {
		return given(e, &c.Stay, why)
	}
	if c.Lost {
		return Not, "the node was not sent all events of the log: the client is to come back as a new one"
	}
	if c.End == nil {
		return Later, fmt.Sprintf("%s; its node is behind: it has delivered the log up to %s", why, base36(n.Position))
	}
	return away(e, &c.Stay, next, why)
}

// inRoom reports whether the socket was in a room of the event when that was
// delivered. Otherwise it says why not.
func inRoom(e *Event, s *rooms.Stay) (in bool, v Verdict, why string) {
	v, why = Not, "it was not in "+strings.Join(e.Rooms, ", nor in ")
	for _, r := range s.Rooms {
		switch {
		case !slices.Contains(e.Rooms, r.Name):
		case r.To != 0 && e.Position > r.To:
			v, why = Not, fmt.Sprintf("it had left %s at %s: %s", r.Name, base36(r.To), r.Why)
		case r.Known && e.Position <= r.From:
			v, why = Not, fmt.Sprintf("it joined %s later, at %s", r.Name, base36(r.From))
		case !r.Known && !s.Since.IsZero() && !e.Published.IsZero() && e.Published.Before(s.Since.Add(-clockSlack)):
			v, why = Not, "it connected later, at "+clock(s.Since)
		case !r.Known:
			v, why = Unknown, fmt.Sprintf("it was in %s, but when it joined is known only of clients that ask for recovery", r.Name)
		default:
			return true, Given, "it was in " + r.Name
		}
	}
	if v == Not && s.Cut {
		return false, Unknown, why + ", as far as is known: it had too many rooms"
	}
	return false, v, why
}

// given describes how the event was given to a connection.
func given(e *Event, s *rooms.Stay, why string) (Verdict, string) {
	how := "it was sent to its connection"
	switch r := s.Return; {
	case s.Recovered() && e.Position <= r.From:
		how = "the client had it when it came back, at " + clock(r.At)
	case s.Recovered() && e.Position <= r.Through && e.Volatile:
		return Not, why + "; the client was away until " + clock(r.At) + ", and events of volatile routes are not replayed"
	case s.Recovered() && e.Position <= r.Through:
		how = "it was replayed when the client came back, at " + clock(r.At)
	case e.Volatile:
		how += ", unless more than 64 KiB waited for the client: the route is volatile"
	case e.Latest:
		how += ", or a newer state in its place: the route has latest"
	}
	if s.End != nil {
		how += fmt.Sprintf("; that ended at %s (%s)", clock(s.End.At), s.End.Reason)
	}
	return Given, why + "; " + how
}

// away describes what became of an event behind those that an ended connection
// was given.
func away(e *Event, s *rooms.Stay, next *Connection, why string) (Verdict, string) {
	end := s.End
	when := fmt.Sprintf("%s; its connection had ended at %s (%s)", why, clock(end.At), end.Reason)
	switch {
	case end.Orphan:
		when = why + "; its node does not answer: what that has sent is not known"
	case s.Session == "":
		return Not, when + ", and the client had not asked for recovery"
	case end.Final:
		return Not, when + ", which is final"
	case e.Volatile:
		return Not, when + ", and events of volatile routes are not replayed"
	}
	switch {
	case next != nil && next.Recovered():
		return Not, fmt.Sprintf("%s; the client came back on node %s and was recovered: see that connection", when, next.Node)
	case next != nil:
		return Not, fmt.Sprintf("%s; the client came back on node %s and was not recovered: %s", when, next.Node, next.Return.Result)
	case end.Orphan:
		return Unknown, when + "; the client is replayed what it misses when it comes back"
	case !end.Until.IsZero():
		return Later, fmt.Sprintf("%s; it is replayed if the client comes back until %s", when, clock(end.Until))
	}
	return Not, when + ", and nobody has come back to it"
}

// clockSlack is how far the clocks of services and nodes may be apart.
const clockSlack = 5 * time.Second

func base36(p uint64) string { return strconv.FormatUint(p, 36) }

func clock(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
