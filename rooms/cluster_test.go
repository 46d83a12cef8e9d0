package rooms

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hometrip/gateway/codec"
)

// others is a cluster that remembers what it is told. It runs on the
// goroutine of its world.
type others struct {
	there   map[string]bool
	told    []string
	counts  []string
	printed []string // what was published
	members int      // of any room
}

func newOthers() *others { return &others{there: make(map[string]bool)} }

func (o *others) Occupied(room, user string) { o.told = append(o.told, "+"+room+" "+user) }
func (o *others) Counted(room string, n int) { o.counts = append(o.counts, fmt.Sprint(room, " ", n)) }
func (o *others) Members(string) int         { return o.members }
func (o *others) Vacated(room string)        { o.told = append(o.told, "-"+room) }
func (o *others) Elsewhere(room string) bool { return o.there[room] }
func (o *others) Publish(room string, m *codec.Message) {
	o.printed = append(o.printed, room+" "+string(m.AppendPayload(nil)))
}

func newClusterWorld(t testing.TB, shards int) (*world, *others) {
	o := newOthers()
	return newWorld(t, shards, func(c *Config) { c.Cluster = o }), o
}

func TestClusterIsToldOfFirstAndLast(t *testing.T) {
	w, o := newClusterWorld(t, 2)
	ann, bob, eve := w.connect("ann"), w.connect("bob"), w.connect("eve") // eve on ann's shard
	o.told = nil
	for _, c := range []*client{ann, eve, bob} {
		c.emit("join_room", conversation("1"))
	}
	for _, c := range []*client{ann, eve, bob} {
		c.emit("leave_room", conversation("1"))
	}
	want := []string{"+conversation:1 ann", "+conversation:1 bob", "-conversation:1"} // once a shard, once the node
	if !slices.Equal(o.told, want) {
		t.Errorf("told %q, want %q", o.told, want)
	}
}

func TestPublishedOnlyWhenElsewhere(t *testing.T) {
	w, o := newClusterWorld(t, 1)
	ann := w.connect("ann")
	ann.ask("join_room", conversation("1"))
	ann.ask("typing", conversation("1"))
	if len(o.printed) != 0 {
		t.Fatalf("published %q, and nobody is elsewhere", o.printed)
	}
	o.there["conversation:1"] = true
	ann.ask("typing", conversation("1"))
	ann.ask("leave_room", conversation("1"))
	body := fmt.Sprintf(`{"socketId":%q,"userId":"ann","room":"conversation:1","timestamp":%q}]`, ann.id, dawnText)
	want := []string{`conversation:1 42["user_typing",` + body, `conversation:1 42["user_left",` + body}
	if !slices.Equal(o.printed, want) {
		t.Errorf("published %q, want %q", o.printed, want)
	}
}

func TestReceivedIsNotPublishedAgain(t *testing.T) {
	w, o := newClusterWorld(t, 2)
	ann, bob := w.connect("ann"), w.connect("bob")
	for _, c := range []*client{ann, bob} {
		c.emit("join_room", conversation("1"))
	}
	ann.inbox, bob.inbox = nil, nil
	o.there["conversation:1"] = true
	o.printed = nil
	if n := w.hub.Receive(Broadcast{Room: "conversation:1", Message: news("news")}); n != 2 {
		t.Errorf("received by %d shards, want 2", n)
	}
	w.settle()
	ann.want("news", "{}")
	bob.want("news", "{}")
	if n := w.hub.Receive(Broadcast{Room: "conversation:2", Message: news("news")}); n != 0 || len(o.printed) != 0 {
		t.Errorf("received by %d shards, published %q, want neither", n, o.printed)
	}
}

func TestReceiveDoesNotWait(t *testing.T) {
	w := newWorld(t, 1, func(c *Config) { c.MaxMailbox = 2 })
	ann := w.connect("ann")
	for range 5 { // and nobody drains
		w.hub.Receive(Broadcast{Room: "user:ann", Message: news("news")})
	}
	w.settle()
	if n := w.hub.Stats().MailboxFull; len(ann.inbox) != 2 || n != 3 {
		t.Errorf("%d messages came and %d were counted as lost, want 2 and 3", len(ann.inbox), n)
	}
}

// TestJoinIsAcknowledgedAtOnce, in front of what is said to the others.
func TestJoinIsAcknowledgedAtOnce(t *testing.T) {
	w, o := newClusterWorld(t, 1)
	ann := w.open("ann")
	ann.connect("ann")
	o.there["conversation:1"] = true
	ann.text(`21["join_room",` + conversation("1") + `]`)
	if got, want := ann.next(), `431[{"success":true,"message":"Joined room: conversation:1","members":1}]`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if len(o.printed) != 1 || !strings.Contains(o.printed[0], "user_joined") {
		t.Errorf("published %q, want user_joined", o.printed)
	}
}

func TestTypingAllocatesAsLittleInACluster(t *testing.T) {
	w, _ := newClusterWorld(t, 1)
	ann := w.connect("ann")
	ann.ask("join_room", conversation("1"))
	packet := []byte(`2["typing",` + conversation("1") + `]`)
	if allocs := testing.AllocsPerRun(100, func() { ann.socket.Text(packet, dawn) }); allocs > 0 {
		t.Errorf("%v allocations for typing that nobody hears, want none", allocs)
	}
}

func TestMembersOfOtherNodesCount(t *testing.T) {
	w, o := newClusterWorld(t, 2)
	ann, bob := w.connect("ann"), w.connect("bob")
	o.members = 40
	for i, c := range []*client{ann, bob} {
		if got, want := c.ask("join_room", conversation("1")), fmt.Sprintf(`"members":%d}`, 41+i); !strings.HasSuffix(got, want) {
			t.Errorf("told %s, want %s", got, want)
		}
	}
	ann.inbox = nil // of bob
	ann.ask("leave_room", conversation("1"))
	bob.inbox = nil
	bob.ask("leave_room", conversation("1"))
	want := []string{"conversation:1 1", "conversation:1 2", "conversation:1 1"} // of a user's room nobody is told
	if !slices.Equal(o.counts, want) {
		t.Errorf("the other nodes were told %q, want %q", o.counts, want)
	}
}
