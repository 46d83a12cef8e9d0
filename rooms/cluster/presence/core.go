package presence

import (
	"slices"
	"strconv"
	"time"

	"github.com/hometrip/gateway/internal/backoff"
	"github.com/hometrip/gateway/internal/shrink"
	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

const (
	partitions = 16

	writeBatch   = 256 // rooms in a batch
	writeFlights = 2   // batches under way

	// lazyTime is how long the write of a count is delayed that is neither the
	// first nor the last of this node: it causes no event.
	lazyTime = time.Second

	retryMin = 50 * time.Millisecond // pause after a failure
	retryMax = time.Second

	renewalsPerLease = 5

	// maxFormer is how many former sessions this node removes itself. Other
	// nodes remove older ones, when their lease has ended.
	maxFormer = 4

	// claimTime is how long a node may take to publish an event before others
	// publish it again.
	claimTime = 3 * time.Second

	tellWindow = 256     // events under way
	maxDue     = 1 << 16 // rooms in memory whose events are to be published; others are found in Redis

	lookInterval = time.Second // between two searches for rooms whose event was not published
	lookSlack    = time.Second // how long the node that wrote a change has before others publish it
	lookLimit    = 64          // rooms of a partition

	sweepBatch = 64 // rooms of a partition
)

// A Config is the configuration of a Core. All fields but the last two are
// needed.
type Config struct {
	Names wire.Names
	Node  string        // names this process
	Lease time.Duration // a node whose lease was not renewed for that long is dead

	Grace    time.Duration // how long user.offline and room.vacated are delayed
	LastSeen time.Duration // how long it is kept when a user was last online
}

// A Command is a command for Redis, or a script with its keys.
type Command struct {
	Script Script // none: the command
	wire.Command
}

// A Batch is commands that are sent together and answered once.
type Batch struct {
	ID       uint64
	Commands []Command
}

// A room is one in which this node has sockets, or had sockets that Redis still
// counts.
type room struct {
	name    string
	index   int    // in Core.all
	count   int    // sockets here
	written int    // the count that Redis has for the session
	session uint64 // of written; another one's counts as 0
	queued  bool   // stands in Core.queue
	lazy    bool   // stands in Core.lazy
	flying  bool
}

// A due is something that is to be looked at again at a time.
type due struct {
	room string
	at   time.Time
}

// A Core is one node's part. Its methods must not be called at the same time.
type Core struct {
	c Config

	session uint64 // count of this node's sessions; the current one
	former  []uint64
	known   bool // Redis has the session
	failed  bool // something has failed since the session began
	retry   time.Time
	retries backoff.Backoff
	steady  time.Time // since when nothing has failed; zero: something has
	renewal time.Time
	renewed time.Time // when the renewal was sent that was the last to succeed

	rooms     map[string]*room
	all       []*room // in an order that the inputs decide
	peak      shrink.Peak
	queue     []*room // to be written
	lazy      []due
	leaving   bool
	left      bool
	inFlights int // of writes

	tell    teller
	sweep   sweep
	forgets []string // sessions that were removed, to be taken out of the list

	flights map[uint64]*flight
	batches uint64
	ids     uint64 // of events
	Stats   Stats
}

// Stats are counters.
type Stats struct {
	Told     int64 // events that RabbitMQ has confirmed
	Failed   int64 // events that it has not, which are published again
	Swept    int64 // sessions of dead nodes that were removed
	Sessions int64 // of this node
	Rooms    int   // of this node, users' own included
}

// A flight is a batch under way.
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
	removals  // of rooms of a session that is swept
	forgotten // sessions that were removed
	farewell
)

// New makes a core of which Redis knows nothing yet.
func New(c Config) *Core {
	n := &Core{c: c, session: 1, retries: backoff.Backoff{Min: retryMin, Max: retryMax}, rooms: make(map[string]*room), flights: make(map[uint64]*flight)}
	n.Stats.Sessions = 1
	n.tell.busy = make(map[string]bool)
	return n
}

// Of reports whether presence is counted for a room: a user's own, or one that
// clients join.
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
	case count == 0 && r.written == 0: // Redis has never heard of it
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

// writtenOf returns the count that Redis has of a room for the current session.
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

// compact removes forgotten rooms from the queue if they are many.
func (n *Core) compact() {
	if len(n.queue) > 2*len(n.rooms)+writeBatch {
		n.queue = slices.DeleteFunc(n.queue, func(r *room) bool { return n.rooms[r.name] != r })
	}
}

// drop forgets a room that has no sockets and that Redis does not have. The last
// room of all moves into the gap.
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

// Steady reports whether nothing has failed for that long.
func (n *Core) Steady(d time.Duration, now time.Time) bool {
	return !n.steady.IsZero() && now.Sub(n.steady) >= d
}

// Len returns the number of rooms of this node.
func (n *Core) Len() int { return len(n.rooms) }

// Tick does what is due.
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

// Take returns a batch that is to be sent now. It is called until there is
// none.
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
	case now.Sub(n.renewed) >= n.c.Lease: // they may have removed the session
		return b, false
	case n.inFlights < writeFlights && n.writes(f, &b):
	case n.confirms(f, &b):
	case n.claims(f, &b):
	case n.looks(f, &b, now):
	case n.sweeps(f, &b):
	case n.forget(f, &b):
	default:
		return b, false
	}
	n.batches++
	b.ID = n.batches
	n.flights[b.ID] = f
	if f.what == writes {
		n.inFlights++
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

// Lost records that Redis may have lost what was written: the connection was
// lost, or the database flushed.
func (n *Core) Lost(now time.Time) { n.fail(now) }

// fail makes this node begin another session when Redis answers again.
func (n *Core) fail(now time.Time) {
	n.failed, n.steady = true, time.Time{}
	n.retry = now.Add(n.retries.Next())
	n.renewal = time.Time{}
	n.sweep.stop()
}

// begin begins the next session, for which all counts are written again.
func (n *Core) begin(now time.Time) {
	if n.known { // else nothing was written in it
		n.former = append(n.former, n.session)
		n.former = n.former[max(0, len(n.former)-maxFormer):]
	}
	n.session++
	n.Stats.Sessions++
	n.known, n.failed, n.renewal = false, false, time.Time{}
	n.sweep.stop()
	for _, r := range n.all {
		if !r.flying {
			n.enqueue(r)
		}
	}
}

func (n *Core) sessionName(session uint64) string {
	return n.c.Node + "." + strconv.FormatUint(session, 36)
}

// renews fills a batch with the renewal of the lease.
func (n *Core) renews(f *flight, b *Batch, now time.Time) bool {
	if now.Before(n.renewal) || n.under(renewals) || n.under(farewell) {
		return false
	}
	if n.failed {
		n.begin(now)
	}
	f.what, f.session = renewals, n.session
	sweeps := n.Steady(n.c.Lease, now) && n.sweep.session == "" && len(n.forgets) == 0 && !n.under(forgotten)
	args := []string{n.sessionName(n.session), wire.Decimal(n.c.Lease.Milliseconds()), bit(n.known), bit(sweeps)}
	for _, s := range n.former {
		args = append(args, n.sessionName(s))
	}
	b.Commands = []Command{n.script(renew, []string{n.sessionsKey(), n.lockKey()}, args...)}
	return true
}

// under reports whether a batch of a kind is under way.
func (n *Core) under(kind what) bool {
	for _, f := range n.flights {
		if f.what == kind {
			return true
		}
	}
	return false
}

func (n *Core) tookRenewal(f *flight, replies []wire.Reply, err error, now time.Time) {
	switch {
	case err != nil || f.session != n.session:
	case replies[0].Text == "gone":
		n.begin(now)
	default:
		n.known, n.renewed = true, f.sent
		if n.steady.IsZero() {
			n.steady = now
		}
		n.renewal = now.Add(n.c.Lease / renewalsPerLease)
		if dead := replies[0].Text; dead != "" {
			n.sweep.start(dead, 0)
		} else if n.sweep.session == "" && len(n.former) > 0 && n.registered() {
			n.sweep.start(n.sessionName(n.former[0]), n.c.Grace)
		}
	}
}

// registered reports whether Redis has the counts of all rooms.
func (n *Core) registered() bool {
	return n.known && !n.failed && len(n.queue) == 0 && n.inFlights == 0
}

// Next returns when Tick and Take are to be called; zero: not before there is
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

// Left reports whether Redis has nothing left of this node.
func (n *Core) Left() bool { return n.left }

// leaves fills a batch with the removal of the session, when nothing is left of
// it.
func (n *Core) leaves(f *flight, b *Batch) bool {
	if !n.leaving || len(n.rooms) > 0 || n.under(farewell) {
		return false
	}
	f.what = farewell
	b.Commands = []Command{n.command("ZREM", n.sessionsKey(), n.sessionName(n.session))}
	return true
}
