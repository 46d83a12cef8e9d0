package authz

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/internal/testkit/redistest"
	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/rooms/cluster"
)

func TestMain(m *testing.M) {
	code := m.Run()
	redistest.CloseShared()
	os.Exit(code)
}

// crowd is a node's rooms.
type crowd struct {
	mu       sync.Mutex
	rooms    map[string][]string // guarded by mu
	expelled []string
	asked    int
}

func (c *crowd) Users(_ context.Context, room string) ([]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	return slices.Clone(c.rooms[room]), nil
}

func (c *crowd) Expel(room string, users []string, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, u := range users {
		c.expelled = append(c.expelled, u+" "+room+" "+reason)
		c.rooms[room] = slices.DeleteFunc(c.rooms[room], func(in string) bool { return in == u })
	}
}

func (c *crowd) Names(limit int) (names []string, total int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.rooms {
		if len(names) < limit {
			names = append(names, name)
		}
	}
	return names, len(c.rooms)
}

func (c *crowd) put(room string, users ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rooms[room] = append(c.rooms[room], users...)
}

// looks is how often somebody has asked who is in a room.
func (c *crowd) looks() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked
}

func (c *crowd) gone() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(slices.Values(c.expelled))
}

func (c *crowd) wantGone(t *testing.T, want ...string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !slices.Equal(c.gone(), want) {
		if time.Now().After(deadline) {
			t.Fatalf("expelled %q, want %q", c.gone(), want)
		}
		time.Sleep(time.Millisecond)
	}
}

// newSetsGate starts a gate on a Redis, with a prefix of the test's own.
func newSetsGate(t *testing.T, redis *redistest.Server) (*Gate, *crowd, func(args ...string)) {
	t.Helper()
	return newSetsGateAt(t, redis.Addr, redis)
}

// newSetsGateAt reaches the Redis by another address.
func newSetsGateAt(t *testing.T, address string, redis *redistest.Server) (*Gate, *crowd, func(args ...string)) {
	t.Helper()
	c := &crowd{rooms: make(map[string][]string)}
	prefix := "test:" + t.Name() + rand.Text() + ":acl:"
	g := started(t, Config{
		Policy: Redis, Prefix: prefix,
		Connect: func(invalidated func([]rueidis.RedisMessage)) (rueidis.Client, error) {
			return cluster.Server{Addresses: []string{address}}.Open(1, invalidated)
		},
	}, c)
	deadline := time.Now().Add(patience)
	for g.policy.(*sets).client.Load() == nil {
		if time.Now().After(deadline) {
			t.Fatal("not connected")
		}
		time.Sleep(time.Millisecond)
	}
	return g, c, func(args ...string) {
		t.Helper()
		args[1] = prefix + args[1]
		if _, err := redis.CLI(append([]string{"-n", "1"}, args...)...); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSetsInRedis(t *testing.T) {
	g, _, cli := newSetsGate(t, redistest.Shared(t))
	cli("SADD", "conversation:1", "ann", "7")
	for _, c := range []struct {
		user, room string
		want       error
	}{
		{"ann", "conversation:1", nil},
		{"7", "conversation:1", nil},
		{"bob", "conversation:1", rooms.ErrNotAllowed},
		{"ann", "conversation:2", rooms.ErrNotAllowed}, // no such set
		{"bob", "notification:bob", nil},
	} {
		if err := ask(t, g, user(c.user), c.room); !errors.Is(err, c.want) {
			t.Errorf("%s in %s: %v, want %v", c.user, c.room, err, c.want)
		}
	}
	cli("SADD", "conversation:1", "bob")
	deadline := time.Now().Add(patience)
	for ask(t, g, user("bob"), "conversation:1") != nil {
		if time.Now().After(deadline) {
			t.Fatal("a new member is not let in")
		}
	}
}

func TestWhoLosesHisPlaceInTheSetIsExpelled(t *testing.T) {
	g, c, cli := newSetsGate(t, redistest.Shared(t))
	cli("SADD", "conversation:1", "ann", "bob", "eve")
	for _, u := range []string{"ann", "bob", "eve"} {
		if err := ask(t, g, user(u), "conversation:1"); err != nil {
			t.Fatal(err)
		}
	}
	c.put("conversation:1", "ann", "bob", "eve")
	cli("SREM", "conversation:1", "bob")
	c.wantGone(t, "bob conversation:1 no longer a member")
	cli("SREM", "conversation:1", "eve") // Redis is still asked to tell
	c.wantGone(t, "bob conversation:1 no longer a member", "eve conversation:1 no longer a member")
	cli("DEL", "conversation:1")
	c.wantGone(t, "ann conversation:1 no longer a member", "bob conversation:1 no longer a member", "eve conversation:1 no longer a member")
}

func TestManyInOneRoom(t *testing.T) {
	g, c, cli := newSetsGate(t, redistest.Shared(t))
	members := []string{"SADD", "conversation:1"}
	for i := range 3 * manyUsers {
		members = append(members, fmt.Sprint("user", i))
	}
	cli(slices.Clone(members)...)
	for _, u := range members[2:] {
		if err := ask(t, g, user(u), "conversation:1"); err != nil {
			t.Fatal(err)
		}
	}
	c.put("conversation:1", members[2:]...)
	cli("SREM", "conversation:1", "user5")
	c.wantGone(t, "user5 conversation:1 no longer a member")
	cli("SREM", "conversation:1", "user6")
	c.wantGone(t, "user5 conversation:1 no longer a member", "user6 conversation:1 no longer a member")
}

// TestRevokedWhileTheAnswerIsUnderWay: the answer was right when it was read,
// and the socket is not in the room yet when the set changes.
func TestRevokedWhileTheAnswerIsUnderWay(t *testing.T) {
	g, c, cli := newSetsGate(t, redistest.Shared(t))
	cli("SADD", "conversation:1", "ann")
	answer := make(chan error)
	g.Authorize(user("ann"), "conversation:1", func(err error) {
		before := g.policy.(*sets).epoch.Load()
		cli("SREM", "conversation:1", "ann")
		for g.policy.(*sets).epoch.Load() == before { // the change is known, and nobody is in the room
			time.Sleep(time.Millisecond)
		}
		c.put("conversation:1", "ann")
		answer <- err
	})
	if err := <-answer; err != nil {
		t.Fatal(err)
	}
	c.wantGone(t, "ann conversation:1 no longer a member")
}

// TestRedisIsOutOfReachForAWhile: nobody is let in and nobody thrown out, and
// what has changed meanwhile is seen afterwards.
func TestRedisIsOutOfReachForAWhile(t *testing.T) {
	proxy, err := testkit.NewProxy(redistest.Shared(t).Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	g, c, cli := newSetsGateAt(t, proxy.Addr, redistest.Shared(t))
	cli("SADD", "conversation:1", "ann", "bob")
	for _, u := range []string{"ann", "bob"} {
		if err := ask(t, g, user(u), "conversation:1"); err != nil {
			t.Fatal(err)
		}
	}
	c.put("conversation:1", "ann", "bob")
	c.put("user:ann", "ann")
	proxy.Cut()
	cli("SREM", "conversation:1", "bob")
	if err := ask(t, g, user("eve"), "conversation:1"); !errors.Is(err, errUnavailable) {
		t.Errorf("while Redis is away: %v, want no answer", err)
	}
	if got := c.gone(); len(got) > 0 {
		t.Errorf("while Redis is away %q were expelled", got)
	}
	proxy.Heal()
	c.wantGone(t, "bob conversation:1 no longer a member")
}

// TestNoExpulsionIsForgottenInAnOutage: reviews that fail are tried again, all
// of them and however often they fail.
func TestNoExpulsionIsForgottenInAnOutage(t *testing.T) {
	const rooms_ = 10
	for name, fault := range map[string]struct{ begin, end func(*testkit.Proxy) }{
		"connections lost": {(*testkit.Proxy).Cut, (*testkit.Proxy).Heal},
		"no answers":       {(*testkit.Proxy).Hold, (*testkit.Proxy).Cut}, // and then lost
	} {
		t.Run(name, func(t *testing.T) {
			proxy, err := testkit.NewProxy(redistest.Shared(t).Addr)
			if err != nil {
				t.Fatal(err)
			}
			defer proxy.Close()
			g, c, cli := newSetsGateAt(t, proxy.Addr, redistest.Shared(t))
			var want []string
			for i := range rooms_ {
				room := fmt.Sprint("conversation:", i)
				cli("SADD", room, "ann", "bob")
				for _, u := range []string{"ann", "bob"} {
					if err := ask(t, g, user(u), room); err != nil {
						t.Fatal(err)
					}
				}
				c.put(room, "ann", "bob")
				want = append(want, "bob "+room+" no longer a member")
			}
			fault.begin(proxy)
			for i := range rooms_ {
				cli("SREM", fmt.Sprint("conversation:", i), "bob")
			}
			g.policy.(*sets).invalidated(nil) // as rueidis says when it notices
			for deadline := time.Now().Add(patience); c.looks() < 2*reviewers; {
				if time.Now().After(deadline) {
					t.Fatal("reviews that have failed are not tried again")
				}
				time.Sleep(time.Millisecond)
			}
			if got := c.gone(); len(got) > 0 {
				t.Errorf("while Redis is away %q were expelled", got)
			}
			fault.end(proxy)
			proxy.Heal()
			c.wantGone(t, want...)
		})
	}
}

// TestAKeyThatIsNoSetHasNobody: it lets nobody in, those in the room are
// expelled, and other rooms are reviewed all the same.
func TestAKeyThatIsNoSetHasNobody(t *testing.T) {
	g, c, cli := newSetsGate(t, redistest.Shared(t))
	for _, room := range []string{"conversation:1", "conversation:2", "conversation:3"} {
		cli("SADD", room, "ann", "bob")
		for _, u := range []string{"ann", "bob"} {
			if err := ask(t, g, user(u), room); err != nil {
				t.Fatal(err)
			}
		}
		c.put(room, "ann", "bob")
	}
	cli("SET", "conversation:2", "x")
	cli("SREM", "conversation:1", "bob")
	cli("SREM", "conversation:3", "bob")
	c.wantGone(t, "ann conversation:2 no longer a member", "bob conversation:1 no longer a member",
		"bob conversation:2 no longer a member", "bob conversation:3 no longer a member")
	if err := ask(t, g, user("ann"), "conversation:2"); !errors.Is(err, rooms.ErrNotAllowed) {
		t.Errorf("ann in a room whose key is no set: %v", err)
	}
}

func TestAChangeDuringAReviewIsReviewedAgain(t *testing.T) {
	r := reviews{rooms: make(map[string]uint64)}
	r.add("a")
	r.add("b")
	under := r.list()
	r.add("a")
	for room, version := range under {
		r.done(room, version)
	}
	if left := r.list(); len(left) != 1 || left["a"] == 0 {
		t.Errorf("%v is due, want a", left)
	}
	for room, version := range r.list() {
		r.done(room, version)
	}
	if left := r.list(); len(left) != 0 {
		t.Errorf("%v is due after its review", left)
	}
}
