package rooms

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/codec"
)

// A fakeOutside is an Outside that records its calls.
type fakeOutside struct {
	rooms, published []string
	slow             bool // Await calls ready when the test calls confirm
	ready            []func()
}

func (o *fakeOutside) Occupied(room string) { o.rooms = append(o.rooms, "+"+room) }
func (o *fakeOutside) Vacated(room string)  { o.rooms = append(o.rooms, "-"+room) }
func (o *fakeOutside) Await(_ string, ready func()) bool {
	if o.slow {
		o.ready = append(o.ready, ready)
	}
	return !o.slow
}

func (o *fakeOutside) Publish(room, except string, m *codec.Message) {
	name, _, _ := strings.Cut(string(m.Text()), ",")
	o.published = append(o.published, room+" "+except+" "+name)
}

func newSharedWorld(t *testing.T) (*world, *fakeOutside) {
	outside := &fakeOutside{}
	return newWorld(t, 2, func(c *Config) { c.SocketRooms, c.Outside = true, outside }), outside
}

func hello() *codec.Message { return codec.NewText([]byte(`42["hello"]`)) }

func TestEmitReachesEachSelectedSocketOnce(t *testing.T) {
	w, _ := newSharedWorld(t)
	a, b, c, nobody := w.connect("a"), w.connect("b"), w.connect("c"), w.connect("d")
	for _, member := range []*client{a, b} {
		member.ask("join_room", conversation("1"))
	}
	b.ask("join_room", conversation("2"))
	c.ask("join_room", conversation("2"))
	all := []*client{a, b, c, nobody}
	for _, k := range []struct {
		name     string
		sel      Selection
		received []*client
	}{
		{"one room", Selection{Rooms: []string{"conversation:1"}}, []*client{a, b}},
		{"two rooms with a common member", Selection{Rooms: []string{"conversation:1", "conversation:2"}}, []*client{a, b, c}},
		{"everybody", Selection{All: true}, all},
		{"no socket", Selection{}, nil},
		{"everybody but a room", Selection{All: true, Except: []string{"conversation:1", "conversation:9"}}, []*client{c, nobody}},
		{"a socket by its id", Selection{Rooms: []string{a.id}}, []*client{a}},
		{"a room but one socket", Selection{Rooms: []string{"conversation:1"}, Except: []string{a.id}}, []*client{b}},
		{"a user", Selection{Rooms: []string{"user:c"}}, []*client{c}},
		{"an empty room", Selection{Rooms: []string{"conversation:9"}}, nil},
	} {
		t.Run(k.name, func(t *testing.T) {
			for _, x := range all {
				x.inbox = nil
			}
			w.hub.Emit(&k.sel, hello())
			w.settle()
			for _, x := range all {
				want := []string(nil)
				if slices.Contains(k.received, x) {
					want = []string{`42["hello"]`}
				}
				if !slices.Equal(x.inbox, want) {
					t.Errorf("%s got %q, want %q", x.name, x.inbox, want)
				}
			}
		})
	}
}

func TestServicesJoinLeaveAndDisconnectSockets(t *testing.T) {
	w, outside := newSharedWorld(t)
	a, b := w.connect("a"), w.connect("b")
	b.ask("join_room", conversation("7"))
	outside.rooms = nil
	w.hub.JoinAll(&Selection{Rooms: []string{"user:a"}}, []string{"conversation:7", "vip", "vip"})
	w.settle()
	if want := []string{"+vip"}; !slices.Equal(outside.rooms, want) {
		t.Errorf("the other servers were told %q, want %q: the node had a member in the conversation before", outside.rooms, want)
	}
	w.wantNothing(a, b)
	if got := a.ask("typing", conversation("7")); got != `{"success":true}` {
		t.Errorf("typing by a socket that a service has put into the room: got %s, want success", got)
	}
	b.wantAbout("user_typing", a, "conversation:7")
	var infos []SocketInfo
	w.hub.Sockets(&Selection{Rooms: []string{"vip"}}, func(found []SocketInfo) { infos = found })
	w.settle()
	want := []SocketInfo{{a.id, "a", []string{a.id, "user:a", "conversation:7", "vip"}}}
	if !reflect.DeepEqual(infos, want) {
		t.Errorf("sockets %v, want %v", infos, want)
	}
	w.hub.LeaveAll(&Selection{Rooms: []string{"vip"}}, []string{"conversation:7", "vip", "user:a", a.id, ""})
	w.settle()
	b.wantAbout("user_left", a, "conversation:7")
	w.hub.Emit(&Selection{Rooms: []string{a.id}}, hello())
	w.hub.Emit(&Selection{Rooms: []string{"user:a"}}, hello())
	w.hub.Emit(&Selection{Rooms: []string{"vip"}}, hello())
	w.settle()
	if want := []string{`42["hello"]`, `42["hello"]`}; !slices.Equal(a.inbox, want) {
		t.Errorf("a got %q, want the emits to its id and to its user, and not the one to vip", a.inbox)
	}
	a.inbox = nil
	w.hub.DisconnectAll(&Selection{Rooms: []string{a.id}}, false)
	w.hub.DisconnectAll(&Selection{Rooms: []string{"user:b"}}, true)
	w.settle()
	if !slices.Equal(a.inbox, []string{"41"}) {
		t.Errorf("a got %q, want a DISCONNECT", a.inbox)
	}
	a.wantOpen()
	b.wantClosed(ReasonOrdered)
	w.wantEmpty()
}

func TestAskReturnsOneAnswerOfEachClient(t *testing.T) {
	w, _ := newSharedWorld(t)
	a, b, c := w.connect("a"), w.connect("b"), w.connect("c")
	counted, answers := []int(nil), []string(nil)
	forget := w.hub.Ask(&Selection{All: true, Except: []string{c.id}},
		func(id int64) *codec.Message { return codec.NewText(fmt.Appendf(nil, `42%d["really?"]`, id)) },
		func(n int) { counted = append(counted, n) },
		func(args []byte, _ [][]byte) { answers = append(answers, string(args)) })
	w.settle()
	if !slices.Equal(counted, []int{2}) {
		t.Fatalf("counted %v, want 2 once", counted)
	}
	question := a.next()
	if b.next() != question {
		t.Fatal("a and b got different questions")
	}
	id := strings.TrimSuffix(strings.TrimPrefix(question, "42"), `["really?"]`)
	c.text("3" + id + `["not asked"]`)
	a.text("3" + id + `["yes"]`)
	a.text("3" + id + `["again"]`)
	forget()
	w.settle()
	b.text("3" + id + `["late"]`)
	if !slices.Equal(answers, []string{`["yes"]`}) {
		t.Errorf("answers %q, want only the first one of a", answers)
	}
	w.wantNothing(a, b, c)
	none := -1
	w.hub.Ask(&Selection{Rooms: []string{"nowhere"}}, func(int64) *codec.Message { return hello() },
		func(n int) { none = n }, nil)
	if none != 0 {
		t.Errorf("counted %d in an empty room, want 0", none)
	}
}

func TestOutsideGetsRoomsAndEventsOfClients(t *testing.T) {
	w, outside := newSharedWorld(t)
	a := w.connect("a")
	a.ask("join_room", conversation("1"))
	a.ask("typing", conversation("1"))
	a.ask("leave_room", conversation("1"))
	a.hangUp()
	wantPublished := []string{
		"conversation:1 " + a.id + ` 42["user_joined"`,
		"conversation:1 " + a.id + ` 42["user_typing"`,
		"conversation:1 " + a.id + ` 42["user_left"`,
	}
	if !slices.Equal(outside.published, wantPublished) {
		t.Errorf("published %q, want %q", outside.published, wantPublished)
	}
	wantRooms := []string{"+" + a.id, "+user:a", "+conversation:1", "-conversation:1", "-user:a", "-" + a.id}
	if !slices.Equal(outside.rooms, wantRooms) {
		t.Errorf("rooms %q, want %q", outside.rooms, wantRooms)
	}
	w.wantEmpty()
}

// confirm calls the pending ready functions of Await.
func (o *fakeOutside) confirm(w *world) {
	for _, ready := range o.ready {
		ready()
	}
	o.ready = nil
	w.settle()
}

func TestJoinIsAcknowledgedWhenTheOutsideReachesTheRoom(t *testing.T) {
	w, outside := newSharedWorld(t)
	ann, bob := w.connect("ann"), w.connect("bob")
	outside.slow = true
	ann.text(`21["join_room",` + conversation("1") + `]`)
	bob.text(`21["join_room",` + conversation("1") + `]`)
	ann.wantAbout("user_joined", bob, "conversation:1") // a join is announced at once
	w.wantNothing(ann, bob)
	bob.hangUp()
	ann.wantAbout("user_left", bob, "conversation:1")
	outside.confirm(w)
	if got, want := ann.next(), `431[{"success":true,"message":"Joined room: conversation:1","members":1}]`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	w.wantNothing(ann, bob)
}

// With an Outside, the event connected is sent when the room of the socket's id
// reaches this node. Everything that the client is sent before must be sent
// after connected, in order; beyond maxHeld bytes connected is sent without
// waiting.
func TestConnectedIsTheFirstEvent(t *testing.T) {
	greeting := func(c *client) string {
		return fmt.Sprintf(`42["connected",{"socketId":%q,"userId":"ann","message":"Connected to the WebSocket gateway"}]`, c.socket.ID())
	}
	for name, does := range map[string]struct {
		what func(w *world, ann *client)
		want []string // after connected
	}{
		"broadcasts to the user": {func(w *world, ann *client) {
			w.hub.Emit(&Selection{Rooms: []string{"user:ann"}}, hello())
			w.hub.Emit(&Selection{Rooms: []string{ann.socket.ID()}}, hello())
			w.settle()
		}, []string{`42["hello"]`, `42["hello"]`}},
		"an answer":   {func(w *world, ann *client) { ann.text(`27["typing",` + conversation("1") + `]`) }, []string{`437[{"error":"Not in room"}]`}},
		"the warning": {func(w *world, ann *client) { w.at(startTime.Add(50 * time.Second)) }, []string{`42["token_expiring_soon",{"expiresIn":10}]`}},
		"more than may be held": {func(w *world, ann *client) {
			for range 2 {
				w.hub.Emit(&Selection{Rooms: []string{"user:ann"}}, codec.NewText(make([]byte, maxHeld)))
			}
			w.settle()
			ann.inbox = ann.inbox[:1] // connected was sent without waiting
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w, outside := newSharedWorld(t)
			outside.slow = true
			ann := w.open("ann")
			ann.text(`0{"token":"ann+1m"}`)
			ann.next() // CONNECT's answer
			ann.wantNothing()
			want := append([]string{greeting(ann)}, does.want...)
			does.what(w, ann)
			outside.confirm(w)
			if !slices.Equal(ann.inbox, want) {
				t.Errorf("got %q, want %q", ann.inbox, want)
			}
		})
	}
}

func TestOrderBeforeConnectedIsSentAfterIt(t *testing.T) {
	w, outside := newSharedWorld(t)
	outside.slow = true
	ann := w.open("ann")
	ann.text(`0{"token":"ann"}`)
	ann.inbox = nil
	if err := w.hub.Obey(Order{User: "ann", Reason: "gone"}); err != nil {
		t.Fatal(err)
	}
	w.settle()
	outside.confirm(w)
	if len(ann.inbox) != 3 || !strings.HasPrefix(ann.inbox[0], `42["connected"`) || ann.inbox[2] != "41" {
		t.Errorf("got %q, want connected, session_ended and DISCONNECT", ann.inbox)
	}
	w.wantEmpty()
}

// A service puts a socket into the room of another user and into rooms that
// clients cannot join. After a return the socket must still belong to its own
// user, and be in these rooms; the authorizer is asked only about rooms that
// clients can join.
func TestSocketThatWasMovedRecoversAsItsUser(t *testing.T) {
	asked := []string(nil)
	w, past := newHistoryWorld(t, 2, func(c *Config) {
		c.SocketRooms, c.Outside = true, &fakeOutside{}
		c.Authorizer = authorizerFunc(func(_ Identity, room string, done func(error)) {
			asked = append(asked, room)
			done(nil)
		})
	})
	ann := w.recoveringClient("ann")
	w.hub.JoinAll(&Selection{Rooms: []string{"user:ann"}}, []string{"user:bob", "vip", "conversation:1"})
	w.settle()
	past.publish(w, "user:ann")
	ann.read()
	ann.hangUp()
	past.publish(w, "user:bob")
	ann.reconnect(w)
	if !ann.recovered || ann.socket.UserID() != "ann" {
		t.Errorf("recovered %v, as the user %q", ann.recovered, ann.socket.UserID())
	}
	if want := []string{"e1", "e2"}; !slices.Equal(ann.got, want) {
		t.Errorf("got %q, want %q", ann.got, want)
	}
	if want := []string{"conversation:1"}; !slices.Equal(asked, want) {
		t.Errorf("the authorizer was asked about %q, want %q", asked, want)
	}
	if err := w.hub.Obey(Order{User: "bob", Reason: "gone"}); err != nil {
		t.Fatal(err)
	}
	w.settle()
	ann.wantOpen()
	w.hub.LeaveAll(&Selection{Rooms: []string{"user:ann"}}, []string{"user:bob", "user:ann", "vip", "conversation:1"})
	w.settle()
	if n := w.hub.Members("user:bob"); n != 0 {
		t.Errorf("%d members of user:bob after ann has left it, want none", n)
	}
	if n := w.hub.Members("user:ann"); n != 1 {
		t.Errorf("%d members of user:ann, want 1: a socket does not leave the room of its user", n)
	}
}

// An occupancyLog is a Presence that keeps the last count of each room.
type occupancyLog map[string]int

func (o occupancyLog) Counted(room string, members int) { o[room] = members }

// A service puts a second socket into the room named by a socket's id. Presence
// must count both, and none after they have closed.
func TestPresenceCountsOthersInTheRoomOfASocket(t *testing.T) {
	counts := occupancyLog{}
	w := newWorld(t, 2, func(c *Config) { c.SocketRooms, c.Outside, c.Presence = true, &fakeOutside{}, counts })
	a, b := w.connect("a"), w.connect("b")
	w.hub.JoinAll(&Selection{Rooms: []string{"user:b"}}, []string{a.id})
	w.settle()
	if counts[a.id] != 2 {
		t.Errorf("%d members of the room of a, want 2", counts[a.id])
	}
	b.hangUp()
	a.hangUp()
	if counts[a.id] != 0 {
		t.Errorf("%d members of the room of a after the close, want none", counts[a.id])
	}
	w.wantEmpty()
}
