package cluster

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hometrip/gateway/rooms"
)

const (
	letterBatch = 256       // messages a lane publishes at once
	byteBatch   = 256 << 10 // bytes of these
	writeBatch  = 512       // changes of the directory a lane makes at once

	// retryDelay is between two attempts while Redis fails.
	retryDelay = 50 * time.Millisecond
)

// A letter is a message on its way to the nodes that hold its room, or a
// question to them, or an answer to one of them.
type letter struct {
	rooms.Broadcast
	number   uint64
	members  int     // of its room on this node
	flight   *flight // nil: a client's, which may be dropped
	question bool    // there is no message
	waiter   *waiter // of a question; may be nil
	answer   uint32  // not 0: an answer to this node, whose question has the number
	at       int     // of its room in the reading
}

// size is the bytes of its message or order.
func (x *letter) size() int {
	switch {
	case x.Message != nil:
		return x.Message.Size()
	case x.Order != nil:
		return orderHead + len(x.Order.User) + len(x.Order.TokenID) + len(x.Order.Reason)
	}
	return 0
}

// An entry is a room that this node holds, or has held shortly before.
// Guarded by its lane's mutex.
type entry struct {
	occupied bool
	queued   bool  // stands in changed
	telling  bool  // the directory is being told that it is occupied
	wrote    int64 // the session for which the directory has it; 0: not sure for any
	known    int64 // the session for which the other nodes have noticed it, too

	sight  sight   // what the directory said of other nodes
	epoch  uint64  // at which it did
	others []int64 // the sessions it named; for theirs

	vacant time.Duration // since when, rooms.Monotonic, unless occupied

	members    int // on this node, if it is a room that counts them
	told       int // what the other nodes were told; -1: they may know nothing
	recounting bool
	tallies    []tally
}

// sight is what a lane has seen of a room in the directory.
type sight uint8

const (
	unseen  sight = iota
	looking       // being read
	ours          // no other node holds it, and this one is there to be asked
	theirs        // others hold it
	doubted       // another node has sent something, so memory may be behind
	fencing       // being read again behind a command, which settles the doubt
)

// A due is a room that wants to be looked at when its time has come.
type due struct {
	room string
	at   time.Time
}

// A lane is what waits for Redis about some of the rooms: their changes in the
// directory, and messages to them. Its goroutine alone speaks to Redis, so
// that what happens to a room keeps its order.
type lane struct {
	c     *Cluster
	index int
	wake  chan struct{} // has a token when there is work
	space chan struct{} // has a token when letters were taken out

	mu        sync.Mutex // guards the following
	held      map[string]*entry
	changed   []string // rooms that the directory has to be told of
	queue     []letter
	bytes     int // of the queue's messages
	lingering []due
	recounts  []due
	late      []*waiter          // all that wait, the oldest first
	asked     map[uint64]*waiter // questions that are on their way, by number

	// Owned by the goroutine of run.
	session int64        // that todo is of
	todo    []string     // rooms to be registered in a new session
	told    bool         // the keeper knows that there are none left
	number  uint64       // of the last letter
	ahead   int          // changes that are to be written before batch is published
	batch   []letter     // being published
	sending atomic.Int64 // len of batch, for everybody
	parking atomic.Bool  // something is parked
	parked  map[uint32][]parcel
	dead    map[string][]int64 // sessions found in the directory that are dead
	early   []*waiter          // whose rooms the directory does not have yet
	reading reading
	last    map[uint32]int // for packing
}

func newLane(c *Cluster, index int) *lane {
	return &lane{
		c: c, index: index,
		wake: make(chan struct{}, 1), space: make(chan struct{}, 1),
		held:    make(map[string]*entry),
		asked:   make(map[uint64]*waiter),
		parked:  make(map[uint32][]parcel),
		dead:    make(map[string][]int64),
		last:    make(map[uint32]int),
		reading: reading{index: make(map[string]int)},
	}
}

func (l *lane) ring() { offer(l.wake) }

// offer puts a token into a channel that holds one.
func offer(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// occupied notes that a shard has a member in room: see rooms.Cluster.
func (l *lane) occupied(room string) bool {
	v := l.c.view.Load()
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.held[room]
	if e == nil {
		e = &entry{}
		l.held[room] = e
	}
	e.occupied = true
	if v != nil && e.known == v.session {
		return true
	}
	if !e.telling && (v == nil || e.wrote != v.session) {
		l.change(room, e)
	}
	return l.c.away.Load()
}

// vacated notes that nobody is in room any more. The directory is told when
// nobody has come back for a while.
func (l *lane) vacated(room string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.held[room]; e != nil {
		now := time.Now()
		e.occupied, e.vacant, e.members = false, rooms.Monotonic(now), 0
		l.recount(room, e)
		l.lingering = append(l.lingering, due{room, now.Add(l.c.config.Linger)})
	}
}

// change has the directory told. l.mu is held.
func (l *lane) change(room string, e *entry) {
	if !e.queued {
		e.queued = true
		l.changed = append(l.changed, room)
		l.ring()
	}
}

// elsewhere reports whether another node may hold room. That none does holds
// as long as this node has its lease: of a node without, nothing is asked.
func (l *lane) elsewhere(room string) bool {
	if v := l.c.view.Load(); v == nil || time.Since(v.taken) >= l.c.config.Lease {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.held[room]
	return e == nil || !l.owns(e)
}

// owns reports whether no other node holds a room, as far as memory goes. l.mu
// is held.
func (l *lane) owns(e *entry) bool { return e.sight == ours && e.epoch == l.c.epoch.Load() }

// forget is called when a room has changed in the directory.
func (l *lane) forget(room string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.held[room]; e != nil {
		e.sight = unseen
	}
}

// heard is called when another node has sent something to a room. That may
// come before the invalidation which tells that it has entered the room.
func (l *lane) heard(room string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.doubt(room)
}

// doubt has the lane look again, even if it is looking. l.mu is held.
func (l *lane) doubt(room string) {
	if e := l.held[room]; e != nil && e.sight != theirs {
		e.sight = doubted
	}
}

// post queues a client's broadcast, or drops it when the queue is full; what
// is volatile when it is half full.
func (l *lane) post(b rooms.Broadcast) {
	l.mu.Lock()
	full := l.full(1)
	if b.Message.Volatile {
		full = l.full(2)
	}
	if !full {
		l.put(letter{Broadcast: b})
	}
	l.mu.Unlock()
	if full {
		l.c.stats.dropped[DropQueueFull].Add(1)
	}
}

// wait queues an event of a service as soon as there is room.
func (l *lane) wait(ctx context.Context, x letter) error {
	for {
		l.mu.Lock()
		full := l.full(1)
		if !full {
			l.put(x)
		}
		l.mu.Unlock()
		if !full {
			return nil
		}
		select {
		case <-l.space:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// full reports whether the queue holds a share of what it may. l.mu is held.
func (l *lane) full(share int) bool {
	c := &l.c.config
	return len(l.queue) >= max(c.MaxQueue/laneCount/share, 1) || l.bytes >= c.MaxBytes/laneCount/share
}

// put queues a letter. l.mu is held.
func (l *lane) put(x letter) {
	l.queue = append(l.queue, x)
	l.bytes += x.size()
	l.ring()
}

// take moves waiting letters to the batch and numbers them.
func (l *lane) take() {
	l.mu.Lock()
	defer l.mu.Unlock()
	size, n := 0, 0
	for n < len(l.queue) && n < letterBatch && size < byteBatch {
		x := &l.queue[n]
		size += x.size()
		e := l.held[x.Room]
		if e != nil {
			x.members = e.members
		}
		if x.answer == 0 {
			l.number++
			x.number = l.number
			if e != nil {
				e.told = e.members
			}
		}
		n++
	}
	if n == 0 {
		return
	}
	l.batch = append(l.batch, l.queue[:n]...)
	l.sending.Store(int64(n))
	l.queue = slices.Delete(l.queue, 0, n)
	l.bytes -= size
	l.ahead = len(l.changed)
	offer(l.space)
}

// tick does what is due: it is called every clockInterval by another
// goroutine than the lane's.
func (l *lane) tick(now time.Time) {
	l.mu.Lock()
	n, all := 0, l.c.away.Load()
	for n < len(l.late) && (all || !now.Before(l.late[n].until)) {
		n++
	}
	late := slices.Clone(l.late[:n])
	l.late = slices.Delete(l.late, 0, n)
	for _, w := range late {
		delete(l.asked, w.number)
	}
	known := l.giveUp()
	n = 0
	for n < len(l.lingering) && !now.Before(l.lingering[n].at) {
		room := l.lingering[n].room
		if e := l.held[room]; e != nil && e.overdue(now, l.c.config.Linger) {
			l.change(room, e)
		}
		n++
	}
	l.lingering = slices.Delete(l.lingering, 0, n)
	l.tellMembers(now)
	l.mu.Unlock()
	for _, w := range known {
		w.tell()
	}
	for _, w := range late {
		if w.tell() {
			l.c.stats.joinsLate.Add(1)
		}
	}
	if l.parking.Load() {
		l.ring()
	}
}

// overdue reports whether nobody has come back in time.
func (e *entry) overdue(now time.Time, linger time.Duration) bool {
	return !e.occupied && rooms.Monotonic(now)-e.vacant >= linger
}

func (l *lane) len() (queued, rooms int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(len(l.queue)) + l.sending.Load(), int64(len(l.held))
}
