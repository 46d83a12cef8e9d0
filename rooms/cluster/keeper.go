package cluster

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

const (
	// beatsPerLease is how often a lease is renewed while it lasts.
	beatsPerLease = 5

	// reconnectMin and reconnectMax bound the pause between two attempts.
	reconnectMin = 50 * time.Millisecond
	reconnectMax = time.Second

	// maxSuspects is how many unknown sessions are looked into at once.
	maxSuspects = 4096
	suspectTime = time.Minute

	// maxFormer is how many sessions of this node are remembered that may have
	// left something in the directory.
	maxFormer = 64

	// memoryLeases is how many leases long a node that has lost its own is
	// still published to when the directory is in doubt.
	memoryLeases = 3

	complaintInterval = 10 * time.Second // between two equal lines in the log
)

var (
	errNotSubscribed = errors.New("redis: not subscribed yet")
	errLeaseLost     = errors.New("redis: this node's lease has ended")
	errLost          = errors.New("redis: the session ended while it began")
)

// beatTimeout is how long Redis may owe the keeper an answer before it counts
// as away, which is sooner than the connection counts as dead.
func (c *Config) beatTimeout() time.Duration { return c.Server.AnswerTimeout * 2 / 5 }

// A keeper holds this node's lease, looks at those of the others, and begins a
// new session when Redis may have forgotten what it was told.
type keeper struct {
	c          *Cluster
	kick       chan struct{} // has a token when a beat should not wait
	subscribed atomic.Bool
	loaded     atomic.Int64 // session in which this node has read the orders; not positive: see unload

	mu         sync.Mutex          // guards the following
	losses     int                 // times a session was lost, or might have been
	fresh      bool                // the next beat begins a session
	sessions   []int64             // of this node, the current one last
	registered [laneCount]int64    // session of which each lane has all rooms in the directory
	suspects   map[int64]time.Time // sessions found in rooms, and when
	complaints map[string]time.Time

	// Owned by the goroutine of run.
	answeredAt time.Time
	warned     bool               // that Redis is away
	heardAt    time.Time          // when this node had its lease and its subscription last
	others     map[int64]struct{} // sessions of other nodes that were there then
	client     rueidis.Client
	subscriber rueidis.Client
	seen       map[uint32]time.Time // when other nodes had a lease last
	silent     map[int64]time.Time  // since when sessions in the set of nodes have had none
	sweeping   chan struct{}        // has room for one sweep
	sweeps     sync.WaitGroup       // and loads
	loading    chan struct{}        // has room for one load of the orders
}

func (k *keeper) init(c *Cluster) {
	*k = keeper{
		c: c, kick: make(chan struct{}, 1), fresh: true,
		suspects: make(map[int64]time.Time), complaints: make(map[string]time.Time),
		seen: make(map[uint32]time.Time), silent: make(map[int64]time.Time),
		sweeping: make(chan struct{}, 1), loading: make(chan struct{}, 1), others: make(map[int64]struct{}),
	}
}

// run is the keeper's goroutine.
func (k *keeper) run(ctx context.Context) {
	defer k.sweeps.Wait()
	k.answeredAt = time.Now() // it is not late before it was asked
	pause := reconnectMin
	for ctx.Err() == nil {
		err := k.beat(ctx)
		switch {
		case err == nil:
			pause = reconnectMin
			k.answered()
			k.wait(ctx, k.c.config.Lease/beatsPerLease)
		case errors.Is(err, errLeaseLost), errors.Is(err, errLost):
			k.wait(ctx, reconnectMin/10)
		default:
			k.failed(ctx, err)
			k.sleep(ctx, pause)
			pause = min(2*pause, reconnectMax)
		}
	}
}

func (k *keeper) wait(ctx context.Context, d time.Duration) {
	select {
	case <-k.kick:
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// sleep is wait that no kick shortens.
func (k *keeper) sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func (k *keeper) answered() {
	k.answeredAt, k.warned = time.Now(), false
	first := !k.c.reached.Swap(true)
	if k.c.away.CompareAndSwap(true, false) || first {
		k.c.config.Log.Info("redis connected", "node", k.c.node)
	}
}

func (k *keeper) failed(ctx context.Context, err error) {
	subscribing := errors.Is(err, errNotSubscribed) && time.Since(k.answeredAt) < k.c.config.beatTimeout()
	if ctx.Err() != nil || subscribing {
		return
	}
	k.c.stats.failures.Add(1)
	k.c.away.Store(true)
	if !k.warned {
		k.warned = true
		k.c.config.Log.Warn("redis is away: until it answers, this node serves its own clients only", "error", err)
		return
	}
	k.complain(err)
}

// complain logs an error, but not the same one again and again, and as a
// detail when it is known that Redis is away. The ports that change with each
// attempt do not make it another error.
func (k *keeper) complain(err error) {
	text := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, err.Error())
	k.mu.Lock()
	now := time.Now()
	last, known := k.complaints[text]
	quiet := known && now.Sub(last) < complaintInterval
	if !quiet {
		if len(k.complaints) >= 100 {
			clear(k.complaints)
		}
		k.complaints[text] = now
	}
	k.mu.Unlock()
	level := slog.LevelWarn
	if k.c.away.Load() {
		level = slog.LevelDebug
	}
	if !quiet {
		k.c.config.Log.Log(context.Background(), level, "redis", "error", err)
	}
}

// lose ends the session: what Redis was told in it may be gone. Safe to call
// from any goroutine, and while rueidis reads.
func (k *keeper) lose(why string) {
	k.mu.Lock()
	had := k.c.view.Swap(nil) != nil
	k.losses++
	k.fresh = true
	k.c.epoch.Add(1)
	k.mu.Unlock()
	offer(k.kick)
	if had {
		k.c.config.Log.Info("redis session lost", "why", why)
	}
}

// laneRegistered notes that a lane has no rooms left to register in a session.
func (k *keeper) laneRegistered(lane int, session int64) {
	k.mu.Lock()
	k.registered[lane] = session
	k.mu.Unlock()
	if k.isRegistered(session) {
		offer(k.kick)
	}
}

// isRegistered reports whether the directory has all rooms of this node.
func (k *keeper) isRegistered(session int64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range k.registered {
		if s != session {
			return false
		}
	}
	return true
}

// suspect has the keeper look at a session's lease.
func (k *keeper) suspect(session int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, known := k.suspects[session]; !known && len(k.suspects) < maxSuspects {
		k.suspects[session] = time.Now()
	}
}

// connect makes the two clients, unless they are there. They come back by
// themselves when a connection is lost.
func (k *keeper) connect(ctx context.Context) (err error) {
	server := k.c.config.Server
	if k.subscriber == nil {
		if k.subscriber, err = server.Open(0, nil); err != nil { // channels know no database
			return err
		}
		subscriber := k.subscriber
		k.c.done.Go(func() { k.subscribe(ctx, subscriber) })
	}
	if k.client == nil {
		k.client, err = server.Open(k.c.config.DB, k.c.invalidated)
	}
	return err
}

// beat renews the lease, or begins a session, and looks at the others.
func (k *keeper) beat(ctx context.Context) error {
	if err := k.connect(ctx); err != nil {
		return err
	}
	began := time.Now()
	k.mu.Lock()
	losses, session, old := k.losses, k.session(), k.c.view.Load()
	former := k.sessions[: len(k.sessions)-1 : len(k.sessions)-1]
	k.mu.Unlock()
	subscribed := k.subscribed.Load()
	if old == nil && !subscribed {
		return errNotSubscribed
	}
	if !subscribed && began.Sub(k.heardAt) > k.c.config.Lease { // nobody waits for it any longer
		k.lose("no subscription")
		return errLost
	}
	timed, cancel := context.WithTimeout(ctx, k.c.config.beatTimeout())
	defer cancel()
	registered := k.isRegistered(session)
	sessions, err := k.renew(timed, session, old != nil, registered || k.c.heldRooms() <= 1) // EveryNode
	if err != nil {
		return err
	}
	leases, err := k.leases(timed, session, sessions)
	if err != nil {
		return err
	}
	now := time.Now()
	v := &view{
		client: k.client, session: session, former: former, since: now, taken: began,
		sharded: k.client.Mode() == rueidis.ClientModeCluster,
	}
	if old != nil {
		v.since = old.since
	} else {
		for node := range k.seen { // their time runs again from now
			k.seen[node] = now
		}
	}
	k.fill(v, leases, now)
	if !k.show(v, losses, old == nil) {
		return errLost
	}
	if subscribed {
		k.hear(leases, began, now)
	}
	k.sweepUp(ctx, v, sessions, now)
	if registered && k.loaded.Load() != session {
		k.load(ctx, v)
	}
	if registered && len(former) > 0 {
		return k.forgetFormer(timed, v)
	}
	return nil
}

// load has the orders loaded, behind the beat, which must not wait. What fails
// is tried again at the next beat.
func (k *keeper) load(ctx context.Context, v *view) {
	select {
	case k.loading <- struct{}{}:
	default:
		return
	}
	k.sweeps.Go(func() {
		defer func() { <-k.loading }()
		before := k.loaded.Load()
		if err := k.c.loadOrders(ctx, v); err == nil {
			k.loaded.CompareAndSwap(before, v.session)
		} else if ctx.Err() == nil {
			k.complain(err)
		}
	})
}

// unload has the orders read again, because those published before a
// subscription may be lost. A number of its own tells a load that is under way.
func (k *keeper) unload() { k.loaded.Store(min(k.loaded.Load(), 0) - 1) }

// session returns the current session's id, or a new one. k.mu is held.
func (k *keeper) session() int64 {
	if k.fresh {
		k.fresh = false
		last := sessionID(k.c.node, 0)
		if n := len(k.sessions); n > 0 {
			last = k.sessions[n-1]
		}
		if len(k.sessions) > maxFormer {
			k.sessions = k.sessions[1:]
		}
		k.sessions = append(k.sessions, last+1)
		k.c.stats.sessions.Add(1)
	}
	return k.sessions[len(k.sessions)-1]
}

// forgetFormer removes this node's former sessions, of which the lanes have
// left nothing in the directory.
func (k *keeper) forgetFormer(ctx context.Context, v *view) error {
	members := make([]string, len(v.former))
	leases := make([]string, len(v.former))
	for i, s := range v.former {
		members[i], leases[i] = decimal(s), k.c.names.lease(s)
	}
	b := k.client.B()
	for _, r := range k.client.DoMulti(ctx,
		b.Srem().Key(k.c.names.nodes()).Member(members...).Build(),
		b.Del().Key(leases...).Build()) {
		if err := r.Error(); err != nil {
			return err
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sessions = k.sessions[len(v.former):]
	return nil
}

func (k *keeper) close() {
	k.c.view.Store(nil)
	for _, client := range []rueidis.Client{k.client, k.subscriber} {
		if client != nil {
			client.Close()
		}
	}
}
