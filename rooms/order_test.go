package rooms

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"
)

// wantEnded reads the packets of a client that was disconnected: session_ended and
// DISCONNECT.
func (c *client) wantEnded(reason string) {
	c.w.t.Helper()
	c.want("session_ended", `{"reason":"`+reason+`"}`)
	if got := c.next(); got != "41" {
		c.w.t.Fatalf("%s got %q, want a DISCONNECT", c.name, got)
	}
}

// obey executes an order and drains the shards.
func (w *world) obey(o Order) {
	w.t.Helper()
	if err := w.hub.Obey(o); err != nil {
		w.t.Fatal(err)
	}
	w.settle()
}

func TestOrderDisconnectsAUser(t *testing.T) {
	onShards(t, func(t *testing.T, w *world) {
		ann, ann2, bob := w.connect("ann"), w.connect("ann"), w.connect("bob")
		for _, c := range w.clients {
			c.ask("join_room", conversation("1"))
		}
		for _, c := range w.clients {
			c.inbox = nil
		}
		w.obey(Order{User: "ann", Reason: "blocked"})
		for _, c := range []*client{ann, ann2} {
			c.inbox = slices.DeleteFunc(c.inbox, func(p string) bool { return strings.Contains(p, "user_left") })
			c.wantEnded("blocked")
			c.wantOpen()
		}
		bob.wantAbout("user_left", ann, "conversation:1")
		bob.wantAbout("user_left", ann2, "conversation:1")
		ann.connect("ann") // the token is still accepted
		if s := w.hub.Stats(); s.Ordered != 2 || s.Sockets != 2 {
			t.Errorf("%d disconnected by order, %d sockets; want 2 and 2", s.Ordered, s.Sockets)
		}
	})
}

func TestOrderDisconnectsTheSocketsOfMatchingTokens(t *testing.T) {
	early, late := startTime.Add(-time.Hour), startTime
	identities := map[string]Identity{
		"early":   {UserID: "ann", TokenID: "t1", Issued: early},
		"late":    {UserID: "ann", TokenID: "t2", Issued: late},
		"undated": {UserID: "ann"},
		"other":   {UserID: "bob", TokenID: "t3", Issued: early},
	}
	for _, c := range []struct {
		name  string
		order Order
		want  []string
	}{
		{"all of a user", Order{User: "ann"}, []string{"early", "late", "undated"}},
		{"those issued before", Order{User: "ann", Issued: early}, []string{"early", "undated"}},
		{"those issued up to now", Order{User: "ann", Issued: late}, []string{"early", "late", "undated"}},
		{"one of a user", Order{User: "ann", TokenID: "t2"}, []string{"late"}},
		{"one of another", Order{User: "ann", TokenID: "t3"}, nil},
		{"one without its user", Order{TokenID: "t3"}, []string{"other"}},
		{"one that no socket has", Order{TokenID: "t4"}, nil},
		{"a user without sockets", Order{User: "eve"}, nil},
	} {
		for _, shards := range []int{1, 3} {
			w := newWorld(t, shards, func(c *Config) {
				c.Auth = authFunc(func(token string, _ time.Time, done func(Identity, error)) { done(identities[token], nil) })
			})
			for _, token := range []string{"early", "late", "undated", "other"} {
				w.connect(token)
			}
			w.obey(c.order)
			var got []string
			for _, cl := range w.clients {
				if cl.socket.ID() == "" {
					got = append(got, cl.name)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%s: %q were disconnected, want %q", c.name, got, c.want)
			}
		}
	}
}

// An order with a time applies to tokens issued up to IssuedLeeway after it, in
// whole seconds. If the issuer's clock is ahead, a token counts as issued when
// its socket connected.
func TestOrderAndTokenOfAboutTheSameTime(t *testing.T) {
	for _, c := range []struct {
		name           string
		issued, order  time.Duration // after the second of startTime
		connected      time.Duration // when the socket connected
		isDisconnected bool
	}{
		{"the token before", 0, time.Second, 0, true},
		{"in the same second, the token later", 900 * time.Millisecond, 100 * time.Millisecond, time.Second, true},
		{"the publisher's clock is behind", time.Second, 0, time.Second, true},
		{"by all of the leeway", IssuedLeeway, 0, IssuedLeeway, true},
		{"by more", IssuedLeeway + time.Second, 0, IssuedLeeway + time.Second, false},
		{"the issuer's clock is ahead", time.Minute, time.Second, 0, true},
	} {
		second := startTime.Truncate(time.Second)
		w := newWorld(t, 1, func(config *Config) {
			config.Auth = authFunc(func(_ string, _ time.Time, done func(Identity, error)) {
				done(Identity{UserID: "ann", Issued: second.Add(c.issued)}, nil)
			})
		})
		w.now = second.Add(c.connected)
		ann := w.connect("ann")
		w.obey(Order{User: "ann", Issued: second.Add(c.order)})
		if got := ann.socket.ID() == ""; got != c.isDisconnected {
			t.Errorf("%s: disconnected %v, want %v", c.name, got, c.isDisconnected)
		}
	}
}

// A token is revoked after it was verified and before its socket is connected.
// The order finds no socket then, so CONNECT must check the token again and
// refuse it; so must refresh_token.
func TestRevocationWhileTheTokenIsVerified(t *testing.T) {
	b := &fakeRevoker{}
	late := &lateAuth{}
	w := newWorld(t, 2, func(c *Config) { c.Auth, c.Revoker = late, b })
	ann := w.open("ann")
	ann.text(`0{"token":"ann"}`)
	late.answer(Identity{UserID: "ann", TokenID: "t1"}, nil) // the answer waits for the event loop
	w.obey(Order{User: "ann", TokenID: "t1", Until: startTime.Add(time.Hour)})
	if got := ann.next(); got != `44{"message":"Authentication error: jwt revoked"}` {
		t.Errorf("got %s, want a refusal", got)
	}
	ann.text(`0{"token":"ann"}`)
	late.answer(Identity{UserID: "ann", TokenID: "t2"}, nil)
	w.settle()
	ann.wantConnected()

	ann.text(`27["refresh_token",` + tokenArg("ann") + `]`)
	late.answer(Identity{UserID: "ann", TokenID: "t3"}, nil)
	b.Revoke(Order{TokenID: "t3"})
	w.settle()
	if got := ann.next(); got != `437[{"error":"jwt revoked"}]` {
		t.Errorf("got %s, want a refusal", got)
	}
}

// A fakeRevoker is a Revoker that records orders, and refuses tokens whose id
// they name.
type fakeRevoker struct{ orders []Order }

func (b *fakeRevoker) Revoke(o Order) { b.orders = append(b.orders, o) }

func (b *fakeRevoker) Check(id Identity, _ time.Time) error {
	if slices.ContainsFunc(b.orders, func(o Order) bool { return o.TokenID != "" && o.TokenID == id.TokenID }) {
		return errors.New("jwt revoked")
	}
	return nil
}

func TestTokensAreRevokedBeforeSocketsAreDisconnected(t *testing.T) {
	b := &fakeRevoker{}
	w := newWorld(t, 1, func(c *Config) { c.Revoker = b })
	ann := w.connect("ann")
	until := startTime.Add(time.Hour)
	if err := w.hub.Obey(Order{User: "ann", Until: until, Reason: "logged out"}); err != nil {
		t.Fatal(err)
	}
	if len(b.orders) != 1 || b.orders[0].User != "ann" || !b.orders[0].Until.Equal(until) {
		t.Errorf("revoked %+v, want one order, of ann", b.orders)
	}
	w.settle()
	ann.wantEnded("logged out")
	w.obey(Order{User: "ann"})
	if len(b.orders) != 1 {
		t.Errorf("an order without Until revoked tokens: %+v", b.orders)
	}
}

func TestOrderWithoutUserAndTokenIsRejected(t *testing.T) {
	w := newWorld(t, 1)
	if err := w.hub.Obey(Order{}); err == nil {
		t.Error("an order without a user and a token id is accepted, want an error")
	}
}

func TestSizeOfASocket(t *testing.T) {
	const most = 128 // bytes, a size class of the allocator; a node may have a million sockets
	if got := int(unsafe.Sizeof(Socket{})); got > most {
		t.Errorf("a socket takes %d bytes, want %d at most", got, most)
	}
}

// Each connection has a room, that of its user, so a room's size counts for each.
func TestSizeOfARoom(t *testing.T) {
	const (
		most         = 32 // bytes, a size class
		mostNodeRoom = 32
	)
	if got := int(unsafe.Sizeof(room{})); got > most {
		t.Errorf("a room takes %d bytes, want %d at most", got, most)
	}
	if got := int(unsafe.Sizeof(nodeRoom{})); got > mostNodeRoom {
		t.Errorf("a nodeRoom takes %d bytes, want %d at most", got, mostNodeRoom)
	}
}
