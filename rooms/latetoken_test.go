package rooms

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// A lateAuth is an authenticator that answers when the test calls answer, from
// another goroutine.
type lateAuth struct {
	mu      sync.Mutex
	pending []func(Identity, error)
}

func (a *lateAuth) Authenticate(_ []byte, _ Presenter, _ time.Time, done func(Identity, error)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pending = append(a.pending, done)
}

// answer answers the oldest question, and returns when done has been called.
func (a *lateAuth) answer(id Identity, err error) {
	a.mu.Lock()
	done := a.pending[0]
	a.pending = a.pending[1:]
	a.mu.Unlock()
	var wait sync.WaitGroup
	wait.Go(func() { done(id, err) })
	wait.Wait()
}

func newLateWorld(t *testing.T) (*world, *lateAuth) {
	late := &lateAuth{}
	return newWorld(t, 2, func(c *Config) { c.Auth = late }), late
}

func TestConnectTimesOutWithoutAnAnswerOfTheAuthenticator(t *testing.T) {
	w, _ := newLateWorld(t)
	ann := w.open("ann")
	ann.text(`0{"token":"ann"}`)
	w.at(startTime.Add(44 * time.Second))
	ann.wantOpen()
	w.at(startTime.Add(45 * time.Second))
	ann.wantClosed(ReasonConnectTimeout)
}

func TestLateAnswerToConnect(t *testing.T) {
	w, late := newLateWorld(t)
	ann := w.open("ann")
	ann.text(`0{"token":"ann"}`)
	ann.wantNothing()
	late.answer(Identity{UserID: "ann", Expires: startTime.Add(time.Hour)}, nil)
	ann.wantNothing() // not before its event loop runs the task
	w.settle()
	ann.wantConnected()
	if d := ann.socket.Deadline(); !d.Equal(startTime.Add(55 * time.Minute)) {
		t.Errorf("deadline %v, want the time of the warning, 55 minutes after the start", d)
	}
}

func TestLateRefusalOfConnect(t *testing.T) {
	w, late := newLateWorld(t)
	ann := w.open("ann")
	ann.text(`0{"token":"ann"}`)
	w.now = startTime.Add(time.Minute) // the time to CONNECT has passed
	wakes := ann.wakes
	late.answer(Identity{}, errors.New("jwt expired"))
	w.settle()
	if got := ann.next(); got != `44{"message":"Authentication error: jwt expired"}` {
		t.Errorf("got %s, want the authenticator's error", got)
	}
	if ann.wakes == wakes {
		t.Error("the session was not woken for its new deadline of CONNECT")
	}
	ann.text(`0{"token":"ann"}`)
	late.answer(Identity{UserID: "ann"}, nil)
	w.settle()
	ann.wantConnected()
}

func TestPacketsWhileTheTokenIsVerified(t *testing.T) {
	for _, packet := range []string{`0{"token":"ann"}`, `2["typing"]`, `1`} {
		w, late := newLateWorld(t)
		ann := w.open("ann")
		ann.text(`0{"token":"ann"}`)
		ann.text(packet)
		ann.wantClosed(ReasonParseError)
		late.answer(Identity{UserID: "ann"}, nil)
		w.settle()
		ann.wantNothing()
		w.wantEmpty()
	}
}

func TestAnswerAfterTheClose(t *testing.T) {
	w, late := newLateWorld(t)
	ann, bob := w.open("ann"), w.open("bob")
	ann.text(`0{"token":"ann"}`)
	bob.text(`0{"token":"bob"}`)
	ann.hangUp()
	late.answer(Identity{UserID: "ann"}, nil)
	late.answer(Identity{UserID: "bob"}, nil)
	w.settle()
	ann.wantNothing()
	bob.wantConnected()
	bob.text(`2["refresh_token",` + tokenArg("bob") + `]`)
	bob.hangUp()
	late.answer(Identity{UserID: "bob"}, nil)
	w.settle()
	bob.wantNothing()
	w.wantEmpty()
}

func TestLateRefresh(t *testing.T) {
	w, late := newLateWorld(t)
	ann := w.open("ann")
	ann.text(`0{"token":"ann"}`)
	late.answer(Identity{UserID: "ann"}, nil)
	w.settle()
	ann.wantConnected()

	ann.text(`27["refresh_token",` + tokenArg("ann") + `]`)
	ann.text(`28["typing",` + conversation("1") + `]`) // other events are handled meanwhile
	if got := ann.next(); !strings.HasPrefix(got, "438[") {
		t.Errorf("got %s, want the ack of typing", got)
	}
	late.answer(Identity{UserID: "ann", Expires: startTime.Add(time.Hour)}, nil)
	w.settle()
	if got := ann.next(); got != `437[`+success+`]` {
		t.Errorf("got %s, want the ack of refresh_token", got)
	}
}

// The answer to refresh_token comes when the session has left the namespace and
// connected to it again. It must not change the new socket's expiry.
func TestRefreshOfAnEarlierSocket(t *testing.T) {
	w, late := newLateWorld(t)
	ann := w.open("ann")
	connect := func() {
		ann.text(`0{"token":"ann"}`)
		w.settle()
	}
	connect()
	late.answer(Identity{UserID: "ann"}, nil)
	w.settle()
	ann.wantConnected()
	ann.text(`27["refresh_token",` + tokenArg("ann") + `]`)
	ann.text("1")
	connect()
	refresh := late.pending[0]
	late.pending = late.pending[1:]
	late.answer(Identity{UserID: "ann"}, nil)
	w.settle()
	ann.wantConnected()
	refresh(Identity{UserID: "ann", Expires: startTime.Add(time.Minute)}, nil)
	w.settle()
	ann.wantNothing()
	if d := ann.socket.Deadline(); !d.IsZero() {
		t.Errorf("deadline %v, want none: the token was another socket's", d)
	}
}

// The authenticator answers from another goroutine, before or while Authenticate
// returns. The client must be connected in both cases.
func TestAnswerBeforeTheCallReturns(t *testing.T) {
	for round := range 200 {
		var answered sync.WaitGroup
		w := newWorld(t, 1, func(c *Config) {
			c.Auth = authFunc(func(token string, now time.Time, done func(Identity, error)) {
				answered.Go(func() { tokenNamesUser(token, now, done) })
				if round%2 == 0 {
					answered.Wait()
				}
			})
		})
		ann := w.open("ann")
		ann.text(`0{"token":"ann"}`)
		answered.Wait()
		w.settle()
		ann.wantConnected()
	}
}

// Many tokens are verified at a time, some before Authenticate returns and some
// by other goroutines, while clients connect, refresh their tokens and close.
// Each client must get the answer for its own token.
func TestEachClientGetsTheAnswerForItsToken(t *testing.T) {
	const clients, life, refreshed = 60, time.Hour, 2 * time.Hour
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 0))
		var answering sync.WaitGroup
		w := newWorld(t, 2, func(c *Config) {
			c.Auth = authFunc(func(token string, now time.Time, done func(Identity, error)) {
				pause := r.IntN(100)
				if pause < 30 {
					tokenNamesUser(token, now, done)
					return
				}
				answering.Go(func() {
					for range pause - 30 {
						runtime.Gosched()
					}
					tokenNamesUser(token, now, done)
				})
			})
		})
		want := make(map[*client]time.Duration)
		for i := range clients {
			c := w.open(fmt.Sprint("user", i))
			c.text(`0{"token":"` + c.name + "+" + life.String() + `"}`)
			want[c] = life
			switch other := w.clients[r.IntN(len(w.clients))]; {
			case other.gone:
			case r.IntN(4) == 0:
				other.hangUp()
				delete(want, other)
			case r.IntN(2) == 0 && other.socket.phase == phaseConnected:
				other.text(`2["refresh_token",` + tokenArg(other.name+"+"+refreshed.String()) + `]`)
				want[other] = refreshed
			}
		}
		answering.Wait()
		w.settle()
		for c, life := range want {
			c.wantOpen()
			if s := c.socket; s.phase != phaseConnected || s.UserID() != c.name || s.until != startTime.Add(life).UnixMilli() {
				t.Errorf("seed %d: %s is user %q, in phase %d, until %v; want until %v",
					seed, c.name, s.UserID(), s.phase, time.UnixMilli(s.until), startTime.Add(life))
			}
		}
		if n := w.hub.Consulting(); n != 0 {
			t.Errorf("seed %d: %d tokens are being verified, want none", seed, n)
		}
	}
}

// The authenticator panics. The token must not be counted as being verified,
// because a hand-over waits until none is.
func TestTokenWhoseVerificationPanicsIsNotAwaited(t *testing.T) {
	w := newWorld(t, 1, func(c *Config) {
		c.Auth = authFunc(func(token string, now time.Time, done func(Identity, error)) {
			if token == "boom" {
				panic(token)
			}
			tokenNamesUser(token, now, done)
		})
	})
	func() {
		defer func() { _ = recover() }() // as the event loop does
		w.open("boom").text(`0{"token":"boom"}`)
	}()
	if n := w.hub.Consulting(); n != 0 {
		t.Errorf("%d tokens are being verified, want none", n)
	}
	w.connect("ann")
}
