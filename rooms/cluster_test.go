package rooms

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/codec"
)

// others is a cluster that remembers what it is told. It runs on the
// goroutine of its world.
type others struct {
	slow    bool // Occupied does not know at once
	there   map[string]bool
	told    []string
	counts  []string
	known   map[string][]func()
	printed []string // what was published
	members int      // of any room
}

func newOthers() *others {
	return &others{there: make(map[string]bool), known: make(map[string][]func())}
}

func (o *others) Occupied(room string) bool {
	o.told = append(o.told, "+"+room)
	return !o.slow
}

func (o *others) Await(room string, known func()) {
	o.printed = append(o.printed, "await "+room)
	o.known[room] = append(o.known[room], known)
}

func (o *others) Counted(room string, n int) { o.counts = append(o.counts, fmt.Sprint(room, " ", n)) }
func (o *others) Members(string) int         { return o.members }
func (o *others) Vacated(room string)        { o.told = append(o.told, "-"+room) }
func (o *others) Elsewhere(room string) bool { return o.there[room] }
func (o *others) Publish(b Broadcast) {
	o.printed = append(o.printed, b.Room+" "+string(b.Message.AppendPayload(nil)))
}

// answer has the other nodes know of a room.
func (o *others) answer(w *world, room string) {
	all := o.known[room]
	delete(o.known, room)
	for _, known := range all {
		known()
	}
	w.settle()
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
	want := []string{"+conversation:1", "+conversation:1", "-conversation:1"} // once a shard, once the node
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

func TestJoinIsAcknowledgedWhenKnown(t *testing.T) {
	w, o := newClusterWorld(t, 1)
	ann, bob := w.connect("ann"), w.connect("bob")
	o.slow = true
	ann.text(`21["join_room",` + conversation("1") + `]`)
	ann.wantNothing()
	bob.text(`21["join_room",` + conversation("1") + `]`) // the same wait
	ann.wantAbout("user_joined", bob, "conversation:1")   // who comes is announced at once
	ann.text(`22["join_room",` + conversation("1") + `]`) // and again
	ann.wantNothing()
	bob.wantNothing()
	o.answer(w, "conversation:1")
	const success = `[{"success":true,"message":"Joined room: conversation:1","members":2}]`
	for _, want := range []string{"431" + success, "432" + success} {
		if got := ann.next(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := bob.next(); got != "431"+success {
		t.Errorf("got %s", got)
	}
	eve := w.open("eve")
	o.slow = false
	eve.connect("eve")
	eve.ask("join_room", conversation("1")) // known by now
	w.wantNothing(eve)
}

// TestJoinIsAnnouncedBeforeItIsAwaited: so that the ack comes behind.
func TestJoinIsAnnouncedBeforeItIsAwaited(t *testing.T) {
	w, o := newClusterWorld(t, 1)
	ann := w.connect("ann")
	o.slow = true
	o.there["conversation:1"] = true
	ann.text(`21["join_room",` + conversation("1") + `]`)
	if len(o.printed) != 2 || !strings.Contains(o.printed[0], "user_joined") || o.printed[1] != "await conversation:1" {
		t.Errorf("published %q", o.printed)
	}
}

func TestGreetingWaitsUntilKnown(t *testing.T) {
	w, o := newClusterWorld(t, 1)
	o.slow = true
	ann := w.open("ann")
	ann.text(`0{"token":"ann+1m"}`)
	ann.next() // CONNECT's answer
	ann.wantNothing()
	o.answer(w, "user:ann")
	ann.wantGreeted()
	ann.wantNothing()
}

// wantGreeted takes the greeting, CONNECT's answer having been taken.
func (c *client) wantGreeted() {
	c.w.t.Helper()
	c.id = c.socket.ID()
	c.want("connected", fmt.Sprintf(`{"socketId":%q,"userId":%q,"message":"Connected to the WebSocket gateway"}`, c.id, userOf(c.name)))
}

// ungreeted makes a client that has connected while the other nodes do not know
// of its user.
func (w *world) ungreeted(o *others, token string) *client {
	o.slow = true
	c := w.open(token)
	c.text(`0{"token":"` + token + `"}`)
	if got := c.next(); !strings.HasPrefix(got, "40{") {
		w.t.Fatalf("got %s, want the answer to CONNECT", got)
	}
	return c
}

// Whatever a client is sent before it is greeted comes behind the greeting, in
// order.
func TestConnectedIsTheFirstEvent(t *testing.T) {
	for name, send := range map[string]struct {
		does func(w *world, ann *client)
		want []string // what comes behind connected
	}{
		"broadcasts to the user": {func(w *world, ann *client) {
			w.deliver("user:ann", "one")
			w.deliver("user:ann", "two")
		}, []string{`42["one",{}]`, `42["two",{}]`}},
		"an event to several rooms": {func(w *world, ann *client) {
			w.hub.Receive(Broadcast{Room: "user:ann", Message: news("one"), Event: 1})
			w.settle()
		}, []string{`42["one",{}]`}},
		"an answer": {func(w *world, ann *client) {
			ann.text(`27["typing",` + conversation("1") + `]`)
			w.deliver("user:ann", "one")
		}, []string{`437[{"error":"Not in room"}]`, `42["one",{}]`}},
		"the warning": {func(w *world, ann *client) { w.at(dawn.Add(50 * time.Second)) },
			[]string{`42["token_expiring_soon",{"expiresIn":10}]`}},
	} {
		w, o := newClusterWorld(t, 1)
		ann := w.ungreeted(o, "ann+1m")
		send.does(w, ann)
		ann.wantNothing()
		o.answer(w, "user:ann")
		ann.wantGreeted()
		if !slices.Equal(ann.inbox, send.want) {
			t.Errorf("%s: after connected came %q, want %q", name, ann.inbox, send.want)
		}
		ann.inbox = nil
		w.deliver("user:ann", "later")
		ann.want("later", "{}")
		if n := ann.socket.Holds(); n != 0 {
			t.Errorf("%s: %d bytes are held of a client that was greeted", name, n)
		}
	}
}

func TestASessionThatEndsBeforeTheGreetingIsGreetedAllTheSame(t *testing.T) {
	for reason, end := range map[string]func(w *world){
		"blocked":       func(w *world) { w.obey(Order{User: "ann", Reason: "blocked"}) },
		"token_expired": func(w *world) { w.at(dawn.Add(time.Minute)); w.at(dawn.Add(time.Minute)) },
	} {
		w, o := newClusterWorld(t, 1)
		ann := w.ungreeted(o, "ann+1m")
		id := ann.socket.ID()
		end(w)
		if got := ann.next(); !strings.HasPrefix(got, `42["connected",{"socketId":"`+id) {
			t.Errorf("%s: the first event is %s, want connected", reason, got)
		}
		if strings.Contains(ann.inbox[0], "token_expiring_soon") {
			ann.inbox = ann.inbox[1:]
		}
		ann.wantEnded(reason)
		o.answer(w, "user:ann")
		ann.wantNothing()
	}
}

func TestWhatIsHeldForAClientIsBounded(t *testing.T) {
	w, o := newClusterWorld(t, 1)
	ann := w.ungreeted(o, "ann")
	large := codec.NewText([]byte(`42["x","` + strings.Repeat("x", 100_000) + `"]`))
	for range 2 {
		w.hub.Receive(Broadcast{Room: "user:ann", Message: large})
	}
	w.settle()
	ann.wantNothing()
	if n := ann.socket.Holds(); n < 200_000 || n > maxHeld {
		t.Errorf("%d bytes are said to be held, want those of two messages", n)
	}
	w.hub.Receive(Broadcast{Room: "user:ann", Message: large})
	w.settle()
	ann.wantGreeted() // rather than closed
	if len(ann.inbox) != 3 {
		t.Errorf("%d messages came, want 3", len(ann.inbox))
	}
	ann.inbox = nil
	o.answer(w, "user:ann")
	ann.wantNothing() // one greeting is enough
}

func TestAClientThatLeavesBeforeTheGreeting(t *testing.T) {
	w, o := newClusterWorld(t, 1)
	ann := w.ungreeted(o, "ann")
	w.deliver("user:ann", "one")
	ann.text("1")
	ann.wantNothing()
	ann.text(`0{"token":"ann"}`)
	ann.next()
	ann.wantNothing()
	o.answer(w, "user:ann")
	ann.wantGreeted()
	ann.wantNothing()
	ann.hangUp()
	w.wantEmpty()
}

func TestLeavingBeforeKnown(t *testing.T) {
	w, o := newClusterWorld(t, 1)
	ann := w.connect("ann")
	o.slow = true
	ann.text(`21["join_room",` + conversation("1") + `]`)
	ann.text(`22["leave_room",` + conversation("1") + `]`)
	for _, want := range []string{
		`431[{"success":true,"message":"Joined room: conversation:1","members":1}]`,
		`432[{"success":true,"message":"Left room: conversation:1"}]`,
	} {
		if got := ann.next(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	ann.text(`23["join_room",` + conversation("1") + `]`) // another stay
	ann.wantNothing()
	o.answer(w, "conversation:1")
	if got, want := ann.next(), `433[{"success":true,"message":"Joined room: conversation:1","members":1}]`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	ann.wantNothing()
}

func TestGoneBeforeKnown(t *testing.T) {
	for name, end := range map[string]func(*client){
		"hung up":      (*client).hangUp,
		"disconnected": func(c *client) { c.text("1") },
		"reconnected":  func(c *client) { c.text("1"); c.text(`0{"token":"ann"}`); c.inbox = nil },
	} {
		t.Run(name, func(t *testing.T) {
			w, o := newClusterWorld(t, 1)
			ann := w.connect("ann")
			bob := w.connect("bob")
			bob.ask("join_room", conversation("2"))
			o.slow = true
			ann.text(`21["join_room",` + conversation("1") + `]`)
			bob.emit("join_room", conversation("1"))
			ann.next() // of bob
			end(ann)
			ann.inbox = nil
			o.answer(w, "conversation:1")
			ann.wantNothing()
			bob.hangUp()
			if name == "hung up" {
				w.wantEmpty()
			}
			if n := len(w.hub.Shard(0).waiting); n > 1 {
				t.Errorf("%d rooms are waited for", n)
			}
		})
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
