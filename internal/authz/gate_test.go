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

// started returns a gate that answers until the end of the test.
func started(t *testing.T, c Config, members Members) *Gate {
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
		t.Errorf("%v, %v, want nothing", g, err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []Config{{}, {Policy: "closed"}, {Policy: Webhook}, {Policy: Webhook, URL: "http://x"}, {Policy: Redis}} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}

func TestNotificationRooms(t *testing.T) {
	for policy, others := range map[string]map[bool]error{
		Open:   {true: rooms.ErrNotAllowed},
		Claims: {true: rooms.ErrNotAllowed, false: nil},
	} {
		for own, want := range others {
			g := started(t, Config{Policy: policy, OwnNotifications: own}, nil)
			ann := user("ann", "notification:*", "conversation:*")
			if err := ask(t, g, ann, "notification:ann"); err != nil {
				t.Errorf("%s, own %v: her own: %v", policy, own, err)
			}
			if err := ask(t, g, ann, "notification:bob"); !errors.Is(err, want) {
				t.Errorf("%s, own %v: another's: %v, want %v", policy, own, err, want)
			}
			if err := ask(t, g, ann, "conversation:bob"); err != nil {
				t.Errorf("%s, own %v: a conversation: %v", policy, own, err)
			}
		}
	}
	g := started(t, Config{Policy: Claims}, nil)
	if err := ask(t, g, user("ann"), "notification:ann"); err != nil {
		t.Errorf("her own, which the token does not name: %v", err)
	}
	if err := ask(t, g, user(""), "notification:"); err == nil {
		t.Error("nobody is let into a room without an id")
	}
}

func TestClaims(t *testing.T) {
	g := started(t, Config{Policy: Claims}, nil)
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
		{"conversation:[0-9]", "conversation:4", false}, // a star is all there is
	} {
		err := ask(t, g, user("ann", "conversation:none", c.pattern), c.room)
		if got := err == nil; got != c.want {
			t.Errorf("pattern %q, room %q: %v", c.pattern, c.room, err)
		}
	}
	if err := ask(t, g, user("ann"), "conversation:42"); !errors.Is(err, rooms.ErrNotAllowed) {
		t.Errorf("a token without rooms: %v", err)
	}
	if got := g.Counts()[Denied]; got == 0 {
		t.Error("nobody was counted as denied")
	}
}

// A slow policy answers when it is let.
type slow struct {
	prompt
	let chan struct{}

	mu    sync.Mutex
	order []string // guarded by mu
}

func (*slow) quick(rooms.Identity, string) (Verdict, bool) { return Verdict{}, false }

func (p *slow) decide(ctx context.Context, who rooms.Identity, room string) Verdict {
	select {
	case <-p.let:
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.order = append(p.order, who.UserID)
	return yes("")
}

func TestUsersAreServedInTurn(t *testing.T) {
	p := &slow{let: make(chan struct{})}
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
	// One of greedy's may have been begun before the others came.
	for _, who := range []string{"ann", "bob"} {
		if last := lastIndex(p.order, who); last > 10 {
			t.Errorf("%s's last of three was answered as number %d of %d", who, last, len(p.order))
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

func TestTooManyQuestions(t *testing.T) {
	p := &slow{let: make(chan struct{})}
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
		t.Errorf("somebody else: %v", err)
	}
	if got := g.Counts()[Busy]; got != int64(n) {
		t.Errorf("%d counted as busy, want %d", got, n)
	}
}
