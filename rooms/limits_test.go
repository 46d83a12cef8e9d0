package rooms

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// limited returns a world with limits.
func limited(t *testing.T, shards int, change func(*Limits)) *world {
	return newWorld(t, shards, func(c *Config) { change(&c.Limits) })
}

func TestTooManyEventsAreRefusedThenEndTheSession(t *testing.T) {
	w := limited(t, 1, func(l *Limits) { l.Events = Rate{PerSecond: 10, Burst: 20} })
	ann, bob := w.connect("ann"), w.connect("bob")
	ann.ask("join_room", conversation("1"))
	for range 18 { // CONNECT and the join count as two
		if got := ann.ask("typing", conversation("1")); got != `{"success":true}` {
			t.Fatalf("within the limit: %s, want %s", got, `{"success":true}`)
		}
	}
	for range 20 {
		if got := ann.ask("typing", conversation("1")); got != `{"error":"Too many events"}` {
			t.Fatalf("beyond the limit: %s, want %s", got, `{"error":"Too many events"}`)
		}
		ann.wantOpen()
	}
	ann.emit("typing", conversation("1"))
	ann.wantClosed(ReasonTooFast)
	bob.ask("join_room", conversation("1")) // other clients are not affected
	if s := w.hub.Stats(); s.EventsTooFast != 21 {
		t.Errorf("%d events counted as too many, want 21", s.EventsTooFast)
	}
}

func TestConnectAttemptsOfASessionAreLimited(t *testing.T) {
	w := limited(t, 1, func(l *Limits) { l.Events = Rate{PerSecond: 100, Burst: 1000} })
	thief := w.open("thief")
	for range connectsPerBurst {
		thief.text(`0{"token":"!invalid signature"}`)
		if got := thief.next(); got != `44{"message":"Authentication error: invalid signature"}` {
			t.Fatalf("got %s, want %s", got, `44{"message":"Authentication error: invalid signature"}`)
		}
		thief.wantOpen()
	}
	thief.text(`0{"token":"ann"}`)
	thief.wantNothing()
	thief.wantClosed(ReasonTooFast)
}

func TestEventsWithinTheRateAreNeverRefused(t *testing.T) {
	w := limited(t, 1, func(l *Limits) { l.Events = Rate{PerSecond: 10, Burst: 20} })
	ann := w.connect("ann")
	ann.ask("join_room", conversation("1"))
	for range 1000 {
		w.at(w.now.Add(100 * time.Millisecond))
		if got := ann.ask("typing", conversation("1")); got != `{"success":true}` {
			t.Fatalf("got %s, want %s", got, `{"success":true}`)
		}
	}
}

func TestInvalidRatesAreRejected(t *testing.T) {
	for _, rate := range []Rate{{PerSecond: 1}, {PerSecond: 1, Burst: 3601}, {PerSecond: -1, Burst: 1}} {
		if _, err := New(Config{Shards: 1, MaxMailbox: 1, MaxPacket: 1, Limits: Limits{Events: rate}}); err == nil {
			t.Errorf("%+v is accepted, want an error", rate)
		}
	}
}

func TestSocketsOfOneUserAreLimited(t *testing.T) {
	w := limited(t, 2, func(l *Limits) { l.PerUser = 3 })
	var all []*client
	for range 3 {
		all = append(all, w.connect("ann"))
	}
	fourth := w.open("ann")
	fourth.text(`0{"token":"ann"}`)
	if got := fourth.next(); got != `44{"message":"Too many connections of this user"}` {
		t.Errorf("the fourth got %s, want %s", got, `44{"message":"Too many connections of this user"}`)
	}
	w.connect("bob")
	all[1].hangUp()
	fourth.connect("ann") // one socket has closed, and the session may try again
}

func TestRoomIDsAreLimitedToAnAlphabet(t *testing.T) {
	letters, err := ParseAlphabet("a-z0-9_-")
	if err != nil {
		t.Fatal(err)
	}
	w := limited(t, 1, func(l *Limits) { l.RoomIDs, l.RoomID = letters, 8 })
	ann := w.connect("ann")
	for id, fine := range map[string]bool{
		"a": true, "z9_-": true, "12345678": true, "123456789": false,
		"A": false, "a b": false, "a:b": false, "é": false, "日本": false, `\n`: false, `\u007f`: false,
	} {
		got := ann.ask("join_room", conversation(id))
		if joined := strings.HasPrefix(got, `{"success":true`); joined != fine {
			t.Errorf("joining %q: %s", id, got)
		}
		if !fine && got != `{"error":"Invalid roomId"}` {
			t.Errorf("joining %q: %s", id, got)
		}
	}
}

func TestRoomIDsWithControlCharactersAreRefused(t *testing.T) {
	ann := newWorld(t, 1).connect("ann")
	for _, id := range []string{`\n`, `a\u0000b`, `\u001b[2J`, `\u007f`} {
		if got := ann.ask("join_room", conversation(id)); got != `{"error":"Invalid roomId"}` {
			t.Errorf("joining %q: %s, want %s", id, got, `{"error":"Invalid roomId"}`)
		}
	}
}

func TestAlphabets(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "abc": "abc", "c-a": "!", "a-c": "abc", "a-": "a-", "-a": "a-", "0-3x-z": "0123xyz", "a b": "!", "é": "!", "\x7f": "!",
	} {
		a, err := ParseAlphabet(text)
		if want == "!" {
			if err == nil {
				t.Errorf("%q is accepted as %q, want an error", text, a)
			}
			continue
		}
		if err != nil || a.String() != want {
			t.Errorf("%q is %q (%v), want %q", text, a, err, want)
		}
		if again, err := ParseAlphabet(a.String()); err != nil || again != a {
			t.Errorf("%q: String and ParseAlphabet do not return the same alphabet", text)
		}
	}
}

func TestJoinsAndLeavesAreNotAnnouncedInLargeRooms(t *testing.T) {
	onShards(t, func(t *testing.T, w *world) {
		w.hub.limits().Presence = 5
		var crowd []*client
		for i := range 8 {
			c := w.connect(fmt.Sprint("user", i))
			want := fmt.Sprintf(`{"success":true,"message":"Joined room: conversation:1","members":%d}`, i+1)
			if got := c.ask("join_room", conversation("1")); got != want {
				t.Errorf("%s, want %s", got, want)
			}
			for _, other := range crowd {
				if i < 5 {
					other.wantAbout("user_joined", c, "conversation:1")
				}
			}
			w.wantNothing(crowd...)
			crowd = append(crowd, c)
		}
		crowd[0].ask("typing", conversation("1")) // other events are sent in rooms of any size
		for _, c := range crowd[1:] {
			c.wantAbout("user_typing", crowd[0], "conversation:1")
		}
		for i := 7; i > 0; i-- {
			crowd[i].ask("leave_room", conversation("1"))
			for _, other := range crowd[:i] {
				if i < 5 { // below the limit leaves are announced again
					other.wantAbout("user_left", crowd[i], "conversation:1")
				}
			}
			w.wantNothing(crowd[:i]...)
		}
		if s := w.hub.Stats(); s.CrowdsMuted != 6 {
			t.Errorf("%d joins and leaves counted as not announced, want 6", s.CrowdsMuted)
		}
	})
}

// The rate Limits.Telling bounds the messages that clients cause in large
// rooms: otherwise a few hundred sockets, each within its own limit, would take
// all time of the loop. Beyond the rate an event is acknowledged and not sent
// to the room. Small rooms are not affected.
func TestEventsOfClientsInLargeRoomsAreLimited(t *testing.T) {
	w := newWorld(t, 1, func(c *Config) { c.Limits.Telling = Rate{PerSecond: 20, Burst: 60} })
	ann, ben := w.connect("ann"), w.connect("ben")
	ann.ask("join_room", conversation("few"))
	ben.ask("join_room", conversation("few"))
	ann.wantAbout("user_joined", ben, "conversation:few")
	var many []*client
	for i := range 12 {
		c := w.connect(fmt.Sprint("user", i))
		c.ask("join_room", conversation("many"))
		many = append(many, c)
	}
	// The 11th and the 12th have used 23 of 60.
	type step struct {
		event     string
		announced bool
		after     time.Duration
	}
	for i, s := range []step{
		{"typing", true, 0}, {"stop_typing", true, 0}, {"leave_room", true, 0}, {"join_room", false, 0}, {"typing", false, 0},
		{"typing", false, 300 * time.Millisecond}, {"typing", true, 300 * time.Millisecond}, {"leave_room", false, 0},
	} {
		for _, c := range many {
			c.inbox = nil
		}
		w.now = w.now.Add(s.after)
		last := many[len(many)-1]
		if got := last.ask(s.event, conversation("many")); !strings.HasPrefix(got, `{"success":true`) {
			t.Errorf("%d: %s was answered with %s, want success", i, s.event, got)
		}
		if announced := len(many[0].inbox) > 0; announced != s.announced {
			t.Errorf("%d: the room got %s: %v, want %v", i, s.event, announced, s.announced)
		}
		ann.ask("typing", conversation("few")) // the small room is not affected
		ben.wantAbout("user_typing", ann, "conversation:few")
	}
	if s := w.hub.Stats(); s.CrowdsMuted != 2 || s.TypingsMuted != 2 {
		t.Errorf("%d joins and leaves and %d typings counted as not sent, want 2 and 2", s.CrowdsMuted, s.TypingsMuted)
	}
}

// refresh_token costs as much of the event rate as CONNECT, because both verify
// a token.
func TestRefreshingATokenCostsWhatConnectCosts(t *testing.T) {
	rate := Rate{PerSecond: 100, Burst: 1000}
	w := limited(t, 1, func(l *Limits) { l.Events = rate })
	ann := w.connect("ann")
	w.at(startTime.Add(time.Hour))
	for i := range connectsPerBurst {
		if got := ann.ask("refresh_token", tokenArg("!jwt expired")); got != `{"error":"jwt expired"}` {
			t.Fatalf("refresh %d: %s, want %s", i, got, `{"error":"jwt expired"}`)
		}
	}
	for range connectsPerBurst {
		if got := ann.ask("refresh_token", tokenArg("ann")); got != `{"error":"Too many events"}` {
			t.Fatalf("beyond the limit: %s, want %s", got, `{"error":"Too many events"}`)
		}
		ann.wantOpen()
	}
}

// An authenticator that is busy (ErrBusy) must close the session: clients
// reconnect by themselves after that, and not after CONNECT_ERROR. For
// refresh_token the ack has an error, and the session stays.
func TestBusyAuthenticatorClosesTheSession(t *testing.T) {
	w, late := newLateWorld(t)
	ann := w.open("ann")
	ann.text(`0{"token":"ann"}`)
	late.answer(Identity{}, fmt.Errorf("here: %w", ErrBusy))
	w.settle()
	ann.wantNothing()
	ann.wantClosed(ReasonBusy)

	bob := w.open("bob")
	bob.text(`0{"token":"bob"}`)
	late.answer(Identity{UserID: "bob"}, nil)
	w.settle()
	bob.wantConnected()
	bob.text(`21["refresh_token",` + tokenArg("bob") + `]`)
	late.answer(Identity{}, ErrBusy)
	w.settle()
	if got := bob.next(); got != `431[{"error":"authentication is busy, try again"}]` {
		t.Errorf("got %s, want the error that authentication is busy", got)
	}
	bob.wantOpen()
}
