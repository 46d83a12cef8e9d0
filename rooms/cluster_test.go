package rooms

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hometrip/gateway/codec"
)

// A fakeCluster is a Cluster that records its calls. It runs on the test's
// goroutine.
type fakeCluster struct {
	elsewhere map[string]bool
	changes   []string
	counts    []string
	published []string // arguments of Publish
	members   int      // returned for every room
}

func newFakeCluster() *fakeCluster { return &fakeCluster{elsewhere: make(map[string]bool)} }

func (o *fakeCluster) Occupied(room, user string) { o.changes = append(o.changes, "+"+room+" "+user) }
func (o *fakeCluster) Counted(room string, n int) {
	o.counts = append(o.counts, fmt.Sprint(room, " ", n))
}
func (o *fakeCluster) Members(string) int         { return o.members }
func (o *fakeCluster) Vacated(room string)        { o.changes = append(o.changes, "-"+room) }
func (o *fakeCluster) Elsewhere(room string) bool { return o.elsewhere[room] }
func (o *fakeCluster) Publish(room string, m *codec.Message) {
	o.published = append(o.published, room+" "+string(m.AppendPayload(nil)))
}

func newClusterWorld(t testing.TB, shards int) (*world, *fakeCluster) {
	o := newFakeCluster()
	return newWorld(t, shards, func(c *Config) { c.Cluster = o }), o
}

func TestClusterIsToldOfTheFirstAndTheLastMember(t *testing.T) {
	w, o := newClusterWorld(t, 2)
	ann, bob, eve := w.connect("ann"), w.connect("bob"), w.connect("eve") // eve on ann's shard
	o.changes = nil
	for _, c := range []*client{ann, eve, bob} {
		c.emit("join_room", conversation("1"))
	}
	for _, c := range []*client{ann, eve, bob} {
		c.emit("leave_room", conversation("1"))
	}
	want := []string{"+conversation:1 ann", "+conversation:1 bob", "-conversation:1"} // Occupied once for each shard, Vacated once for the node
	if !slices.Equal(o.changes, want) {
		t.Errorf("told %q, want %q", o.changes, want)
	}
}

func TestClientEventsArePublishedOnlyToRoomsOnOtherNodes(t *testing.T) {
	w, o := newClusterWorld(t, 1)
	ann := w.connect("ann")
	ann.ask("join_room", conversation("1"))
	ann.ask("typing", conversation("1"))
	if len(o.published) != 0 {
		t.Fatalf("published %q without members on other nodes, want nothing", o.published)
	}
	o.elsewhere["conversation:1"] = true
	ann.ask("typing", conversation("1"))
	ann.ask("leave_room", conversation("1"))
	body := fmt.Sprintf(`{"socketId":%q,"userId":"ann","room":"conversation:1","timestamp":%q}]`, ann.id, startText)
	want := []string{`conversation:1 42["user_typing",` + body, `conversation:1 42["user_left",` + body}
	if !slices.Equal(o.published, want) {
		t.Errorf("published %q, want %q", o.published, want)
	}
}

func TestReceivedMessageIsNotPublishedAgain(t *testing.T) {
	w, o := newClusterWorld(t, 2)
	ann, bob := w.connect("ann"), w.connect("bob")
	for _, c := range []*client{ann, bob} {
		c.emit("join_room", conversation("1"))
	}
	ann.inbox, bob.inbox = nil, nil
	o.elsewhere["conversation:1"] = true
	o.published = nil
	if n := w.hub.Receive(Broadcast{Room: "conversation:1", Message: news("news")}); n != 2 {
		t.Errorf("received by %d shards, want 2", n)
	}
	w.settle()
	ann.want("news", "{}")
	bob.want("news", "{}")
	if n := w.hub.Receive(Broadcast{Room: "conversation:2", Message: news("news")}); n != 0 || len(o.published) != 0 {
		t.Errorf("received by %d shards, published %q, want neither", n, o.published)
	}
}

func TestReceiveDropsMessagesWhenAMailboxIsFull(t *testing.T) {
	w := newWorld(t, 1, func(c *Config) { c.MaxMailbox = 2 })
	ann := w.connect("ann")
	for range 5 { // without a drain in between
		w.hub.Receive(Broadcast{Room: "user:ann", Message: news("news")})
	}
	w.settle()
	if n := w.hub.Stats().MailboxFull; len(ann.inbox) != 2 || n != 3 {
		t.Errorf("%d messages arrived and %d were counted as lost, want 2 and 3", len(ann.inbox), n)
	}
}

// A join does not wait for the other nodes: the ack holds the local count of
// members, and user_joined is published.
func TestJoinIsAcknowledgedAtOnce(t *testing.T) {
	w, o := newClusterWorld(t, 1)
	ann := w.open("ann")
	ann.connect("ann")
	o.elsewhere["conversation:1"] = true
	ann.text(`21["join_room",` + conversation("1") + `]`)
	if got, want := ann.next(), `431[{"success":true,"message":"Joined room: conversation:1","members":1}]`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if len(o.published) != 1 || !strings.Contains(o.published[0], "user_joined") {
		t.Errorf("published %q, want user_joined", o.published)
	}
}

func TestTypingAloneAllocatesNothingInACluster(t *testing.T) {
	w, _ := newClusterWorld(t, 1)
	ann := w.connect("ann")
	ann.ask("join_room", conversation("1"))
	packet := []byte(`2["typing",` + conversation("1") + `]`)
	if allocs := testing.AllocsPerRun(100, func() { ann.socket.Text(packet, startTime) }); allocs > 0 {
		t.Errorf("%v allocations for typing in a room without other members, want none", allocs)
	}
}

func TestJoinAckCountsMembersOfOtherNodes(t *testing.T) {
	w, o := newClusterWorld(t, 2)
	ann, bob := w.connect("ann"), w.connect("bob")
	o.members = 40
	for i, c := range []*client{ann, bob} {
		if got, want := c.ask("join_room", conversation("1")), fmt.Sprintf(`"members":%d}`, 41+i); !strings.HasSuffix(got, want) {
			t.Errorf("join answered with %s, want %s", got, want)
		}
	}
	ann.inbox = nil // user_joined of bob
	ann.ask("leave_room", conversation("1"))
	bob.inbox = nil
	bob.ask("leave_room", conversation("1"))
	want := []string{"conversation:1 1", "conversation:1 2", "conversation:1 1"} // not for the rooms of users
	if !slices.Equal(o.counts, want) {
		t.Errorf("the other nodes were told %q, want %q", o.counts, want)
	}
}
