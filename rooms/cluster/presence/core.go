package presence

import (
	"slices"
	"time"

	"github.com/hometrip/gateway/internal/backoff"
	"github.com/hometrip/gateway/internal/shrink"
	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/rooms/cluster/pace"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

const (
	partitions = 16

	// mostUnderWay limits the rooms that are written at once when Redis is quick.
	// When it is late, package pace lowers the limit. writeBatch limits one batch.
	mostUnderWay = 512
	writeBatch   = 256

	// lazyTime is how long the write of a count is delayed if it is neither this
	// node's first nor its last in a room. Such a count causes no event.
	lazyTime = time.Second

	retryMin = 50 * time.Millisecond // pause after a failure
	retryMax = time.Second

	renewalsPerLease = 5

	// maxFormer is how many former sessions this node removes itself. Other
	// nodes remove older ones after their lease has ended.
	maxFormer = 4

	// claimTime is how long a node may take to publish an event before others
	// publish it again.
	claimTime = 3 * time.Second

	tellWindow = 256     // events that may be under way
	maxDue     = 1 << 16 // rooms in memory with an event to be published; further ones are found in Redis

	lookInterval = time.Second // pause between two searches for rooms with an unpublished event
	lookSlack    = time.Second // how long the node that wrote a change has to publish it before others do
	lookLimit    = 64          // rooms of a partition in one search

	sweepBatch = 64 // rooms of a partition in one step of a removal
)

// A Config is the configuration of a Core. Grace and LastSeen may be 0; the
// other fields are required.
type Config struct {
	Names wire.Names
	Node  string        // names this process
	Lease time.Duration // length of a lease; a node that does not renew it within that time is dead

	Grace    time.Duration // delay of user.offline and room.vacated
	LastSeen time.Duration // how long the time at which a user was last online is kept
}

// A Command is a command for Redis, or a script with its keys and arguments.
type Command struct {
	Script Script // none: the command below is sent
	wire.Command
}

// A Batch is a list of commands that are sent together and answered with one
// call of Reply.
type Batch struct {
	ID       uint64
	Commands []Command
}

// A room is a room in which this node has sockets, or had sockets that Redis
// still counts.
type room struct {
	name    string
	index   int    // index in Core.all
	count   int    // sockets on this node
	written int    // the count that Redis has for the session
	session uint64 // session for which written is valid; in another one, written counts as 0
	queued  bool   // the room is in Core.queue
	lazy    bool   // the room is in Core.lazy
	flying  bool
}

// A due is a room with the time at which it is to be handled again.
type due struct {
	room string
	at   time.Time
}

// A Core is the presence state of one node. It is not safe for concurrent use.
type Core struct {
	c Config

	session uint64 // number of the current session, counted from 1
	former  []uint64
	known   bool // Redis has the session
	failed  bool // something has failed since the session began
	retry   time.Time
	retries backoff.Backoff
	steady  time.Time // since when no command has failed; zero: one has failed since the last renewal
	renewal time.Time
	renewed time.Time // when the last successful renewal was sent

	rooms     map[string]*room
	all       []*room // the order depends only on the inputs
	peak      shrink.Peak
	queue     []*room // rooms to be written
	lazy      []due
	leaving   bool
	left      bool
	inFlights int         // writes under way
	window    pace.Window // rooms in writes and removals under way

	tell    teller
	sweep   sweep
	forgets []string // removed sessions that are still in the list of sessions

	flights map[uint64]*flight
	batches uint64
	ids     uint64 // of events
	Stats   Stats
}

// Stats are counters.
type Stats struct {
	Told     int64 // events that RabbitMQ has confirmed
	Failed   int64 // events that were not confirmed and are published again
	Swept    int64 // sessions of dead nodes that were removed
	Sessions int64 // of this node
	Rooms    int   // rooms of this node, including the users' own rooms
}

// A flight is a batch whose replies have not arrived.
type flight struct {
	what    what
	session uint64
	sent    time.Time
	rooms   []*room
	counts  []int
	names   []string // of rooms
	told    []string
}

type what uint8

const (
	writes what = iota
	renewals
	claims
	confirms
	looks
	sweeps
	removals  // removal of a session from its rooms
	forgotten // removal of sessions from the list of sessions
	farewell
)

// New returns a core that has not written anything to Redis.
func New(c Config) *Core {
	n := &Core{c: c, session: 1, retries: backoff.Backoff{Min: retryMin, Max: retryMax}, rooms: make(map[string]*room), flights: make(map[uint64]*flight), window: pace.NewWindow(mostUnderWay)}
	n.Stats.Sessions = 1
	n.tell.busy = make(map[string]bool)
	return n
}

// Of reports whether presence is counted for a room: it is a user's own room, or
// a room that clients join.
func Of(name string) bool { return rooms.OfUser(name) || rooms.OfClients(name) }

// Counted records how many sockets this node has in a room.
func (n *Core) Counted(name string, count int, now time.Time) {
	if n.leaving {
		return
	}
	r := n.rooms[name]
	if r == nil {
		if count == 0 {
			return
		}
		r = &room{name: name, index: len(n.all)}
		n.rooms[name] = r
		n.all = append(n.all, r)
	}
	before := r.count
	r.count = count
	switch {
	case r.flying:
	case count == 0 && r.written == 0: // nothing was written for the room
		n.drop(r)
		n.compact()
	case r.queued:
	case before > 0 && count > 0 && n.writtenOf(r) > 0:
		if !r.lazy {
			r.lazy = true
			n.lazy = append(n.lazy, due{name, now.Add(lazyTime)})
		}
	default:
		n.enqueue(r)
	}
}

// writtenOf returns the count that Redis has for a room in the current session.
func (n *Core) writtenOf(r *room) int {
	if r.session != n.session {
		return 0
	}
	return r.written
}

func (n *Core) enqueue(r *room) {
	if !r.queued {
		r.queued = true
		n.queue = append(n.queue, r)
	}
}

// compact removes forgotten rooms from the queue if there are many.
func (n *Core) compact() {
	if len(n.queue) > 2*len(n.rooms)+writeBatch {
		n.queue = slices.DeleteFunc(n.queue, func(r *room) bool { return n.rooms[r.name] != r })
	}
}

// drop forgets a room that has no sockets and that Redis does not have. The last
// room of all moves to its index.
func (n *Core) drop(r *room) {
	if n.rooms[r.name] != r {
		return
	}
	delete(n.rooms, r.name)
	n.rooms = shrink.Map(n.rooms, &n.peak)
	last := len(n.all) - 1
	n.all[r.index] = n.all[last]
	n.all[r.index].index = r.index
	n.all[last] = nil
	n.all = shrink.List(n.all[:last])
}

// Len returns the number of rooms of this node.
func (n *Core) Len() int { return len(n.rooms) }

// Tick queues the rooms whose time has come.
func (n *Core) Tick(now time.Time) {
	k := 0
	for ; k < len(n.lazy) && !now.Before(n.lazy[k].at); k++ {
		if r := n.rooms[n.lazy[k].room]; r != nil {
			if r.lazy = false; !r.flying {
				n.enqueue(r)
			}
		}
	}
	n.lazy = shrink.Queue(n.lazy, k)
	n.tell.wake(now)
}

// Take returns a batch that is to be sent now. It must be called until ok is
// false.
func (n *Core) Take(now time.Time) (b Batch, ok bool) {
	if n.left || now.Before(n.retry) {
		return b, false
	}
	f := &flight{session: n.session, sent: now}
	switch {
	case n.leaves(f, &b):
	case n.renews(f, &b, now):
	case !n.known: // the others would not know whose the counts are
		return b, false
	case now.Sub(n.renewed) >= n.c.Lease: // other nodes may have removed the session
		return b, false
	case n.writes(f, &b, min(n.window.Free(now), writeBatch)):
	case n.confirms(f, &b):
	case n.claims(f, &b):
	case n.looks(f, &b, now):
	case n.sweeps(f, &b, now):
	case n.forget(f, &b):
	default:
		return b, false
	}
	n.batches++
	b.ID = n.batches
	n.flights[b.ID] = f
	switch f.what {
	case writes:
		n.inFlights++
		n.window.Sent(len(b.Commands))
	case removals:
		n.window.Sent(len(b.Commands))
	}
	return b, true
}

// Reply handles the replies to a batch.
func (n *Core) Reply(id uint64, replies []wire.Reply, now time.Time) {
	f := n.flights[id]
	if f == nil {
		return
	}
	delete(n.flights, id)
	err := wire.FirstError(replies)
	if f.what == writes || f.what == removals {
		n.window.Done(len(replies), f.sent, now, err != nil)
	}
	switch f.what {
	case writes:
		n.inFlights--
		n.written(f, replies, err, now)
	case renewals:
		n.tookRenewal(f, replies, err, now)
	case claims:
		n.claimed(f, replies, err, now)
	case confirms:
		n.confirmed(f, replies, err, now)
	case looks:
		n.looked(f, replies, err, now)
	case sweeps, removals:
		n.swept(f, replies, err, now)
	case farewell:
		n.left = err == nil
	}
	if err != nil {
		n.fail(now)
	} else {
		n.retries.Reset()
	}
}

// under reports whether a batch of that kind is under way.
func (n *Core) under(kind what) bool {
	for _, f := range n.flights {
		if f.what == kind {
			return true
		}
	}
	return false
}

// Next returns when Tick and Take are to be called. Zero means not before
// another input.
func (n *Core) Next(now time.Time) (at time.Time) {
	consider := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	if n.left {
		return at
	}
	if now.Before(n.retry) {
		return n.retry
	}
	if !n.under(renewals) {
		consider(n.renewal)
	}
	if len(n.lazy) > 0 {
		consider(n.lazy[0].at)
	}
	if len(n.tell.later) > 0 {
		consider(n.tell.later[0].at)
	}
	if n.known && n.tell.ready {
		consider(n.tell.look)
	}
	return at
}

// Leave removes everything of this node from Redis.
func (n *Core) Leave() {
	if n.leaving {
		return
	}
	n.leaving = true
	for _, r := range n.all {
		if r.count = 0; !r.flying {
			n.enqueue(r)
		}
	}
}

// Left reports whether everything of this node was removed from Redis.
func (n *Core) Left() bool { return n.left }

// leaves fills a batch with the removal of the session from the list, after all
// its counts were removed.
func (n *Core) leaves(f *flight, b *Batch) bool {
	if !n.leaving || len(n.rooms) > 0 || n.under(farewell) {
		return false
	}
	f.what = farewell
	b.Commands = []Command{n.command("ZREM", n.sessionsKey(), n.sessionName(n.session))}
	return true
}
