package cluster

import (
	"fmt"
	"slices"
	"testing"
)

func TestMembersOnTwoNodes(t *testing.T) {
	w := newWorld(t)
	a, b := w.node(), w.node()
	ann, bob := a.connect("ann"), b.connect("bob")
	ann.do("join_room", "1")
	bob.do("join_room", "1")
	ann.wantOf("user_joined", bob)
	ann.do("typing", "1")
	bob.wantOf("user_typing", ann)
	bob.do("typing", "1")
	ann.wantOf("user_typing", bob)
	a.deliver("conversation:1", "new_message")
	ann.want("new_message")
	bob.want("new_message")
	b.deliver("user:ann", "new_notification")
	ann.want("new_notification")
	bob.do("leave_room", "1")
	ann.wantOf("user_left", bob)
	ann.do("typing", "1")
	a.sync()
	ann.wantNothing()
	bob.wantNothing()
	w.awaitRight()
}

// TestNothingIsMissedAfterAJoin: what is published after a join was
// acknowledged arrives, however fresh the directory's change is. The publisher
// has the room in its memory as it was before.
func TestNothingIsMissedAfterAJoin(t *testing.T) {
	w := newWorld(t)
	a, b, c := w.node(), w.node(), w.node()
	ann, bob, eve := a.connect("ann"), b.connect("bob"), c.connect("eve")
	for i := range 300 {
		room := fmt.Sprint(i)
		eve.do("join_room", room)
		ann.do("join_room", room)
		eve.wantOf("user_joined", ann)
		a.deliver("conversation:"+room, "before")
		ann.want("before")
		eve.want("before")

		bob.do("join_room", room)
		a.deliver("conversation:"+room, "after")
		bob.want("after")
		for _, c := range []*client{ann, eve} { // of two publishers, in any order
			got := []string{c.next()[:8], c.next()[:8]}
			slices.Sort(got)
			if want := []string{`42["afte`, `42["user`}; !slices.Equal(got, want) {
				t.Fatalf("%s got %q, want %q", c.name, got, want)
			}
		}
	}
}

// TestEventsForAnEmptyRoom: the publisher does not hold the room, and nobody
// did when it looked.
func TestEventsForAnEmptyRoom(t *testing.T) {
	w := newWorld(t)
	a, b := w.node(), w.node()
	for i := range 300 {
		user := fmt.Sprint("user", i)
		a.deliver("user:"+user, "before")
		bob := b.connect(user)
		a.deliver("user:"+user, "after")
		bob.want("after")
		bob.wantNothing()
		bob.hangUp()
	}
}
