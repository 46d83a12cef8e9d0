package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hometrip/gateway/bench/harness"
)

const (
	probeRoom   = 0 // with a member on each node, who stays with it
	roomSize    = 16
	probeRate   = 10.0 // events a second
	arrivalRate = 300  // clients a second at the start

	seatLimit    = 5 * time.Minute // for all to be in their rooms
	roundLimit   = 3 * time.Minute // for a round to be over once the fault is
	pollInterval = 20 * time.Millisecond
	orderChecks  = 500 * time.Millisecond
)

// options are what one run may vary.
type options struct {
	seed     uint64
	duration time.Duration // in which rounds begin
	clients  int
	nodes    int
	rate     float64       // events a second
	calm     time.Duration // after each round, and without an event at the end
	kinds    []*faultKind
	settings []string // of the gateways, beside those of the cluster
}

// A round is one or two faults at once, and the recovery.
type round struct {
	faults        []*fault
	began, healed time.Duration

	recovered time.Duration // a new event has reached a member on every gateway
	seated    time.Duration // and all clients are in their rooms
	over      time.Duration // and the gateways see each other, and have delivered the events of the round

	// Set by the judge.
	slowest time.Duration // of its events, to a client that was in its room
	ended   int           // connections of clients
	returns tally         // of these clients, within the window
	lost    int           // deliveries, with reason
	wrong   int           // without
}

// A scenario is one run of the command: the cluster, the clients and the rounds of
// faults. Owned by the main goroutine.
type scenario struct {
	options
	clock
	cluster *cluster
	book    *book
	pool    *clientPool
	clients []*client // the probes first
	rounds  []*round
	before  []figures // of the nodes
	after   []figures
	failed  []string // what went wrong beside deliveries
}

// newScenario starts the cluster, which end stops, and makes the clients.
func newScenario(o options, program, dir string) (s *scenario, end func(), err error) {
	t, err := newCluster(o, program, dir)
	if err != nil {
		return nil, nil, err
	}
	s = &scenario{options: o, clock: clock{time.Now()}, cluster: t}
	s.pool = &clientPool{clock: s.clock, nodes: t.nodes}
	rooms := 1 + (o.clients+roomSize-1)/roomSize
	s.book = &book{clock: s.clock, rooms: make([][]event, rooms)}
	for i := range o.nodes {
		s.clients = append(s.clients, s.pool.client(o.seed, i, probeRoom, i))
	}
	for i := range o.clients {
		s.clients = append(s.clients, s.pool.client(o.seed, o.nodes+i, 1+i%(rooms-1), -1))
	}
	return s, t.close, nil
}

// run runs the scenario. Everything is left for the judge.
func (s *scenario) run() error {
	ctx, leave := context.WithCancel(context.Background())
	var all sync.WaitGroup
	defer all.Wait()
	defer leave()
	for i, c := range s.clients {
		all.Go(func() {
			if sleep(ctx, time.Duration(i)*time.Second/arrivalRate) {
				c.run(ctx)
			}
		})
	}
	if !s.await(seatLimit, s.allSeated) {
		return fmt.Errorf("%d of %d clients are in their rooms after %v", s.seated(), len(s.clients), seatLimit)
	}
	var err error
	if s.before, err = s.figures(); err != nil {
		return err
	}
	stop := s.publish()
	defer stop()
	if err := s.playRounds(); err != nil {
		return err
	}
	s.awaitOrder()
	stop()
	s.awaitQuiet()
	s.after, err = s.figures()
	return err
}

// publish starts the services; what it returns ends them, once.
func (s *scenario) publish() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { s.book.publish(ctx, s.cluster.broker.URL, []int{probeRoom}, probeRate) })
	rooms := len(s.book.rooms) - 1
	for i := range min(services, rooms) {
		var own []int
		for room := 1 + i; room <= rooms; room += services {
			own = append(own, room)
		}
		all.Go(func() { s.book.publish(ctx, s.cluster.broker.URL, own, s.rate*float64(len(own))/float64(rooms)) })
	}
	return sync.OnceFunc(func() { cancel(); all.Wait() })
}

// playRounds runs one round after the other.
func (s *scenario) playRounds() error {
	p := newPlan(s.seed, s.kinds, s.nodes)
	begin := s.now()
	s.recover(&round{}) // the first events have come
	for ended := false; !ended && len(s.failed) == 0; {
		ended = s.now()-begin >= s.duration
		next := p.next
		if ended {
			next = p.last
		}
		r := &round{faults: next(), began: s.now()}
		s.rounds = append(s.rounds, r)
		if err := s.inject(r); err != nil {
			return err
		}
		s.recover(r)
		fmt.Println(r.line())
		time.Sleep(s.calm)
	}
	return nil
}

// inject injects the faults of a round, and undoes them.
func (s *scenario) inject(r *round) error {
	errs := make([]error, len(r.faults))
	var all sync.WaitGroup
	for i, h := range r.faults {
		all.Go(func() { errs[i] = s.carryOut(h) })
	}
	all.Wait()
	r.healed = s.now()
	return errors.Join(errs...)
}

func (s *scenario) carryOut(h *fault) error {
	var n *node
	if h.node >= 0 {
		n = s.cluster.nodes[h.node]
	}
	time.Sleep(h.after)
	h.began = s.now()
	err := h.do(s.cluster, n)
	if err == nil {
		time.Sleep(h.lasts)
		err = h.undo(s.cluster, n)
	}
	h.healed = s.now()
	if err != nil {
		return fmt.Errorf("%v: %w", h, err)
	}
	return nil
}

// recover waits until the round is over.
func (s *scenario) recover(r *round) {
	first := int64(s.book.next(probeRoom)) // published from now on
	for _, step := range []struct {
		at    *time.Duration
		what  string
		holds func() bool
	}{
		{&r.recovered, "an event has reached a member on every gateway", func() bool {
			return !slices.ContainsFunc(s.clients[:s.nodes], func(c *client) bool { return !c.gone() && c.last.Load() < first })
		}},
		{&r.seated, "all clients are in their rooms", s.allSeated},
		{&r.over, "the gateways see each other, and have delivered what any of them has", s.settled()},
	} {
		if !s.await(roundLimit, step.holds) {
			s.fail("%v after %v it is not so that %s", roundLimit, r, step.what)
		}
		*step.at = s.now()
	}
}

// settled returns what reports whether each gateway sees all others and no dead
// one, and then has delivered what any of them had delivered by the time they
// do.
func (s *scenario) settled() func() bool {
	var due float64
	return func() bool {
		all, err := s.figures()
		if err != nil || slices.ContainsFunc(all, func(f figures) bool { return f.there() && f.nodes() != s.there() }) {
			return false
		}
		if due == 0 {
			for _, f := range all {
				due = max(due, f.position())
			}
		}
		return !slices.ContainsFunc(all, func(f figures) bool { return f.there() && f.position() < due })
	}
}

// awaitQuiet waits until nothing comes any more.
func (s *scenario) awaitQuiet() {
	got := s.pool.got.Load()
	for since := s.now(); s.now()-since < s.calm; time.Sleep(pollInterval) {
		if now := s.pool.got.Load(); now != got {
			got, since = now, s.now()
		}
	}
}

func (s *scenario) await(limit time.Duration, holds func() bool) bool {
	return harness.Await(limit, pollInterval, holds)
}

func (s *scenario) allSeated() bool { return s.seated() == len(s.clients) }

// seated is the number of clients that are in their room, or nowhere if they
// stay with a gateway that was killed for good.
func (s *scenario) seated() (n int) {
	for _, c := range s.clients {
		at := c.at.Load()
		if c.gone() && at < 0 || !c.gone() && at >= 0 && !s.cluster.nodes[at].gone.Load() {
			n++
		}
	}
	return n
}

// there is the number of gateways that were not killed for good.
func (s *scenario) there() (n int) {
	for _, node := range s.cluster.nodes {
		if !node.gone.Load() {
			n++
		}
	}
	return n
}

// figures returns those of each gateway, none of one that was killed for good.
func (s *scenario) figures() (all []figures, err error) {
	for _, n := range s.cluster.nodes {
		var f figures
		if !n.gone.Load() {
			if f, err = n.figures(); err != nil {
				return nil, err
			}
		}
		all = append(all, f)
	}
	return all, nil
}

func (s *scenario) fail(format string, args ...any) {
	s.failed = append(s.failed, fmt.Sprintf(format, args...))
}

func (r *round) String() string {
	var names []string
	for _, h := range r.faults {
		name := h.String()
		if h.after > 0 {
			name += fmt.Sprintf(" (%s later)", seconds(h.after))
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

// line is for standard output, as the round is over.
func (r *round) line() string {
	return fmt.Sprintf("%7s %s: events on every gateway after %s, all clients back after %s, settled after %s",
		seconds(r.began), r, seconds(r.recovered-r.healed), seconds(r.seated-r.healed), seconds(r.over-r.healed))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
