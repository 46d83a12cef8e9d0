package cluster

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/rooms"
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

// TestEventToSeveralRoomsComesOnceOnOtherNodes: its records come by several
// lanes, and others between them.
func TestEventToSeveralRoomsComesOnceOnOtherNodes(t *testing.T) {
	w := newWorld(t)
	a, b := w.node(), w.node()
	bob := b.connect("bob")
	names := []string{"user:bob"}
	for i := range 8 {
		bob.do("join_room", fmt.Sprint(i))
		names = append(names, fmt.Sprint("conversation:", i))
	}
	for event := range uint64(20) {
		for _, room := range names {
			m := codec.NewText(fmt.Appendf(nil, `42["event",{"room":"%d"}]`, event))
			if _, err := a.cluster.Deliver(t.Context(), rooms.Broadcast{Room: room, Message: m}); err != nil {
				t.Fatal(err)
			}
		}
	}
	a.sync()
	await(t, "all that was sent", func() bool { return b.cluster.Stats().Received >= int64(20*len(names)) })
	seen := make(map[string]bool)
	for range 20 {
		if body := bob.want("event"); seen[body.Room] {
			t.Errorf("event %s came twice", body.Room)
		} else {
			seen[body.Room] = true
		}
	}
	bob.wantNothing()
}

// TestNothingIsMissedAfterAJoin: what is published after a join was
// acknowledged arrives, however fresh the directory's change is. The publisher
// has the room in its memory as it was before. See also TestRedisCluster.
func TestNothingIsMissedAfterAJoin(t *testing.T) {
	w := newWorld(t)
	w.follow(w.node(), w.node(), w.node(), 100)
}

// follow has a service publish on node a, which has a member and knows of one
// on c, before and after a client joins on b.
func (w *world) follow(a, b, c *node, rooms int) {
	w.t.Helper()
	ann, bob, eve := a.connect("ann"), b.connect("bob"), c.connect("eve")
	for i := range rooms {
		room := fmt.Sprint("follow ", i)
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
				w.t.Fatalf("%s got %q, want %q", c.name, got, want)
			}
		}
	}
}

// TestSpeakersNoticeAJoinBeforeItsAck: what a client or a service says on one
// node after another's join on another node was acknowledged arrives, though
// the first node took the room for its own until then, and Redis tells it
// without waiting for it. See also TestRedisCluster.
func TestSpeakersNoticeAJoinBeforeItsAck(t *testing.T) {
	w := newWorld(t)
	proxy := newProxy(t, w.redis)
	here, there := w.node(behind(proxy)), w.node()
	w.meet(here, there, 50)
	proxy.Lag(2 * time.Millisecond)
	w.meet(here, there, 20)
}

// meet has clients and services on one node speak to rooms of which it takes
// itself to be the only holder, in the instant in which a join on another node
// is acknowledged.
func (w *world) meet(here, there *node, meetings int) {
	w.t.Helper()
	w.awaitRight()
	var all sync.WaitGroup
	for p := range 8 {
		ann, bob := here.connect(fmt.Sprint("ann", p)), there.connect(fmt.Sprint("bob", p))
		all.Go(func() {
			for m := range meetings {
				room := fmt.Sprint(w.t.Name(), " ", p, " ", m, " of ", meetings)
				ann.do("join_room", room)
				here.deliver("conversation:"+room, "first")
				ann.want("first")
				await(w.t, "the room to be taken for local", func() bool { return !here.cluster.Elsewhere("conversation:" + room) })
				bob.do("join_room", room)
				if p%2 == 0 {
					ann.send("typing", room)
					bob.wantOf("user_typing", ann)
				} else {
					here.deliver("conversation:"+room, "news")
					bob.want("news")
				}
				for range 2 { // ack or news, and that bob has joined
					ann.next()
				}
			}
		})
	}
	all.Wait()
}

// TestEventsForAnEmptyRoom: the publisher does not hold the room, and nobody
// did when it looked. See also TestRedisCluster.
func TestEventsForAnEmptyRoom(t *testing.T) {
	w := newWorld(t)
	w.greet(w.node(), w.node(), 100)
}

// greet has a service publish on one node to users before and after they
// connect to another.
func (w *world) greet(here, there *node, users int) {
	w.t.Helper()
	for i := range users {
		user := fmt.Sprint("user", i)
		here.deliver("user:"+user, "before")
		bob := there.open(user)
		bob.awaitEvent("connected") // "before" may still be on its way to the node
		here.deliver("user:"+user, "after")
		bob.awaitEvent("after")
		bob.wantNothing()
		bob.hangUp()
	}
}

// Two who join a room at the same time on two nodes: each is entered into the
// directory before the other nodes are asked about, so the later one finds the
// earlier one there, and tells it.
func TestOfTwoWhoJoinAtOnceOneHears(t *testing.T) {
	const pairs, meetings = 8, 150
	w := newWorld(t)
	left, right := w.node(), w.node()
	var all sync.WaitGroup
	for p := range pairs {
		a, b := left.connect(fmt.Sprint("a", p)), right.connect(fmt.Sprint("b", p))
		all.Go(func() {
			heard := make(map[string]bool)
			for m := range meetings {
				room := fmt.Sprint(p, "-", m)
				var both sync.WaitGroup
				for _, c := range []*client{a, b} {
					both.Go(func() { c.send("join_room", room) })
				}
				both.Wait()
			}
			missing := func() (rooms []string) {
				for _, packet := range append(a.all(), b.all()...) {
					if _, rest, ok := strings.Cut(packet, `"user_joined",`); ok {
						var body presence
						_ = json.Unmarshal([]byte(strings.TrimSuffix(rest, "]")), &body)
						heard[body.Room] = true
					}
				}
				for m := range meetings {
					if room := fmt.Sprint("conversation:", p, "-", m); !heard[room] {
						rooms = append(rooms, room)
					}
				}
				return rooms
			}
			deadline := time.Now().Add(patience)
			for len(missing()) > 0 {
				if time.Now().After(deadline) {
					t.Errorf("nobody heard of the other in %v", missing())
					return
				}
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	all.Wait()
}
