package rooms

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// stays returns Hub.Stays of a user, and drains the shards meanwhile.
func (w *world) stays(user string) []Stay {
	w.t.Helper()
	found := make(chan []Stay, 1)
	go func() {
		list, _, err := w.hub.Stays(w.t.(*testing.T).Context(), user)
		if err != nil {
			w.t.Error(err)
		}
		found <- list
	}()
	for {
		select {
		case list := <-found:
			return list
		default:
			w.settle()
			time.Sleep(time.Microsecond)
		}
	}
}

func roomsOf(s *Stay) string {
	var list []string
	for _, r := range s.Rooms {
		list = append(list, fmt.Sprintf("%s %d %v %d %s", r.Name, r.From, r.Known, r.To, r.Why))
	}
	return strings.Join(list, "; ")
}

func TestStaysListsConnectionsOfAUser(t *testing.T) {
	for _, shards := range []int{1, 3} {
		w, past := newHistoryWorld(t, shards)
		plain, ann := w.connect("ann"), w.recoveringClient("ann")
		past.publish(w, "conversation:1")
		ann.join("1")
		ann.join("2")
		past.publish(w, "conversation:1")
		ann.emit("leave_room", conversation("1"))
		past.publish(w, "conversation:1")
		list := w.stays("ann")
		if len(list) != 2 {
			t.Fatalf("%d connections, want 2: %+v", len(list), list)
		}
		s := list[0]
		if s.Session == "" {
			s = list[1]
		}
		if got := roomsOf(&s); got != "user:ann 0 true 0 ; conversation:2 1 true 0 ; conversation:1 1 true 2 the client left it" {
			t.Errorf("rooms of the session: %s, want %s", got, "user:ann 0 true 0 ; conversation:2 1 true 0 ; conversation:1 1 true 2 the client left it")
		}
		if s.Socket != ann.id || s.Session != SessionMark(ann.pid) || s.Given != 3 || s.End != nil {
			t.Errorf("the connection %+v, want the socket and session of ann, position 3, no end", s)
		}
		ann.wantGot("e2")
		plain.hangUp()
		ann.hangUp()
		list = w.stays("ann")
		if away := list[1]; list[0].Session != "" || !list[0].End.Final || !list[0].End.Until.IsZero() || away.End.Reason != "closed" ||
			away.End.Final || !away.End.Until.Equal(w.now.Add(DefaultWindow)) || away.Given != 3 {
			t.Errorf("after the close: the first ended with %+v, want a final end; the second is %+v, want one that may return", list[0].End, away)
		}
		past.publish(w, "conversation:2")
		w.at(w.now.Add(6 * time.Second)) // the grace has passed
		ann.reconnect(w)
		ann.wantGot("e2", "e4")
		list = w.stays("ann")
		if len(list) != 3 || !list[1].End.Until.IsZero() || list[1].Return != nil || list[2].End != nil || !list[2].Recovered() {
			t.Fatalf("after the return: %+v", list)
		}
		if r := list[2].Return; r.From != 3 || r.Through != 4 || r.Events != 1 || r.Session != list[1].Session || !r.At.Equal(w.now) {
			t.Errorf("the return: %+v", r)
		}
		ann.emit("leave_room", conversation("2"))
		if list = w.stays("ann"); !strings.Contains(roomsOf(&list[1]), "conversation:2 1 true 0 ;") || !strings.Contains(roomsOf(&list[2]), "conversation:2 1 true 4 the client left it") {
			t.Errorf("rooms of the earlier connection: %s; of the later one: %s", roomsOf(&list[1]), roomsOf(&list[2]))
		}
	}
}

func TestStaysHasTheReasonNotToRecover(t *testing.T) {
	w, past := newHistoryWorld(t, 1)
	ann := w.recoveringClient("ann")
	past.publish(w, "user:ann")
	ann.hangUp()
	w.at(w.now.Add(3 * time.Minute))
	ann.reconnect(w)
	list := w.stays("ann")
	if len(list) != 2 || !list[0].End.Until.IsZero() || list[1].Return == nil || list[1].Return.Result != "unknown_pid" || list[1].Return.Session != list[0].Session {
		t.Fatalf("connections %+v, want 2, the second with the result unknown_pid", list)
	}
	if err := w.hub.Obey(Order{User: "ann", Reason: "logged_out"}); err != nil {
		t.Fatal(err)
	}
	w.settle()
	if list = w.stays("ann"); len(list) != 2 || list[1].End == nil || list[1].End.Reason != "logged_out" || !list[1].End.Final || list[1].Return == nil {
		t.Errorf("after the order: %+v", list)
	}
}

// Ended connections are remembered up to a number for each user, and a number
// of bytes for all. Sessions to which clients may return are known
// independently of that.
func TestEndedConnectionsAreRememberedWithinLimits(t *testing.T) {
	w, _ := newHistoryWorld(t, 1, func(c *Config) { c.Recovery.Grace = 0 })
	ann := w.recoveringClient("ann")
	ann.join("1")
	ann.hangUp()
	for range 2 * maxPastPerUser {
		c := w.connect("bob")
		c.hangUp()
	}
	if n := len(w.stays("bob")); n != maxPastPerUser {
		t.Errorf("%d connections of one user, want %d", n, maxPastPerUser)
	}
	for i := range 2 * maxPastBytes / pastOverhead {
		w.hub.past.add(past{user: fmt.Sprint(i), left: StayRoom{Name: "conversation:1"}})
	}
	ps := &w.hub.past
	if ps.bytes > maxPastBytes || ps.bytes < maxPastBytes/2 || len(ps.users) > maxPastBytes/pastOverhead || len(ps.order) > 3*maxPastBytes/pastOverhead {
		t.Errorf("%d bytes of %d users with %d entries, want %d bytes at most", ps.bytes, len(ps.users), len(ps.order), maxPastBytes)
	}
	if n := len(w.stays("bob")); n != 0 {
		t.Errorf("%d connections of bob are remembered beyond the limit, want none", n)
	}
	list := w.stays("ann")
	if len(list) != 1 || list[0].Socket == "" || !list[0].End.Until.Equal(w.now.Add(DefaultWindow)) || len(list[0].Rooms) != 2 {
		t.Errorf("connections of a client that may return: %+v, want 1 with 2 rooms", list)
	}
}
