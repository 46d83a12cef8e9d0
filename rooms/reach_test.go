package rooms

import (
	"context"
	"errors"
	"testing"
	"time"
)

// reach returns Hub.Reach of rooms, and runs the tasks of the shards meanwhile.
func (w *world) reach(names ...string) int {
	w.t.Helper()
	type answer struct {
		n   int
		err error
	}
	done := make(chan answer, 1)
	go func() {
		n, err := w.hub.Reach(w.t.Context(), names)
		done <- answer{n, err}
	}()
	for {
		select {
		case a := <-done:
			if a.err != nil {
				w.t.Fatal(a.err)
			}
			return a.n
		case <-time.After(time.Millisecond):
			for _, sh := range w.hub.shards {
				sh.Tasks(w.now)
			}
		}
	}
}

func TestReachCountsEachSocketOnce(t *testing.T) {
	w := newWorld(t, 3)
	var all []*client
	for _, user := range []string{"ann", "ann", "bob", "eve"} {
		all = append(all, w.connect(user))
	}
	for _, c := range all[:3] {
		c.emit("join_room", conversation("1"))
	}
	all[0].emit("join_room", conversation("2"))
	for _, c := range []struct {
		rooms []string
		want  int
	}{
		{nil, 0},
		{[]string{"conversation:9", "user:nobody"}, 0},
		{[]string{"user:ann"}, 2},
		{[]string{"user:ann", "user:bob", "user:nobody"}, 3},
		{[]string{"conversation:1"}, 3},
		{[]string{"conversation:1", "conversation:2"}, 3},
		{[]string{"user:eve", "conversation:1", "user:ann"}, 4},
	} {
		if got := w.reach(c.rooms...); got != c.want {
			t.Errorf("%v: %d sockets, want %d", c.rooms, got, c.want)
		}
	}
}

func TestReachDoesNotCountAbsentSockets(t *testing.T) {
	w := newWorld(t, 1, func(c *Config) { c.Recovery.Mode, c.Recovery.Grace = RecoveryAll, time.Minute })
	ann, bob := w.connect("ann"), w.connect("bob")
	ann.ask("join_room", conversation("1"))
	bob.emit("join_room", conversation("1"))
	ann.hangUp()
	if got := w.reach("conversation:1"); got != 1 {
		t.Errorf("%d sockets, want 1: ann is absent", got)
	}
	if got := w.reach("user:ann"); got != 0 {
		t.Errorf("%d sockets of an absent user, want none", got)
	}
}

func TestReachEndsWithItsContext(t *testing.T) {
	w := newWorld(t, 1)
	w.connect("ann")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.hub.Reach(ctx, []string{"user:ann"}); !errors.Is(err, context.Canceled) { // nothing runs the tasks of the shard
		t.Errorf("error %v, want context.Canceled", err)
	}
}
