package cluster

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/rooms/cluster/presence"
)

// fakeServices stands for RabbitMQ and the services behind it. It records
// presence events. It can be down, lose confirms, and get events twice.
type fakeServices struct {
	grace time.Duration

	mu         sync.Mutex       // guards the following
	down       bool             // every publish fails
	unreliable bool             // some events are recorded and not confirmed, some come twice
	late       []presence.Event // recorded a second time by the next call of set
	events     []presence.Event
}

func (s *fakeServices) Connected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.down
}

func (s *fakeServices) set(down, unreliable bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down, s.unreliable = down, unreliable
	for _, e := range s.late {
		if !down {
			s.events = append(s.events, e)
		}
	}
	s.late = nil
}

// count returns the number of events so far; more may come.
func (s *fakeServices) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.events)
}

func (s *fakeServices) Publish(e presence.Event, done func(error)) bool {
	go func() {
		s.mu.Lock()
		var err error
		switch {
		case s.down:
			err = errors.New("RabbitMQ is away")
		case s.unreliable && rand.IntN(4) == 0:
			s.events = append(s.events, e)
			err = errors.New("the confirm was lost")
		default:
			if s.unreliable && rand.IntN(4) == 0 {
				s.late = append(s.late, e)
			}
			s.events = append(s.events, e)
		}
		s.mu.Unlock()
		done(err)
	}()
	return true
}

// states returns which rooms have members, according to the events. It ignores
// events whose id it has seen, and checks that the others alternate for each
// room.
func (s *fakeServices) states(t *testing.T) map[string]bool {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make(map[string]presence.Event)
	there := make(map[string]bool)
	for _, e := range s.events {
		if first, twice := ids[e.ID]; twice {
			if first.Room != e.Room || first.Key != e.Key {
				t.Errorf("two events with the id %s differ: %+v and %+v", e.ID, first, e)
			}
			continue
		}
		ids[e.ID] = e
		now := e.Key == "user.online" || e.Key == "room.occupied"
		if there[e.Room] == now {
			t.Errorf("%s for %s came twice in a row", e.Key, e.Room)
		}
		there[e.Room] = now
		if now != (e.N > 0) {
			t.Errorf("the count of members contradicts the key: %+v", e)
		}
	}
	maps.DeleteFunc(there, func(_ string, yes bool) bool { return !yes })
	return there
}

// history returns the keys and counts of a room's events, without duplicates.
func (s *fakeServices) history(room string) (keys []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make(map[string]bool)
	for _, e := range s.events {
		if e.Room == room && !ids[e.ID] {
			keys = append(keys, fmt.Sprintf("%s %d", e.Key, e.N))
			ids[e.ID] = true
		}
	}
	return keys
}

func (s *fakeServices) await(t *testing.T, room string, want ...string) {
	t.Helper()
	testkit.Await(t, fmt.Sprint(room, ": ", want), func() bool { return slices.Equal(s.history(room), want) || len(s.history(room)) > len(want) })
	if got := s.history(room); !slices.Equal(got, want) {
		t.Fatalf("events of %s: %q, want %q", room, got, want)
	}
}

func newServicesWorld(t *testing.T, grace time.Duration) *world {
	w := newWorld(t)
	w.services = &fakeServices{grace: grace}
	return w
}

func TestPresenceEventsForTheFirstAndTheLastSocketOfAllNodes(t *testing.T) {
	w := newServicesWorld(t, time.Millisecond)
	a, b := w.node(), w.node()
	ann := a.connect("ann")
	w.services.await(t, "user:ann", "user.online 1")
	second := b.connect("ann")
	ann.do("join_room", "1")
	w.services.await(t, "conversation:1", "room.occupied 1")
	testkit.Await(t, "the state of two sockets", func() bool {
		list, err := b.present.Users(t.Context(), []string{"ann", "nobody"})
		return err == nil && list[0].Sockets == 2 && list[0].Nodes == 2 && !list[0].Since.IsZero() && list[0].LastSeen.IsZero() && list[1] == presence.User{}
	})
	ann.hangUp()
	w.services.await(t, "conversation:1", "room.occupied 1", "room.vacated 0")
	testkit.Await(t, "the state of one socket", func() bool {
		list, err := a.present.Users(t.Context(), []string{"ann"})
		return err == nil && list[0].Sockets == 1 && list[0].Nodes == 1
	})
	second.hangUp()
	w.services.await(t, "user:ann", "user.online 1", "user.offline 0")
	list, err := a.present.Users(t.Context(), []string{"ann"})
	if err != nil || list[0].Sockets != 0 || list[0].Nodes != 0 || time.Since(list[0].LastSeen).Abs() > time.Minute || !list[0].Since.IsZero() {
		t.Errorf("the user who has left: %+v, %v", list, err)
	}
}

func TestNoPresenceEventForAReturnWithinTheGrace(t *testing.T) {
	const grace = 5 * time.Second // long enough to hang up and connect again three times
	w := newServicesWorld(t, grace)
	a, b := w.node(), w.node()
	ann := a.connect("ann")
	ann.do("join_room", "1")
	w.services.await(t, "conversation:1", "room.occupied 1")
	for _, n := range []*node{b, a, b} {
		ann.hangUp()
		ann = n.connect("ann")
		ann.do("join_room", "1")
	}
	left := time.Now()
	ann.hangUp()
	w.services.await(t, "user:ann", "user.online 1", "user.offline 0")
	w.services.await(t, "conversation:1", "room.occupied 1", "room.vacated 0")
	if early := grace - time.Since(left); early > 2*time.Millisecond { // Redis counts whole milliseconds
		t.Errorf("the events came %v before the end of the grace", early)
	}
}

func TestPresenceEventsOfADeadNodeAreSentByOthers(t *testing.T) {
	w := newServicesWorld(t, time.Millisecond)
	a, b := w.node(), w.node()
	ann := a.connect("ann")
	a.connect("bob")
	w.services.await(t, "user:bob", "user.online 1")
	b.connect("bob")
	ann.do("join_room", "1")
	w.services.await(t, "conversation:1", "room.occupied 1")
	// A node removes sessions of others only after it has renewed its own for
	// the length of a lease.
	testkit.Await(t, "b to have renewed its session for a lease", func() bool { return b.present.steadyFor(2 * time.Second) })
	a.halt()
	w.services.await(t, "user:ann", "user.online 1", "user.offline 0")
	w.services.await(t, "conversation:1", "room.occupied 1", "room.vacated 0")
	if got := w.services.history("user:bob"); len(got) != 1 {
		t.Errorf("events of bob, who is on the other node too: %q, want only user.online", got)
	}
}

func (p *Presence) steadyFor(d time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.core.Steady(d, time.Now())
}

func TestPresenceIsSentWhenRabbitMQIsBack(t *testing.T) {
	w := newServicesWorld(t, time.Millisecond)
	a, b := w.node(), w.node()
	ann := a.connect("ann")
	w.services.await(t, "user:ann", "user.online 1")
	w.services.set(true, false)
	ann.hangUp()
	bob := b.connect("bob")
	eve := a.connect("eve")
	testkit.Await(t, "the counts to be written", func() bool {
		list, err := b.present.Users(t.Context(), []string{"ann", "bob", "eve"})
		return err == nil && list[0].Sockets == 0 && list[1].Sockets == 1 && list[2].Sockets == 1
	})
	eve.hangUp() // online and offline again before any event was confirmed
	testkit.Await(t, "eve to be gone", func() bool {
		list, err := b.present.Users(t.Context(), []string{"eve"})
		return err == nil && list[0].Sockets == 0
	})
	w.services.set(false, false)
	w.services.await(t, "user:ann", "user.online 1", "user.offline 0")
	w.services.await(t, "user:bob", "user.online 1")
	if got := w.services.history("user:eve"); len(got) != 0 {
		t.Errorf("events of eve: %q, want none", got)
	}
	bob.hangUp()
	w.services.await(t, "user:bob", "user.online 1", "user.offline 0")
}

func TestPresenceOfANodeThatLeavesIsRemoved(t *testing.T) {
	w := newServicesWorld(t, time.Millisecond)
	a, b := w.node(), w.node()
	a.connect("ann")
	w.services.await(t, "user:ann", "user.online 1")
	a.close()
	w.services.await(t, "user:ann", "user.online 1", "user.offline 0")
	keys := func(pattern string) string {
		found, err := w.redis.CLI("-n", "1", "--scan", "--pattern", w.prefix+pattern)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	testkit.Await(t, "everything to be confirmed", func() bool { return keys("*untold*") == "" })
	b.close()
	for key := range strings.FieldsSeq(keys("*presence*")) {
		if !strings.HasSuffix(key, ":of:user:ann") { // the time at which she was last seen
			t.Errorf("Redis still has the key %s", key)
		}
	}
}

// Clients connect and close at random, while nodes crash, lose Redis, or their
// commands arrive late, and RabbitMQ is down or loses confirms. The events of
// each user and room must alternate, and end with who is connected.
func TestPresenceWithRandomClientsAndFaults(t *testing.T) {
	w := newWorld(t)
	w.services = &fakeServices{grace: 20 * time.Millisecond}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var proxies []*testkit.Proxy // of each node
	start := func() (*node, *testkit.Proxy) {
		proxy := newProxy(t, w.redis)
		return w.node(viaProxy(proxy)), proxy
	}
	var nodes []*node
	for range 3 {
		n, proxy := start()
		nodes, proxies = append(nodes, n), append(proxies, proxy)
	}
	online := make(map[*client]string) // each connected client, with the room it has joined
	perNode := make(map[*node][]*client)
	for step := range 3000 {
		i := r.IntN(len(nodes))
		n := nodes[i]
		switch k := r.IntN(1000); {
		case k < 450:
			c := n.connect(fmt.Sprint("u", r.IntN(100)))
			room := fmt.Sprint(r.IntN(20))
			c.send("join_room", room)
			online[c] = room
			perNode[n] = append(perNode[n], c)
		case k < 990 && len(perNode[n]) > 0:
			at := r.IntN(len(perNode[n]))
			c := perNode[n][at]
			perNode[n] = slices.Delete(perNode[n], at, at+1)
			delete(online, c)
			c.hangUp()
		case k < 993:
			w.services.set(r.IntN(2) == 0, r.IntN(2) == 0)
		case k < 995: // its commands arrive late, perhaps after its lease has ended
			proxies[i].Hold()
		case k < 997:
			proxies[i].Cut()
		case k < 998:
			for _, proxy := range proxies {
				proxy.Heal()
			}
		case step > 500: // a crash
			for _, c := range perNode[n] {
				delete(online, c)
			}
			delete(perNode, n)
			n.halt()
			proxies[i].Heal()
			nodes[i], proxies[i] = start()
		}
	}
	w.services.set(false, false)
	for _, proxy := range proxies {
		proxy.Heal()
	}
	want := make(map[string]bool)
	for c, room := range online {
		want["user:"+strings.SplitN(c.name, " ", 2)[0]] = true
		want["conversation:"+room] = true
	}
	testkit.Await(t, "the events to match the connected clients", func() bool { return maps.Equal(w.services.states(t), want) || t.Failed() })
	got := w.services.states(t)
	if !maps.Equal(got, want) {
		t.Errorf("according to the events %v have members, want %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
	for _, n := range nodes {
		t.Logf("%s: %+v", n.name, n.present.Stats())
	}
	t.Logf("%d events, %d rooms", w.services.count(), len(want))
}

func TestPresenceOfANodeThatIsCutOffFromRedis(t *testing.T) {
	w := newServicesWorld(t, time.Millisecond)
	proxy := newProxy(t, w.redis)
	a, b := w.node(viaProxy(proxy)), w.node()
	a.connect("ann")
	w.services.await(t, "user:ann", "user.online 1")
	testkit.Await(t, "b to have renewed its session for a lease", func() bool { return b.present.steadyFor(2 * time.Second) })
	proxy.Hold()
	w.services.await(t, "user:ann", "user.online 1", "user.offline 0")
	proxy.Heal() // held commands are executed late
	w.services.await(t, "user:ann", "user.online 1", "user.offline 0", "user.online 1")
}

func TestNoPresenceEventForAShortLossOfRedis(t *testing.T) {
	w := newServicesWorld(t, time.Millisecond)
	proxy := newProxy(t, w.redis)
	a, _ := w.node(viaProxy(proxy)), w.node()
	ann := a.connect("ann")
	ann.do("join_room", "1")
	w.services.await(t, "conversation:1", "room.occupied 1")
	sessions := a.present.Stats().Sessions
	proxy.Cut()
	proxy.Heal()
	bob := a.connect("bob")
	w.services.await(t, "user:bob", "user.online 1") // written in the next session
	testkit.Await(t, "the next session", func() bool { return a.present.Stats().Sessions > sessions })
	bob.hangUp()
	w.services.await(t, "user:bob", "user.online 1", "user.offline 0")
	for _, room := range []string{"user:ann", "conversation:1"} {
		if got := w.services.history(room); len(got) != 1 {
			t.Errorf("events of %s after a short loss of Redis: %q, want only the first", room, got)
		}
	}
}
