package authz

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/rooms"
)

const patience = testkit.Patience

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// startGate returns a running gate, which is closed when the test ends.
func startGate(t *testing.T, c Config, members Members) *Gate {
	t.Helper()
	c.Log = quiet
	g, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	g.Start(members)
	t.Cleanup(g.Close)
	return g
}

// ask waits for the gate's answer.
func ask(t *testing.T, g *Gate, who rooms.Identity, room string) error {
	t.Helper()
	answer := make(chan error, 1)
	g.Authorize(who, room, func(err error) { answer <- err })
	select {
	case err := <-answer:
		return err
	case <-time.After(patience):
		t.Fatalf("no answer for %s and %s", who.UserID, room)
		return nil
	}
}

func user(id string, rooms_ ...string) rooms.Identity {
	return rooms.Identity{UserID: id, Rooms: rooms_}
}

func TestOpenNeedsNoGate(t *testing.T) {
	if g, err := New(Config{Policy: Open}); g != nil || err != nil {
		t.Errorf("%v, %v, want neither a gate nor an error", g, err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []Config{{}, {Policy: "closed"}, {Policy: Webhook}, {Policy: Webhook, URL: "http://x"}, {Policy: Redis}} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v was accepted, want an error", c)
		}
	}
}

// With own notifications a user may join only his own notification room, whatever the
// policy. Without them the policy decides about the others.
func TestNotificationRooms(t *testing.T) {
	for policy, others := range map[string]map[bool]error{
		Open:   {true: rooms.ErrNotAllowed},
		Claims: {true: rooms.ErrNotAllowed, false: nil},
	} {
		for own, want := range others {
			g := startGate(t, Config{Policy: policy, OwnNotifications: own}, nil)
			ann := user("ann", "notification:*", "conversation:*")
			if err := ask(t, g, ann, "notification:ann"); err != nil {
				t.Errorf("%s, own %v: her own room: %v", policy, own, err)
			}
			if err := ask(t, g, ann, "notification:bob"); !errors.Is(err, want) {
				t.Errorf("%s, own %v: another user's room: %v, want %v", policy, own, err, want)
			}
			if err := ask(t, g, ann, "conversation:bob"); err != nil {
				t.Errorf("%s, own %v: a conversation: %v", policy, own, err)
			}
		}
	}
	g := startGate(t, Config{Policy: Claims}, nil)
	if err := ask(t, g, user("ann"), "notification:ann"); err != nil {
		t.Errorf("her own room, which the token does not name: %v", err)
	}
	if err := ask(t, g, user(""), "notification:"); err == nil {
		t.Error("a user without an id was let into a room without an id")
	}
}

// The patterns of a token's claim rooms match room names, with * for any characters.
func TestClaims(t *testing.T) {
	g := startGate(t, Config{Policy: Claims}, nil)
	for _, c := range []struct {
		pattern, room string
		want          bool
	}{
		{"conversation:42", "conversation:42", true},
		{"conversation:42", "conversation:421", false},
		{"conversation:42", "notification:42", false},
		{"conversation:*", "conversation:42", true},
		{"conversation:*", "conversation:", true},
		{"conversation:*", "notification:42", false},
		{"*", "conversation:42", true},
		{"*:42", "conversation:42", true},
		{"*:42", "conversation:420", false},
		{"conversation:team-*-7", "conversation:team-a-7", true},
		{"conversation:team-*-7", "conversation:team--7", true},
		{"conversation:team-*-7", "conversation:team-7", false},
		{"c*n*2", "conversation:42", true},
		{"c*x*2", "conversation:42", false},
		{"**", "conversation:42", true},
		{"a*a", "a", false},
		{"", "conversation:42", false},
		{"conversation:[0-9]", "conversation:4", false}, // only * is special
	} {
		err := ask(t, g, user("ann", "conversation:none", c.pattern), c.room)
		if got := err == nil; got != c.want {
			t.Errorf("pattern %q, room %q: %v, want allowed %v", c.pattern, c.room, err, c.want)
		}
	}
	if err := ask(t, g, user("ann"), "conversation:42"); !errors.Is(err, rooms.ErrNotAllowed) {
		t.Errorf("a token without rooms: %v, want ErrNotAllowed", err)
	}
	if got := g.Counts()[Denied]; got == 0 {
		t.Error("no question was counted as denied")
	}
}

// slowPolicy is a policy that answers when let is closed.
type slowPolicy struct {
	prompt
	let chan struct{}

	mu    sync.Mutex
	order []string // guarded by mu
}

func (*slowPolicy) quick(rooms.Identity, string) (Verdict, bool) { return Verdict{}, false }

func (p *slowPolicy) decide(ctx context.Context, who rooms.Identity, room string) Verdict {
	select {
	case <-p.let:
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.order = append(p.order, who.UserID)
	return yes("")
}

// One user asks 100 questions before two others ask three each. With one worker the
// others must be answered within the first ten.
func TestUsersAreServedInTurn(t *testing.T) {
	p := &slowPolicy{let: make(chan struct{})}
	g := &Gate{policy: p, workers: 1}
	g.Start(nil)
	defer g.Close()
	var answered sync.WaitGroup
	join := func(who string, room int) {
		answered.Add(1)
		g.Authorize(user(who), fmt.Sprint("conversation:", room), func(error) { answered.Done() })
	}
	for i := range 100 {
		join("greedy", i)
	}
	for i := range 3 {
		join("ann", i)
		join("bob", i)
	}
	close(p.let)
	answered.Wait()
	// One of greedy's questions may have been started before the others came.
	for _, who := range []string{"ann", "bob"} {
		if last := lastIndex(p.order, who); last > 10 {
			t.Errorf("%s's third question was answered as number %d of %d, want the first ten", who, last, len(p.order))
		}
	}
}

func lastIndex(list []string, what string) int {
	for i, v := range slices.Backward(list) {
		if v == what {
			return i
		}
	}
	return len(list)
}

// One user asks more questions than may wait. The excess is refused as busy, and
// another user is still answered.
func TestTooManyQuestions(t *testing.T) {
	p := &slowPolicy{let: make(chan struct{})}
	g := &Gate{policy: p, workers: 1}
	g.Start(nil)
	defer g.Close()
	const most = maxWaiting / waitingShare / 200 // more than fit
	refused := make(chan error, most)
	for range most {
		g.Authorize(user("greedy"), "conversation:1", func(err error) {
			if err != nil {
				refused <- err
			}
		})
	}
	n := len(refused)
	if n == 0 || n > most-1000 {
		t.Fatalf("%d of %d questions of one user were refused", n, most)
	}
	if err := <-refused; err.Error() != "Authorization busy, try again" {
		t.Errorf("refused with %v", err)
	}
	answered := make(chan error, 1)
	g.Authorize(user("ann"), "conversation:1", func(err error) { answered <- err })
	close(p.let)
	if err := <-answered; err != nil {
		t.Errorf("another user was refused: %v", err)
	}
	if got := g.Counts()[Busy]; got != int64(n) {
		t.Errorf("%d counted as busy, want %d", got, n)
	}
}
