package rooms

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// onShards runs a test with 1, 2 and 8 shards.
func onShards(t *testing.T, test func(t *testing.T, w *world)) {
	for _, shards := range []int{1, 2, 8} {
		t.Run(fmt.Sprintf("%d shards", shards), func(t *testing.T) { test(t, newWorld(t, shards)) })
	}
}

func TestJoinTypeLeave(t *testing.T) {
	for _, kind := range []string{"conversation", "notification"} {
		onShards(t, func(t *testing.T, w *world) {
			ann, bob, eve, far := w.connect("ann"), w.connect("bob"), w.connect("eve"), w.connect("far")
			arg := `{"roomType":"` + kind + `","roomId":"42"}`
			name := kind + ":42"
			for i, c := range []*client{ann, bob, eve} {
				joined := fmt.Sprintf(`{"success":true,"message":"Joined room: %s","members":%d}`, name, i+1)
				if got := c.ask("join_room", arg); got != joined {
					t.Errorf("join acknowledged with %s, want %s", got, joined)
				}
				c.wantNothing() // a client gets no user_joined of itself
				for _, other := range []*client{ann, bob, eve}[:i] {
					other.wantAbout("user_joined", c, name)
				}
			}
			for event, announcement := range map[string]string{"typing": "user_typing", "stop_typing": "user_stop_typing"} {
				if got := bob.ask(event, arg); got != `{"success":true}` {
					t.Errorf("%s acknowledged with %s, want %s", event, got, `{"success":true}`)
				}
				ann.wantAbout(announcement, bob, name)
				eve.wantAbout(announcement, bob, name)
				bob.emit(event, arg) // without ack
				ann.wantAbout(announcement, bob, name)
				eve.wantAbout(announcement, bob, name)
				if !ann.last.Volatile || !eve.last.Volatile {
					t.Errorf("%s is not volatile", announcement)
				}
				w.wantNothing(bob, far)
			}
			left := `{"success":true,"message":"Left room: ` + name + `"}`
			if got := ann.ask("leave_room", arg); got != left {
				t.Errorf("leave acknowledged with %s, want %s", got, left)
			}
			bob.wantAbout("user_left", ann, name)
			eve.wantAbout("user_left", ann, name)
			if bob.last.Volatile {
				t.Error("user_left is volatile")
			}
			bob.emit("leave_room", arg)
			eve.wantAbout("user_left", bob, name)
			eve.emit("leave_room", arg)
			w.wantNothing(ann, bob, eve, far)
			if _, total := w.hub.Names(9); total != 4 {
				t.Errorf("%d rooms are left, want the four user rooms", total)
			}
		})
	}
}

func TestJoinWithoutAck(t *testing.T) {
	onShards(t, func(t *testing.T, w *world) {
		ann, bob := w.connect("ann"), w.connect("bob")
		ann.emit("join_room", conversation("1"))
		bob.emit("join_room", conversation("1"))
		ann.wantAbout("user_joined", bob, "conversation:1")
		w.wantNothing(ann, bob)
	})
}

func TestJoiningTwiceIsAnnouncedOnce(t *testing.T) {
	onShards(t, func(t *testing.T, w *world) {
		ann, bob := w.connect("ann"), w.connect("bob")
		ann.ask("join_room", conversation("1"))
		first := bob.ask("join_room", conversation("1"))
		ann.wantAbout("user_joined", bob, "conversation:1")
		if second := bob.ask("join_room", conversation("1")); second != first {
			t.Errorf("second join acknowledged with %s, want %s", second, first)
		}
		ann.wantNothing()
		bob.ask("leave_room", conversation("1")) // one leave is enough
		ann.wantAbout("user_left", bob, "conversation:1")
		if got := bob.ask("leave_room", conversation("1")); got != `{"success":true,"message":"Left room: conversation:1"}` {
			t.Errorf("leaving again acknowledged with %s, want %s", got, `{"success":true,"message":"Left room: conversation:1"}`)
		}
		if got := bob.ask("leave_room", conversation("empty")); !strings.Contains(got, "true") {
			t.Errorf("leaving a room that is not there acknowledged with %s", got)
		}
		ann.wantNothing()
	})
}

func TestTypingOutsideTheRoom(t *testing.T) {
	onShards(t, func(t *testing.T, w *world) {
		ann, bob := w.connect("ann"), w.connect("bob")
		ann.ask("join_room", conversation("1"))
		for _, event := range []string{"typing", "stop_typing"} {
			for _, id := range []string{"1", "2"} {
				if got := bob.ask(event, conversation(id)); got != `{"error":"Not in room"}` {
					t.Errorf("%s acknowledged with %s, want %s", event, got, `{"error":"Not in room"}`)
				}
			}
			bob.emit(event, conversation("1"))
		}
		w.wantNothing(ann, bob)
	})
}

// Clients must not join the room of a user by its type, because the user's
// events are sent to it.
func TestUserRoomsCannotBeNamed(t *testing.T) {
	w := newWorld(t, 1)
	w.connect("ann")
	eve := w.connect("eve")
	for _, event := range []string{"join_room", "leave_room", "typing", "stop_typing"} {
		if got := eve.ask(event, `{"roomType":"user","roomId":"ann"}`); got != `{"error":"Invalid roomType"}` {
			t.Errorf("%s of a user room acknowledged with %s, want %s", event, got, `{"error":"Invalid roomType"}`)
		}
	}
}

func TestWrongData(t *testing.T) {
	const missing, invalid = "Missing roomType or roomId", "Invalid roomType"
	long := strings.Repeat("x", DefaultRoomID)
	for arg, want := range map[string]string{
		"":                             missing,
		"null":                         missing,
		"true":                         missing,
		"5":                            missing,
		`"conversation"`:               missing,
		"[]":                           missing,
		`["conversation"]`:             missing,
		"[" + conversation("1") + "]":  missing,
		"{}":                           missing,
		`{"roomType":"conversation"}`:  missing,
		`{"roomId":"1"}`:               missing,
		`{"roomType":"","roomId":"1"}`: missing,
		`{"roomType":"conversation","roomId":""}`:                                           missing,
		`{"roomType":"conversation","roomId":null}`:                                         missing,
		`{"roomType":"conversation","roomId":true}`:                                         missing,
		`{"roomType":"conversation","roomId":0}`:                                            missing,
		`{"roomType":"conversation","roomId":-0.0}`:                                         missing,
		`{"roomType":"conversation","roomId":1e999}`:                                        missing,
		`{"roomType":"conversation","roomId":{}}`:                                           missing,
		`{"roomType":"conversation","roomId":["1"]}`:                                        missing,
		`{"roomType":null,"roomId":"1"}`:                                                    missing,
		`{"roomType":1,"roomId":"1"}`:                                                       missing,
		`{"roomType":["conversation"],"roomId":"1"}`:                                        missing,
		`{"roomtype":"conversation","roomid":"1"}`:                                          missing,
		`{"data":` + conversation("1") + `}`:                                                missing,
		`{"roomType":"Conversation","roomId":"1"}`:                                          invalid,
		`{"roomType":"conversations","roomId":"1"}`:                                         invalid,
		`{"roomType":"user","roomId":"1"}`:                                                  invalid,
		`{"roomType":"__proto__","roomId":"1"}`:                                             invalid,
		`{"roomType":"conversation","roomId":"` + strings.Repeat("x", 1500) + `"}`:          "Invalid roomId",
		`{"roomType":"conversation","roomId":"` + long + `x"}`:                              "Invalid roomId",
		`{"roomType":"conversation","roomId":` + strings.Repeat("1", DefaultRoomID+1) + `}`: "Invalid roomId",
	} {
		w := newWorld(t, 1)
		ann := w.connect("ann")
		for _, event := range []string{"join_room", "leave_room", "typing", "stop_typing"} {
			var args []string
			if arg != "" {
				args = []string{arg}
			}
			if got := ann.ask(event, args...); got != `{"error":"`+want+`"}` {
				t.Errorf("%s(%s) acknowledged with %s, want %s", event, arg, got, want)
			}
			ann.emit(event, args...)
			ann.wantNothing() // no ack was requested
			ann.wantOpen()
		}
		if s := w.hub.Stats(); s.EventsRefused != 8 || s.EventsIn != 8 || s.Members != 1 {
			t.Errorf("%s: %d of %d events refused, %d memberships; want 8 of 8 and 1", arg, s.EventsRefused, s.EventsIn, s.Members)
		}
	}
}

func TestRoomIDs(t *testing.T) {
	long := strings.Repeat("x", DefaultRoomID)
	for id, name := range map[string]string{
		`"42"`:                 "42",
		`42`:                   "42",
		`9007199254740993`:     "9007199254740993", // JavaScript cannot represent it
		`"0"`:                  "0",
		`42.0`:                 "42",
		`4.2e1`:                "42",
		`-7`:                   "-7",
		`-7.0e0`:               "-7",
		`1e21`:                 "1e+21",
		`1.50`:                 "1.5",
		`"\u0041\u005c"`:       `A\\`,
		`"a:b"`:                "a:b",
		`" "`:                  " ",
		`"say \"hi\""`:         `say \"hi\"`,
		`"日本"`:                 "日本",
		`"` + long + `"`:       long,
		`"x","extra":[{},1.5]`: "x",
		`"first","roomId":"x"`: "x", // the last one wins, as in JavaScript
	} {
		w := newWorld(t, 2)
		ann, bob := w.connect("ann"), w.connect("bob")
		arg := `{"roomType":"conversation","roomId":` + id + `}`
		want := `{"success":true,"message":"Joined room: conversation:` + name + `","members":1}`
		if got := ann.ask("join_room", arg, `"an extra argument"`, "null"); got != want {
			t.Errorf("joining %s: %s, want %s", id, got, want)
		}
		bob.ask("join_room", arg)
		if got := ann.next(); !strings.Contains(got, `"room":"conversation:`+name+`"`) {
			t.Errorf("joining %s was announced with %s", id, got)
		}
	}
}

func TestNumberAndTextNameTheSameRoom(t *testing.T) {
	w := newWorld(t, 2)
	ann, bob := w.connect("ann"), w.connect("bob")
	ann.ask("join_room", `{"roomType":"conversation","roomId":42}`)
	bob.ask("join_room", `{"roomType":"conversation","roomId":"42"}`)
	ann.wantAbout("user_joined", bob, "conversation:42")
}

func TestUnknownEvent(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.connect("ann")
	if got := ann.ask("launch_rocket", `{"at":"once"}`); got != `{"error":"Unknown event"}` {
		t.Errorf("acknowledged with %s, want %s", got, `{"error":"Unknown event"}`)
	}
	ann.emit("launch_rocket")
	ann.emit("") // the empty string is a valid name
	ann.wantNothing()
	ann.wantOpen()
	if s := w.hub.Stats(); s.EventsUnknown != 3 {
		t.Errorf("%d unknown events counted, want 3", s.EventsUnknown)
	}
}

func TestAcksFromClientsAreIgnored(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.connect("ann")
	ann.text(`31["thank you"]`)
	ann.text(`3[]`)
	ann.wantNothing()
	ann.wantOpen()
}

func TestLargestAckID(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.connect("ann")
	ann.text(`29007199254740991["typing",` + conversation("1") + `]`)
	if got, want := ann.next(), `439007199254740991[{"error":"Not in room"}]`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	ann.text(`20["typing",` + conversation("1") + `]`)
	if got, want := ann.next(), `430[{"error":"Not in room"}]`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestAckComesBeforeTheAnnouncement(t *testing.T) {
	onShards(t, func(t *testing.T, w *world) {
		ann, bob := w.connect("ann"), w.connect("bob")
		ann.ask("join_room", conversation("1"))
		for _, pair := range [][2]string{{"join_room", "user_joined"}, {"typing", "user_typing"}, {"leave_room", "user_left"}} {
			event, announcement := pair[0], pair[1]
			w.log = nil
			bob.ask(event, conversation("1"))
			ack := slices.IndexFunc(w.log, func(l string) bool { return strings.HasPrefix(l, "bob 43") })
			announcedAt := slices.IndexFunc(w.log, func(l string) bool { return strings.HasPrefix(l, `ann 42["`+announcement) })
			if ack < 0 || announcedAt < 0 || ack > announcedAt {
				t.Errorf("%s: order %q, want the ack first", event, w.log)
			}
		}
	})
}

func TestClosingLeavesEveryRoom(t *testing.T) {
	onShards(t, func(t *testing.T, w *world) {
		ann, bob, twin := w.connect("ann"), w.connect("bob"), w.connect("ann")
		alert := `{"roomType":"notification","roomId":"7"}`
		for _, c := range []*client{bob, ann} {
			c.ask("join_room", conversation("1"))
			c.ask("join_room", alert)
		}
		bob.wantAbout("user_joined", ann, "conversation:1")
		bob.wantAbout("user_joined", ann, "notification:7")
		ann.ask("join_room", conversation("alone"))

		ann.hangUp()
		left := []string{bob.next(), bob.next()}
		slices.Sort(left) // in either order
		for i, name := range []string{"conversation:1", "notification:7"} {
			want := fmt.Sprintf(`42["user_left",{"socketId":%q,"userId":"ann","room":%q,"timestamp":%q}]`, ann.id, name, startText)
			if left[i] != want {
				t.Errorf("got %s, want %s", left[i], want)
			}
		}
		w.wantNothing(ann, bob, twin) // leaving the room of a user is not announced
		bob.hangUp()
		twin.hangUp()
		twin.hangUp() // a second close must have no effect
		w.wantEmpty()
	})
}

func TestTimestampIsTheTimeOfTheEvent(t *testing.T) {
	w := newWorld(t, 2)
	ann, bob := w.connect("ann"), w.connect("bob")
	ann.ask("join_room", conversation("1"))
	w.at(startTime.Add(987654321))
	bob.ask("join_room", conversation("1"))
	if got, want := ann.next(), `"timestamp":"2026-01-02T03:04:06.665Z"`; !strings.Contains(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
}
