package cluster

import (
	"context"
	"sync"

	"github.com/hometrip/gateway/rooms"
)

// Deliver hands an event of a service to the shards that hold its room, as
// rooms.Hub.Deliver does, and has it published to the other nodes that do,
// again and again until Redis has taken it. It waits while too much is on its
// way already. The number is that of the shards.
//
// An event for a room that this node holds alone costs no command, as a
// client's: whoever enters elsewhere asks here before the join is acknowledged.
// An order goes to every node; one that lasts is with Redis before.
func (c *Cluster) Deliver(ctx context.Context, b rooms.Broadcast) (int, error) {
	if err := c.local.Wait(ctx); err != nil {
		return 0, err
	}
	shards := 0
	if b.Order == nil {
		shards = c.local.Deliver(b)
	} else if err := c.local.Obey(*b.Order); err != nil {
		return 0, err
	} else {
		c.note(b.Order)
	}
	if c.alone() || b.Order == nil && !c.Elsewhere(b.Room) {
		return shards, nil
	}
	f := c.flights.board()
	if err := c.lane(b.Room).wait(ctx, letter{Broadcast: b, flight: f}); err != nil {
		c.flights.land(f)
		return shards, err
	}
	return shards, nil
}

// Sync calls done, from any goroutine, when everything that this goroutine has
// delivered before is with the sinks of this node's members, and published to
// every other node that holds the rooms. While Redis is away that is not so.
func (c *Cluster) Sync(ctx context.Context, done func()) error {
	f := c.flights.close(done)
	c.flights.hold(f)
	err := c.local.Wait(ctx)
	if err != nil {
		c.flights.cancel(f)
	} else {
		c.local.Sync(func() { c.flights.land(f) })
	}
	c.flights.land(f) // it may leave now
	return err
}

// A flight is what was delivered between two Syncs, whoever called. Guarded by
// the mutex of flights.
type flight struct {
	left int     // what it waits for: its letters, its Sync, the flight before
	next *flight // nil as long as it is the last
	done func()
}

// flights keeps them in order. Safe for concurrent use.
type flights struct {
	mu   sync.Mutex
	last *flight
}

func newFlights() *flights { return &flights{last: &flight{left: 1}} }

// board takes a letter into the flight that is open.
func (fs *flights) board() *flight {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.last.left++
	return fs.last
}

// hold has a flight wait for one thing more.
func (fs *flights) hold(f *flight) {
	fs.mu.Lock()
	f.left++
	fs.mu.Unlock()
}

// close ends boarding and returns the flight, which calls done when nothing is
// left. The caller's land is what it still waits for.
func (fs *flights) close(done func()) *flight {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f := fs.last
	f.done = done
	f.next = &flight{left: 2} // until it is closed, and until f is through
	fs.last = f.next
	return f
}

// cancel has a flight call nobody, and what it was to wait for in Sync land.
func (fs *flights) cancel(f *flight) {
	fs.mu.Lock()
	f.done = nil
	fs.mu.Unlock()
	fs.land(f)
}

// land tells that one thing a flight waits for has happened.
func (fs *flights) land(f *flight) {
	for f != nil {
		fs.mu.Lock()
		f.left--
		through := f.left == 0
		done, next := f.done, f.next
		fs.mu.Unlock()
		if !through {
			return
		}
		if done != nil {
			done()
		}
		f = next
	}
}
