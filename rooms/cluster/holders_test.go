package cluster

import (
	"context"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/testkit"
)

func TestHeldElsewhere(t *testing.T) {
	w := newWorld(t)
	a, b := w.node(), w.node()
	held := func(n *node, rooms ...string) (yes, known bool) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		return n.cluster.HeldElsewhere(ctx, rooms)
	}
	want := func(n *node, want bool, rooms ...string) {
		t.Helper()
		if yes, known := held(n, rooms...); yes != want || !known {
			t.Errorf("%s: %v held elsewhere: %v (known: %v), want %v", n.name, rooms, yes, known, want)
		}
	}
	ann := a.connect("ann")
	ann.do("join_room", "1")
	w.settle()
	want(a, false, "conversation:1", "conversation:2")
	want(b, true, "conversation:2", "conversation:1")
	want(b, false, "conversation:2")
	bob := b.connect("bob")
	bob.do("join_room", "1")
	ann.wantOf("user_joined", bob)
	w.settle()
	want(a, true, "conversation:1")
	want(b, true, "conversation:1")
	ann.do("leave_room", "1")
	bob.wantOf("user_left", ann) // the directory keeps the room for the linger time
	testkit.Await(t, "the room to be held by one node", func() bool { yes, known := held(b, "conversation:1"); return known && !yes })
	want(a, true, "conversation:1")

	bob.do("leave_room", "1")
	testkit.Await(t, "the room to be held by no node", func() bool { yes, known := held(a, "conversation:1"); return known && !yes })
}

func TestHeldElsewhereIsNotKnownWithoutRedis(t *testing.T) {
	w := newOwnWorld(t)
	n := w.node()
	w.redis.Kill()
	testkit.Await(t, "Redis to be away", func() bool { return !n.cluster.Connected() })
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if yes, known := n.cluster.HeldElsewhere(ctx, []string{"conversation:1"}); yes || known {
		t.Errorf("held elsewhere: %v, known: %v; want neither without Redis", yes, known)
	}
}
