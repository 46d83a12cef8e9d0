package rooms

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// A fakeAuthorizer is an Authorizer that answers at once, or when the test calls
// answer. It runs on the test's goroutine.
type fakeAuthorizer struct {
	slow    bool
	denied  map[string]error // "user room"
	asked   []string
	answers []func()
}

func (d *fakeAuthorizer) Authorize(who Identity, room string, done func(error)) {
	d.asked = append(d.asked, fmt.Sprint(who.UserID, " ", room, " ", who.Rooms))
	answer := func() { done(d.denied[who.UserID+" "+room]) }
	if d.slow {
		d.answers = append(d.answers, answer)
	} else {
		answer()
	}
}

func (d *fakeAuthorizer) answer(w *world) {
	answers := d.answers
	d.answers = nil
	for _, f := range answers {
		f()
	}
	w.settle()
}

func guarded(t *testing.T, shards int) (*world, *fakeAuthorizer) {
	d := &fakeAuthorizer{denied: make(map[string]error)}
	return newWorld(t, shards, func(c *Config) { c.Authorizer = d }), d
}

const joinedFirst = `{"success":true,"message":"Joined room: conversation:1","members":1}`

func TestJoinIsRefusedWithoutPermission(t *testing.T) {
	w, d := guarded(t, 2)
	ann, bob := w.connect("ann"), w.connect("bob")
	d.denied["bob conversation:1"] = ErrNotAllowed
	if got := ann.ask("join_room", conversation("1")); got != joinedFirst {
		t.Errorf("join by ann: got %s, want %s", got, joinedFirst)
	}
	if got := bob.ask("join_room", conversation("1")); got != `{"error":"Not allowed"}` {
		t.Errorf("join by bob, who is not allowed: got %s, want %s", got, `{"error":"Not allowed"}`)
	}
	if got := bob.ask("typing", conversation("1")); got != `{"error":"Not in room"}` {
		t.Errorf("typing by bob, who is not in the room: got %s, want %s", got, `{"error":"Not in room"}`)
	}
	ann.wantNothing()
	if s := w.hub.Stats(); s.JoinsDenied != 1 {
		t.Errorf("%d joins denied, want 1", s.JoinsDenied)
	}
	if got := ann.ask("join_room", conversation("1")); got != joinedFirst || len(d.asked) != 2 {
		t.Errorf("second join by ann: got %s; the authorizer was asked %q, want 2 questions", got, d.asked)
	}
}

func TestJoinIsAnsweredWhenTheAuthorizerHasAnswered(t *testing.T) {
	w, d := guarded(t, 1)
	d.slow = true
	ann, bob := w.connect("ann"), w.connect("bob")
	d.denied["bob conversation:1"] = errors.New("Authorization unavailable")
	ann.text(`21["join_room",` + conversation("1") + `]`)
	bob.text(`21["join_room",` + conversation("1") + `]`)
	w.wantNothing(ann, bob)
	d.answer(w)
	if got := ann.next(); got != `431[`+joinedFirst+`]` {
		t.Errorf("ann got %s, want an ack that she has joined", got)
	}
	if got := bob.next(); got != `431[{"error":"Authorization unavailable"}]` {
		t.Errorf("bob got %s, want the authorizer's error", got)
	}
}

func TestAuthorizationIsIgnoredAfterTheClientHasLeft(t *testing.T) {
	for _, way := range []string{"hangs up", "reconnects"} {
		w, d := guarded(t, 1)
		d.slow = true
		ann := w.connect("ann")
		ann.text(`21["join_room",` + conversation("1") + `]`)
		if way == "hangs up" {
			ann.hangUp()
		} else {
			ann.text("1")
			ann.connect("ann")
		}
		d.answer(w)
		ann.wantNothing()
		if names, _ := w.hub.Names(10); slices.Contains(names, "conversation:1") {
			t.Errorf("client %s before the answer: conversation:1 has a member, want none", way)
		}
	}
}

func TestRoomLimitHoldsForDelayedAuthorizations(t *testing.T) {
	w, d := guarded(t, 1)
	w.hub.limits().Rooms = 3 // the room of her user counts
	d.slow = true
	ann := w.connect("ann")
	for i := range 4 {
		ann.emit("join_room", conversation(fmt.Sprint(i)))
	}
	d.answer(w)
	if got := ann.socket.rooms.len(); got != 3 {
		t.Errorf("the socket is in %d rooms, want 3, the limit", got)
	}
}

func TestExpelNotifiesTheExpelledAndTheOtherMembers(t *testing.T) {
	onShards(t, func(t *testing.T, w *world) {
		ann, bob, bob2, eve := w.connect("ann"), w.connect("bob"), w.connect("bob"), w.connect("eve")
		for _, c := range []*client{ann, bob, bob2, eve} {
			c.emit("join_room", conversation("1"))
			c.emit("join_room", conversation("2"))
		}
		users, err := usersOf(w, "conversation:1")
		if want := []string{"ann", "bob", "eve"}; err != nil || !slices.Equal(users, want) {
			t.Errorf("users %q %v, want %q", users, err, want)
		}
		for _, c := range w.clients {
			c.inbox = nil
		}
		w.hub.Expel("conversation:1", []string{"bob", "nobody"}, "no longer a member")
		w.settle()
		for _, c := range []*client{bob, bob2} {
			told := `42["room_revoked",{"room":"conversation:1","reason":"no longer a member"}]`
			if !slices.Contains(c.inbox, told) {
				t.Errorf("%s got %q, want room_revoked", c.name, c.inbox)
			}
			c.inbox = nil
			if got := c.ask("typing", conversation("1")); got != `{"error":"Not in room"}` {
				t.Errorf("typing by %s after it was expelled: got %s, want an error", c.name, got)
			}
			c.ask("typing", conversation("2"))
		}
		for _, c := range []*client{ann, eve} {
			left := 0
			for _, packet := range c.inbox {
				if strings.HasPrefix(packet, `42["user_left",`) && strings.Contains(packet, `"userId":"bob","room":"conversation:1"`) {
					left++
				}
			}
			if left != 2 {
				t.Errorf("%s got %d user_left events of bob, want 2: %q", c.name, left, c.inbox)
			}
		}
		if s := w.hub.Stats(); s.Expelled != 2 {
			t.Errorf("%d expelled, want 2", s.Expelled)
		}
	})
}

// usersOf calls Hub.Users on another goroutine, and drains the shards meanwhile,
// as the event loops would.
func usersOf(w *world, room string) (users []string, err error) {
	done := make(chan struct{})
	go func() { defer close(done); users, err = w.hub.Users(w.t.Context(), room) }()
	for {
		select {
		case <-done:
			slices.Sort(users)
			return users, err
		default:
			w.settle()
		}
	}
}

func TestRefreshedTokenThatNamesOtherRoomsIsCheckedForEachRoom(t *testing.T) {
	w, d := guarded(t, 1)
	ann, bob := w.connect("ann/conversation:1,conversation:2"), w.connect("bob")
	for _, c := range []*client{ann, bob} {
		c.emit("join_room", conversation("1"))
		c.emit("join_room", conversation("2"))
		c.inbox = nil
	}
	ann.inbox, d.asked = nil, nil
	d.denied["ann conversation:1"] = ErrNotAllowed
	d.denied["ann conversation:2"] = errors.New("Authorization unavailable") // an unavailable policy does not revoke
	if got := ann.ask("refresh_token", tokenArg("ann/conversation:2")); got != `{"success":true}` {
		t.Fatalf("got %s, want %s", got, `{"success":true}`)
	}
	if want := []string{"ann conversation:1 [conversation:2]", "ann conversation:2 [conversation:2]"}; !slices.Equal(d.asked, want) {
		t.Errorf("asked %q, want %q", d.asked, want)
	}
	ann.want("room_revoked", `{"room":"conversation:1","reason":"Not allowed"}`)
	bob.wantAbout("user_left", ann, "conversation:1")
	ann.ask("typing", conversation("2"))
	bob.wantAbout("user_typing", ann, "conversation:2")

	d.asked = nil
	bob.ask("refresh_token", tokenArg("bob")) // neither the old token nor the new one names rooms
	if len(d.asked) != 0 {
		t.Errorf("asked %q for a token without rooms", d.asked)
	}
}
