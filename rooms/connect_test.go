package rooms

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestNewChecksItsConfig(t *testing.T) {
	good := Config{Shards: 1, MaxPacket: 1, MaxMailbox: 1}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Config){
		"negative shards": func(c *Config) { c.Shards = -1 },
		"no shards":       func(c *Config) { c.Shards = 0 },
		"too many shards": func(c *Config) { c.Shards = MaxShards + 1 },
		"no packet":       func(c *Config) { c.MaxPacket = 0 },
		"no mailbox":      func(c *Config) { c.MaxMailbox = 0 },
	} {
		c := good
		spoil(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestConnectAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		handshake string // token of the handshake
		packet    string
		user      string
		refused   string // text of CONNECT_ERROR
	}{
		"token":                        {"", `0{"token":"ann"}`, "ann", ""},
		"token among others":           {"", `0{"a":[1,{"token":"eve"}],"token":"ann","z":null}`, "ann", ""},
		"escaped token":                {"", `0{"token":"\u0061nn"}`, "ann", ""},
		"token with quotes":            {"", `0{"token":"a\"n\\n"}`, `a"n\n`, ""},
		"root named":                   {"", `0/,{"token":"ann"}`, "ann", ""},
		"handshake token":              {"ann", `0`, "ann", ""},
		"handshake token, empty auth":  {"ann", `0{}`, "ann", ""},
		"handshake token, null token":  {"ann", `0{"token":null}`, "ann", ""},
		"handshake token, empty token": {"ann", `0{"token":""}`, "ann", ""},
		"auth wins over handshake":     {"eve", `0{"token":"ann"}`, "ann", ""},
		"no auth":                      {"", `0`, "", "No token provided"},
		"empty auth":                   {"", `0{}`, "", "No token provided"},
		"null token":                   {"", `0{"token":null}`, "", "No token provided"},
		"empty token":                  {"", `0{"token":""}`, "", "No token provided"},
		"other members":                {"", `0{"Token":"ann","jwt":"ann"}`, "", "No token provided"},
		"number":                       {"", `0{"token":5}`, "", "jwt must be a string"},
		"boolean":                      {"", `0{"token":false}`, "", "jwt must be a string"},
		"object":                       {"", `0{"token":{"token":"ann"}}`, "", "jwt must be a string"},
		"array":                        {"ann", `0{"token":["ann"]}`, "", "jwt must be a string"},
		"expired":                      {"", `0{"token":"!jwt expired"}`, "", "jwt expired"},
		"reason is quoted":             {"", `0{"token":"!say \"no\""}`, "", `say \"no\"`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			ann := w.openWith("ann", c.handshake)
			ann.text(c.packet)
			if c.refused != "" {
				if got, want := ann.next(), `44{"message":"Authentication error: `+c.refused+`"}`; got != want {
					t.Errorf("answer %s, want %s", got, want)
				}
				ann.wantNothing()
				ann.wantOpen()
				w.wantEmpty()
				return
			}
			ann.wantConnected()
			ann.wantNothing()
			if got := ann.socket.UserID(); got != c.user {
				t.Errorf("user %q, want %q", got, c.user)
			}
			if names, _ := w.hub.Names(9); len(names) != 1 || names[0] != "user:"+c.user {
				t.Errorf("rooms %q, want user:%s", names, c.user)
			}
		})
	}
}

func TestConnectSucceedsAfterARefusal(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.open("ann")
	ann.text(`0{"token":"!jwt expired"}`)
	ann.next()
	ann.connect("ann")
	if s := w.hub.Stats(); s.Connects != 1 || s.ConnectErrors != 1 {
		t.Errorf("%d connects and %d errors counted, want one of each", s.Connects, s.ConnectErrors)
	}
}

func TestHandshakeTokenSurvivesARefusal(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.openWith("ann", "ann")
	ann.text(`0{"token":"!jwt expired"}`)
	ann.next()
	ann.text(`0`)
	ann.wantConnected()
}

func TestConnectIsRefusedWithoutAuthenticator(t *testing.T) {
	w := newWorld(t, 1, func(c *Config) { c.Auth = nil })
	ann := w.open("ann")
	ann.text(`0{"token":"ann"}`)
	if got, want := ann.next(), `44{"message":"Authentication error: invalid signature"}`; got != want {
		t.Errorf("answer %s, want %s", got, want)
	}
}

func TestAnonymousSocketHasNoUser(t *testing.T) {
	w := newWorld(t, 2, func(c *Config) { c.AllowAnonymous = true })
	anonymous := w.open("nobody")
	anonymous.text(`0`)
	anonymous.wantConnected()
	anonymous.wantNothing() // no greeting
	if _, total := w.hub.Names(9); total != 0 {
		t.Errorf("%d rooms, want none: an anonymous socket has no user room", total)
	}
	bob := w.connect("bob")
	bob.ask("join_room", conversation("1"))
	anonymous.ask("join_room", conversation("1"))
	bob.want("user_joined", `{"socketId":"`+anonymous.id+`","userId":null,"room":"conversation:1","timestamp":"`+startText+`"}`)

	eve := w.open("eve")
	eve.text(`0{"token":"!jwt malformed"}`)
	if got := eve.next(); !strings.HasPrefix(got, "44") {
		t.Errorf("a bad token was answered with %s, want a refusal", got)
	}
}

func TestOtherNamespacesAreRefused(t *testing.T) {
	for _, packet := range []string{"0/admin,", "0/admin", `0/admin,{"token":"ann"}`} {
		w := newWorld(t, 1)
		ann := w.open("ann")
		ann.text(packet)
		if got, want := ann.next(), `44/admin,{"message":"Invalid namespace"}`; got != want {
			t.Errorf("%s: answer %s, want %s", packet, got, want)
		}
		ann.connect("ann") // the session can still connect to "/"
		ann.text(packet)
		if got, want := ann.next(), `44/admin,{"message":"Invalid namespace"}`; got != want {
			t.Errorf("%s while connected: answer %s, want %s", packet, got, want)
		}
		ann.wantOpen()
	}
}

func TestUnexpectedPacketsCloseTheSession(t *testing.T) {
	for name, c := range map[string]struct {
		connected bool
		packet    string
		reason    Reason
	}{
		"second CONNECT":                 {true, `0{"token":"ann"}`, ReasonParseError},
		"event before CONNECT":           {false, `2["typing",` + conversation("1") + `]`, ReasonParseError},
		"ack before CONNECT":             {false, `31[]`, ReasonParseError},
		"DISCONNECT before CONNECT":      {false, `1`, ReasonParseError},
		"event of another namespace":     {true, `2/admin,["typing"]`, ReasonParseError},
		"nothing":                        {true, ``, ReasonParseError},
		"unknown type":                   {true, `7`, ReasonParseError},
		"CONNECT_ERROR":                  {true, `4{}`, ReasonParseError},
		"CONNECT with a string":          {false, `0"ann"`, ReasonParseError},
		"CONNECT with an array":          {false, `0["ann"]`, ReasonParseError},
		"CONNECT with broken JSON":       {false, `0{"token":`, ReasonParseError},
		"event without data":             {true, `2`, ReasonParseError},
		"event with an object":           {true, `2{}`, ReasonParseError},
		"event without a name":           {true, `2[]`, ReasonParseError},
		"event named by a number":        {true, `2[5]`, ReasonParseError},
		"event with a reserved name":     {true, `2["disconnect"]`, ReasonParseError},
		"event with garbage behind":      {true, `2["typing"]x`, ReasonParseError},
		"ack id over all numbers":        {true, `299999999999999999999["typing"]`, ReasonParseError},
		"DISCONNECT with data":           {true, `1{}`, ReasonParseError},
		"attachments without their dash": {true, `52["x"]`, ReasonParseError},
		"too many attachments":           {true, `511-["x"]`, ReasonTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			bob := w.connect("bob")
			ann := w.open("ann")
			if c.connected {
				ann.connect("ann")
			}
			ann.text(c.packet)
			ann.wantClosed(c.reason)
			ann.wantNothing()
			ann.text(`0{"token":"ann"}`) // ignored after the close
			ann.wantNothing()
			bob.wantOpen()
			bob.hangUp()
			w.wantEmpty()
		})
	}
}

func TestDisconnectLeavesTheNamespaceOnly(t *testing.T) {
	w := newWorld(t, 2)
	ann, bob := w.connect("ann"), w.connect("bob")
	ann.ask("join_room", conversation("1"))
	bob.ask("join_room", conversation("1"))
	ann.wantAbout("user_joined", bob, "conversation:1")

	wakes := ann.wakes
	ann.text("1")
	if ann.wakes == wakes {
		t.Error("the session was not woken for the new deadline of CONNECT")
	}
	bob.wantAbout("user_left", ann, "conversation:1")
	ann.wantNothing()
	ann.wantOpen()
	if ann.socket.ID() != "" || ann.socket.UserID() != "" {
		t.Errorf("after DISCONNECT the socket has id %q and user %q, want none", ann.socket.ID(), ann.socket.UserID())
	}
	before := ann.id
	ann.connect("ann")
	if ann.id == before {
		t.Error("the second socket has the id of the first")
	}
}

func TestConnectTimeout(t *testing.T) {
	w := newWorld(t, 1)
	ann, bob, eve := w.open("ann"), w.connect("bob"), w.open("eve")
	eve.text(`0{"token":"!no"}`)
	w.at(startTime.Add(45*time.Second - time.Millisecond))
	ann.wantOpen()
	w.at(startTime.Add(45 * time.Second))
	ann.wantClosed(ReasonConnectTimeout)
	eve.wantClosed(ReasonConnectTimeout)
	bob.wantOpen()

	bob.text("1") // bob has 45 s from here to CONNECT again
	w.at(w.now.Add(44 * time.Second))
	bob.wantOpen()
	w.at(w.now.Add(time.Second))
	bob.wantClosed(ReasonConnectTimeout)
	w.wantEmpty()
}

func TestNoConnectTimeout(t *testing.T) {
	w := newWorld(t, 1, func(c *Config) { c.ConnectTimeout = 0 })
	ann := w.open("ann")
	w.at(startTime.Add(1000 * time.Hour))
	ann.wantOpen()
	if d := ann.socket.Deadline(); !d.IsZero() {
		t.Errorf("deadline %v, want none", d)
	}
}

func TestUserRoomHoldsAllSocketsOfAUser(t *testing.T) {
	w := newWorld(t, 4)
	phone, desk, bob := w.connect("ann"), w.connect("ann"), w.connect("bob")
	w.deliver("user:ann", "booking_update")
	phone.want("booking_update", "{}")
	desk.want("booking_update", "{}")
	phone.hangUp()
	desk.wantNothing() // joins and leaves of user rooms are not announced
	w.deliver("user:ann", "booking_update")
	desk.want("booking_update", "{}")
	w.wantNothing(phone, bob)
	if phone.id == desk.id {
		t.Errorf("two sockets have the id %s", desk.id)
	}
}

func TestReasonsHaveNames(t *testing.T) {
	seen := make(map[string]bool)
	for _, r := range Reasons() {
		if name := r.String(); name == "" || seen[name] {
			t.Errorf("reason %d has the name %q, want a unique one", uint8(r), name)
		} else {
			seen[name] = true
		}
	}
	if got := reasonCount.String(); got != "reason "+strconv.Itoa(len(Reasons())) {
		t.Errorf("an unknown reason has the name %q, want its number", got)
	}
}
