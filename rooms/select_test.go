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

// outsideLog is an Outside that remembers what it was told.
type outsideLog struct {
	rooms, published []string
	slow             bool // what is sent to a room does not reach this node yet
	ready            []func()
}

func (o *outsideLog) Occupied(room string) { o.rooms = append(o.rooms, "+"+room) }
func (o *outsideLog) Vacated(room string)  { o.rooms = append(o.rooms, "-"+room) }
func (o *outsideLog) Await(_ string, ready func()) bool {
	if o.slow {
		o.ready = append(o.ready, ready)
	}
	return !o.slow
}

func (o *outsideLog) Publish(room, except string, m *codec.Message) {
	name, _, _ := strings.Cut(string(m.Text()), ",")
	o.published = append(o.published, room+" "+except+" "+name)
}

func newSharedWorld(t *testing.T) (*world, *outsideLog) {
	outside := &outsideLog{}
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
		{"nobody", Selection{}, nil},
		{"everybody but a room", Selection{All: true, Except: []string{"conversation:1", "conversation:9"}}, []*client{c, nobody}},
		{"a socket by its id", Selection{Rooms: []string{a.id}}, []*client{a}},
		{"a room but one socket", Selection{Rooms: []string{"conversation:1"}, Except: []string{a.id}}, []*client{b}},
		{"a user", Selection{Rooms: []string{"user:c"}}, []*client{c}},
		{"a room nobody is in", Selection{Rooms: []string{"conversation:9"}}, nil},
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

func TestServicesMoveSockets(t *testing.T) {
	w, outside := newSharedWorld(t)
	a, b := w.connect("a"), w.connect("b")
	b.ask("join_room", conversation("7"))
	outside.rooms = nil
	w.hub.JoinAll(&Selection{Rooms: []string{"user:a"}}, []string{"conversation:7", "vip", "vip"})
	w.settle()
	if want := []string{"+vip"}; !slices.Equal(outside.rooms, want) {
		t.Errorf("told outside %q, want %q: the conversation is held already", outside.rooms, want)
	}
	w.wantNothing(a, b)
	if got := a.ask("typing", conversation("7")); got != `{"success":true}` {
		t.Errorf("typing of who was moved: %s", got)
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
		t.Errorf("a got %q: it stays in the rooms of its id and of its user, and has left the other", a.inbox)
	}
	a.inbox = nil
	w.hub.DisconnectAll(&Selection{Rooms: []string{a.id}}, false)
	w.hub.DisconnectAll(&Selection{Rooms: []string{"user:b"}}, true)
	w.settle()
	if !slices.Equal(a.inbox, []string{"41"}) {
		t.Errorf("a got %q", a.inbox)
	}
	a.wantOpen()
	b.wantClosed(ReasonOrdered)
	w.wantEmpty()
}

func TestEveryClientIsAskedAndItsAnswerPassedOn(t *testing.T) {
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
		t.Fatal("a and b were asked different things")
	}
	id := strings.TrimSuffix(strings.TrimPrefix(question, "42"), `["really?"]`)
	c.text("3" + id + `["not asked"]`)
	a.text("3" + id + `["yes"]`)
	a.text("3" + id + `["again"]`)
	forget()
	w.settle()
	b.text("3" + id + `["late"]`)
	if !slices.Equal(answers, []string{`["yes"]`}) {
		t.Errorf("answers %q, want the first of a alone", answers)
	}
	w.wantNothing(a, b, c)
	none := -1
	w.hub.Ask(&Selection{Rooms: []string{"nowhere"}}, func(int64) *codec.Message { return hello() },
		func(n int) { none = n }, nil)
	if none != 0 {
		t.Errorf("counted %d in a room nobody is in", none)
	}
}

func TestOutsideIsToldWhatClientsSay(t *testing.T) {
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
		t.Errorf("published %q", outside.published)
	}
	wantRooms := []string{"+" + a.id, "+user:a", "+conversation:1", "-conversation:1", "-user:a", "-" + a.id}
	if !slices.Equal(outside.rooms, wantRooms) {
		t.Errorf("rooms %q, want %q", outside.rooms, wantRooms)
	}
	w.wantEmpty()
}

// arrive lets those go who wait.
func (o *outsideLog) arrive(w *world) {
	for _, ready := range o.ready {
		ready()
	}
	o.ready = nil
	w.settle()
}

func TestAJoinIsAcknowledgedWhenTheOutsideReachesIt(t *testing.T) {
	w, outside := newSharedWorld(t)
	ann, bob := w.connect("ann"), w.connect("bob")
	outside.slow = true
	ann.text(`21["join_room",` + conversation("1") + `]`)
	bob.text(`21["join_room",` + conversation("1") + `]`)
	ann.wantAbout("user_joined", bob, "conversation:1") // who comes is announced at once
	w.wantNothing(ann, bob)
	bob.hangUp()
	ann.wantAbout("user_left", bob, "conversation:1")
	outside.arrive(w)
	if got, want := ann.next(), `431[{"success":true,"message":"Joined room: conversation:1","members":1}]`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	w.wantNothing(ann, bob)
}

// Whatever a client is sent before it is greeted comes behind the greeting, in
// order.
func TestConnectedIsTheFirstEvent(t *testing.T) {
	greeting := func(c *client) string {
		return fmt.Sprintf(`42["connected",{"socketId":%q,"userId":"ann","message":"Connected to the WebSocket gateway"}]`, c.socket.ID())
	}
	for name, does := range map[string]struct {
		what func(w *world, ann *client)
		want []string // behind connected
	}{
		"broadcasts to the user": {func(w *world, ann *client) {
			w.hub.Emit(&Selection{Rooms: []string{"user:ann"}}, hello())
			w.hub.Emit(&Selection{Rooms: []string{ann.socket.ID()}}, hello())
			w.settle()
		}, []string{`42["hello"]`, `42["hello"]`}},
		"an answer":   {func(w *world, ann *client) { ann.text(`27["typing",` + conversation("1") + `]`) }, []string{`437[{"error":"Not in room"}]`}},
		"the warning": {func(w *world, ann *client) { w.at(dawn.Add(50 * time.Second)) }, []string{`42["token_expiring_soon",{"expiresIn":10}]`}},
		"more than may be held": {func(w *world, ann *client) {
			for range 2 {
				w.hub.Emit(&Selection{Rooms: []string{"user:ann"}}, codec.NewText(make([]byte, maxHeld)))
			}
			w.settle()
			ann.inbox = ann.inbox[:1] // the greeting did not wait longer
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
			outside.arrive(w)
			if !slices.Equal(ann.inbox, want) {
				t.Errorf("got %q, want %q", ann.inbox, want)
			}
		})
	}
}

func TestAnOrderIsTheLastWordOfASocketThatWasNotGreeted(t *testing.T) {
	w, outside := newSharedWorld(t)
	outside.slow = true
	ann := w.open("ann")
	ann.text(`0{"token":"ann"}`)
	ann.inbox = nil
	if err := w.hub.Obey(Order{User: "ann", Reason: "gone"}); err != nil {
		t.Fatal(err)
	}
	w.settle()
	outside.arrive(w)
	if len(ann.inbox) != 3 || !strings.HasPrefix(ann.inbox[0], `42["connected"`) || ann.inbox[2] != "41" {
		t.Errorf("got %q, want the greeting, why it ends, and the end", ann.inbox)
	}
	w.wantEmpty()
}

// A service may put a socket into the room of another user and into rooms that
// clients cannot join. When its client comes back it is still who it was.
func TestWhoWasMovedComesBackAsItsUser(t *testing.T) {
	asked := []string(nil)
	w, past := newPast(t, 2, func(c *Config) {
		c.SocketRooms, c.Outside = true, &outsideLog{}
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
	ann.comeOn(w)
	if !ann.recovered || ann.socket.UserID() != "ann" {
		t.Errorf("recovered %v, as the user %q", ann.recovered, ann.socket.UserID())
	}
	if want := []string{"e1", "e2"}; !slices.Equal(ann.got, want) {
		t.Errorf("got %q, want %q", ann.got, want)
	}
	if want := []string{"conversation:1"}; !slices.Equal(asked, want) {
		t.Errorf("the policy was asked about %q, want %q", asked, want)
	}
	if err := w.hub.Obey(Order{User: "bob", Reason: "gone"}); err != nil {
		t.Fatal(err)
	}
	w.settle()
	ann.wantOpen()
	w.hub.LeaveAll(&Selection{Rooms: []string{"user:ann"}}, []string{"user:bob", "user:ann", "vip", "conversation:1"})
	w.settle()
	if n := w.hub.Members("user:bob"); n != 0 {
		t.Errorf("%d members of user:bob, which ann was taken out of", n)
	}
	if n := w.hub.Members("user:ann"); n != 1 {
		t.Errorf("%d members of user:ann, want ann, who stays", n)
	}
}

// occupancyLog is a Presence that keeps the last count of each room.
type occupancyLog map[string]int

func (o occupancyLog) Counted(room string, members int) { o[room] = members }

// A room that is named by a socket's id is nobody else's business, until a
// service puts others into it.
func TestOthersInTheRoomOfASocket(t *testing.T) {
	counts := occupancyLog{}
	w := newWorld(t, 2, func(c *Config) { c.SocketRooms, c.Outside, c.Presence = true, &outsideLog{}, counts })
	a, b := w.connect("a"), w.connect("b")
	w.hub.JoinAll(&Selection{Rooms: []string{"user:b"}}, []string{a.id})
	w.settle()
	if counts[a.id] != 2 {
		t.Errorf("counted %d in the room of a, want 2", counts[a.id])
	}
	b.hangUp()
	a.hangUp()
	if counts[a.id] != 0 {
		t.Errorf("counted %d in a room that nobody is in", counts[a.id])
	}
	w.wantEmpty()
}
