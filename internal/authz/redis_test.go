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

// fakeMembers implements Members: the members of rooms on this node. It records who is
// expelled.
type fakeMembers struct {
	mu       sync.Mutex
	rooms    map[string][]string // guarded by mu
	expelled []string
	asked    int
}

func (c *fakeMembers) Users(_ context.Context, room string) ([]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	return slices.Clone(c.rooms[room]), nil
}

func (c *fakeMembers) Expel(room string, users []string, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, u := range users {
		c.expelled = append(c.expelled, u+" "+room+" "+reason)
		c.rooms[room] = slices.DeleteFunc(c.rooms[room], func(in string) bool { return in == u })
	}
}

func (c *fakeMembers) Names(limit int) (names []string, total int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.rooms {
		if len(names) < limit {
			names = append(names, name)
		}
	}
	return names, len(c.rooms)
}

func (c *fakeMembers) put(room string, users ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rooms[room] = append(c.rooms[room], users...)
}

// lookups returns how many times the members of a room were requested.
func (c *fakeMembers) lookups() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked
}

func (c *fakeMembers) gone() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(slices.Values(c.expelled))
}

func (c *fakeMembers) wantGone(t *testing.T, want ...string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !slices.Equal(c.gone(), want) {
		if time.Now().After(deadline) {
			t.Fatalf("expelled %q, want %q", c.gone(), want)
		}
		time.Sleep(time.Millisecond)
	}
}

// newSetsGate starts a gate on a Redis, with a key prefix of its own.
func newSetsGate(t *testing.T, redis *redistest.Server) (*Gate, *fakeMembers, func(args ...string)) {
	t.Helper()
	return newSetsGateAt(t, redis.Addr, redis)
}

// newSetsGateAt connects the gate to the Redis by another address.
func newSetsGateAt(t *testing.T, address string, redis *redistest.Server) (*Gate, *fakeMembers, func(args ...string)) {
	t.Helper()
	c := &fakeMembers{rooms: make(map[string][]string)}
	prefix := "test:" + t.Name() + rand.Text() + ":acl:"
	g := startGate(t, Config{
		Policy: Redis, Prefix: prefix,
		Connect: func(invalidated func([]rueidis.RedisMessage)) (rueidis.Client, error) {
			return cluster.Server{Addresses: []string{address}}.Open(1, invalidated)
		},
	}, c)
	deadline := time.Now().Add(patience)
	for g.policy.(*sets).client.Load() == nil {
		if time.Now().After(deadline) {
			t.Fatal("the gate did not connect to Redis")
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
			t.Fatal("a user added to the set is not let in")
		}
	}
}

func TestUsersRemovedFromTheSetAreExpelled(t *testing.T) {
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
	cli("SREM", "conversation:1", "eve") // Redis must still track the key
	c.wantGone(t, "bob conversation:1 no longer a member", "eve conversation:1 no longer a member")
	cli("DEL", "conversation:1")
	c.wantGone(t, "ann conversation:1 no longer a member", "bob conversation:1 no longer a member", "eve conversation:1 no longer a member")
}

func TestExpulsionFromALargeRoom(t *testing.T) {
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

// The set changes after it was read and before the socket is in the room. The user
// must be expelled when he is.
func TestAUserRevokedDuringAJoinIsExpelled(t *testing.T) {
	g, c, cli := newSetsGate(t, redistest.Shared(t))
	cli("SADD", "conversation:1", "ann")
	answer := make(chan error)
	g.Authorize(user("ann"), "conversation:1", func(err error) {
		before := g.policy.(*sets).epoch.Load()
		cli("SREM", "conversation:1", "ann")
		for g.policy.(*sets).epoch.Load() == before { // until the change is noticed, while the room is still empty
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

// Redis cannot be reached for a while. Meanwhile nobody is let in or expelled. Changes
// made meanwhile take effect afterwards.
func TestAnOutageOfRedisExpelsNobody(t *testing.T) {
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
		t.Errorf("while Redis cannot be reached: %v, want errUnavailable", err)
	}
	if got := c.gone(); len(got) > 0 {
		t.Errorf("%q were expelled while Redis cannot be reached, want nobody", got)
	}
	proxy.Heal()
	c.wantGone(t, "bob conversation:1 no longer a member")
}

// Sets change while Redis cannot be reached. The reviews of their rooms fail,
// repeatedly, and must be repeated until all removed users are expelled.
func TestExpulsionsAreRepeatedUntilRedisAnswers(t *testing.T) {
	const rooms_ = 10
	for name, fault := range map[string]struct{ begin, end func(*testkit.Proxy) }{
		"connections lost": {(*testkit.Proxy).Cut, (*testkit.Proxy).Heal},
		"no answers":       {(*testkit.Proxy).Hold, (*testkit.Proxy).Cut}, // then the connections are lost
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
			g.policy.(*sets).invalidated(nil) // rueidis calls it when it notices the loss
			for deadline := time.Now().Add(patience); c.lookups() < 2*reviewers; {
				if time.Now().After(deadline) {
					t.Fatal("failed reviews are not repeated")
				}
				time.Sleep(time.Millisecond)
			}
			if got := c.gone(); len(got) > 0 {
				t.Errorf("%q were expelled while Redis cannot be reached, want nobody", got)
			}
			fault.end(proxy)
			proxy.Heal()
			c.wantGone(t, want...)
		})
	}
}

// A key that holds something else than a set counts as an empty set: it lets nobody
// in, its members are expelled, and other rooms are reviewed as usual.
func TestAKeyThatIsNotASetCountsAsEmpty(t *testing.T) {
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
		t.Errorf("joining a room whose key is not a set: %v, want ErrNotAllowed", err)
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
		t.Errorf("reviews of %v are due, want a only", left)
	}
	for room, version := range r.list() {
		r.done(room, version)
	}
	if left := r.list(); len(left) != 0 {
		t.Errorf("reviews of %v are due after their review", left)
	}
}
