package cluster

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/internal/testkit"
)

func TestMembersOnTwoNodes(t *testing.T) {
	w := newWorld(t)
	a, b := w.node(), w.node()
	ann, bob := a.connect("ann"), b.connect("bob")
	ann.do("join_room", "1")
	w.settle()
	bob.do("join_room", "1")
	ann.wantOf("user_joined", bob)
	w.settle()
	ann.do("typing", "1")
	bob.wantOf("user_typing", ann)
	bob.do("typing", "1")
	ann.wantOf("user_typing", bob)
	bob.do("leave_room", "1")
	ann.wantOf("user_left", bob)
	ann.do("typing", "1")
	w.settle()
	ann.wantNothing()
	bob.wantNothing()
	w.awaitRight()
}

// All messages of clients wait for bob's event loop, which is stopped. When it runs
// again, bob must get them in the order in which they were published.
func TestMessagesOfAClientKeepTheirOrder(t *testing.T) {
	const said = 20_000
	w := newWorld(t)
	a, b := w.node(), w.node()
	ann, bob := a.connect("ann"), b.connect("bob")
	ann.do("join_room", "1")
	w.settle()
	bob.do("join_room", "1")
	ann.wantOf("user_joined", bob)
	w.settle()
	stalled := make(chan struct{})
	release := sync.OnceFunc(func() { close(stalled) })
	t.Cleanup(release)
	bob.shard.Post(func(time.Time) { <-stalled })
	for i := range said {
		a.cluster.Publish("conversation:1", codec.NewText(fmt.Appendf(nil, `42["n",%d]`, i)))
	}
	testkit.Await(t, "all messages to wait for bob's loop", func() bool { return b.hub.Stats().MailboxWaiting == said })
	release()
	for i := range said {
		if got, want := bob.next(), fmt.Sprintf(`42["n",%d]`, i); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
}

// Two clients join a room at the same time on two nodes. Each node writes the
// directory before it reads it, so at least one of the clients must get
// user_joined of the other.
func TestOneOfTwoSimultaneousJoinsIsAnnouncedToTheOther(t *testing.T) {
	const pairs, meetings = 8, 150
	w := newWorld(t)
	left, right := w.node(), w.node()
	var all sync.WaitGroup
	for p := range pairs {
		a, b := left.connect(fmt.Sprint("a", p)), right.connect(fmt.Sprint("b", p))
		all.Go(func() {
			announced := make(map[string]bool)
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
						var body presenceBody
						_ = json.Unmarshal([]byte(strings.TrimSuffix(rest, "]")), &body)
						announced[body.Room] = true
					}
				}
				for m := range meetings {
					if room := fmt.Sprint("conversation:", p, "-", m); !announced[room] {
						rooms = append(rooms, room)
					}
				}
				return rooms
			}
			deadline := time.Now().Add(patience)
			for len(missing()) > 0 {
				if time.Now().After(deadline) {
					t.Errorf("no client got user_joined of the other in the rooms %v", missing())
					return
				}
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	all.Wait()
}
