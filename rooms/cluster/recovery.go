package cluster

import (
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/rooms/cluster/cut"
	"github.com/hometrip/gateway/rooms/cluster/sessions"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

// A SessionHolder has the sessions of this node's clients: a rooms.Hub.
type SessionHolder interface {
	Surrender(pid, user string, now time.Time, done func(*rooms.Record, rooms.RecoveryResult))
	Dissolve(pid string)
	Displace(pid string, moves uint32)
	Reachable(yes bool, now time.Time)
	Refresh()
}

// retrySessions is the pause after a failed write of records.
const retrySessions = 100 * time.Millisecond

// Sessions is this node's part in passing clients' sessions between nodes: the
// port rooms.Sessions. It drives a sessions.Core with the connections of a
// Cluster. Its methods are safe for concurrent use.
type Sessions struct {
	cluster *Cluster
	holder  SessionHolder // set by start
	cut     cut.Cut       // of its channel

	subscribed atomic.Bool
	refreshed  time.Time     // when the records were written anew; owned by run
	work       chan struct{} // has a token when there is something to do

	mu    sync.Mutex // guards the following
	core  *sessions.Core
	dones map[uint64]func(sessions.Result)
	batch uint64
}

// Sessions returns the cluster's Sessions. It is called at most once, before
// Start.
func (c *Cluster) Sessions() *Sessions {
	node := newSessionsName()
	if c.config.Takes != nil {
		node = c.config.Takes.Name
	}
	c.sessions = &Sessions{
		cluster: c, work: make(chan struct{}, 1),
		core: sessions.New(c.names, node), dones: make(map[uint64]func(sessions.Result)),
	}
	c.sessions.cut.Take = c.sessions.receive
	if c.config.Takes != nil {
		c.sessions.cut.StandBy()
	}
	return c.sessions
}

// newSessionsName returns a random name under which other nodes ask this one
// for sessions.
func newSessionsName() string { return strings.ToLower(rand.Text()[:12]) }

// Node implements rooms.Sessions.
func (s *Sessions) Node() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.core.Node()
}

// channel returns the channel on which other nodes ask this one for sessions.
func (s *Sessions) channel() string { return s.cluster.names.SessionChannel(s.Node()) }

// replaceDead gives this node a name of its own, in place of the name of the
// dead process that it succeeds. Other nodes that ask for that name must find
// no subscriber.
func (s *Sessions) replaceDead() {
	former := s.channel()
	s.mu.Lock()
	s.core.Replace(newSessionsName())
	s.mu.Unlock()
	s.cluster.mu.Lock()
	cs := s.cluster.conns
	s.cluster.mu.Unlock()
	if cs != nil {
		go cs.unsubscribe(former)
	}
}

// Save implements rooms.Sessions.
func (s *Sessions) Save(pid string, record []byte, keep time.Duration, done func(bool)) {
	s.with(func(core *sessions.Core) {
		if done == nil {
			core.Save(pid, record, keep)
			return
		}
		s.dones[core.SaveAndTell(pid, record, keep, time.Now())] = func(r sessions.Result) { done(r.Saved) }
	})
}

// Forget implements rooms.Sessions.
func (s *Sessions) Forget(pid string, moves uint32) {
	s.with(func(core *sessions.Core) { core.Forget(pid, moves) })
}

// Dissolve implements rooms.Sessions.
func (s *Sessions) Dissolve(pid, node string) {
	s.with(func(core *sessions.Core) { core.Dissolve(pid, node) })
}

// Take implements rooms.Sessions.
func (s *Sessions) Take(pid, user string, done func(*rooms.Record, rooms.RecoveryResult)) {
	s.with(func(core *sessions.Core) {
		s.dones[core.Take(pid, user, time.Now())] = func(r sessions.Result) { done(r.Record, r.Why) }
	})
}

// Elsewhere implements rooms.Sessions.
func (s *Sessions) Elsewhere(pid string, done func(moves uint32, elsewhere bool)) {
	s.with(func(core *sessions.Core) {
		s.dones[core.Elsewhere(pid, time.Now())] = func(r sessions.Result) { done(r.Moves, r.Elsewhere) }
	})
}

func (s *Sessions) with(do func(*sessions.Core)) {
	s.mu.Lock()
	do(s.core)
	s.mu.Unlock()
	offer(s.work)
}

// Dropped returns how many records were not written because too many waited.
func (s *Sessions) Dropped() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.core.Dropped()
}

// idle reports whether all records have been written.
func (s *Sessions) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.core.Idle()
}

// run is the goroutine that sends batches.
func (s *Sessions) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.work:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		timer.Reset(s.step(time.Now()))
	}
}

// step sends all batches that are due, and returns how long nothing else is.
func (s *Sessions) step(now time.Time) time.Duration {
	s.cluster.mu.Lock()
	cs := s.cluster.conns
	s.cluster.mu.Unlock()
	s.mu.Lock()
	s.core.Tick(now)
	for {
		b, ok := s.core.Commands(s.batch + 1)
		if !ok {
			break
		}
		s.batch++
		s.cluster.done.Go(func() { s.execute(cs, b) })
	}
	wait := tickInterval
	if next := s.core.Next(now); !next.IsZero() {
		wait = min(wait, max(next.Sub(now), time.Millisecond))
	}
	s.mu.Unlock()
	s.report()
	s.refresh(now)
	return wait
}

// refresh writes the records of sessions again before they expire.
func (s *Sessions) refresh(now time.Time) {
	if s.refreshed.IsZero() {
		s.refreshed = now
	}
	if now.Sub(s.refreshed) >= rooms.RefreshSessions {
		s.refreshed = now
		s.holder.Refresh()
	}
}

func (s *Sessions) execute(cs *conns, b wire.Batch) {
	if cs != nil && cs.sharded {
		for i := range b.Commands {
			if b.Commands[i].Name == "PUBLISH" {
				b.Commands[i].Name = "SPUBLISH"
			}
		}
	}
	replies := cs.do(b)
	if b.Kind == wire.Plain && b.Commands[0].Name == "EVAL" && wire.FirstError(replies) != nil {
		time.Sleep(retrySessions)
	}
	s.with(func(core *sessions.Core) { core.Reply(b.ID, replies, time.Now()) })
}

// report passes on the results of takes, and the sessions that other nodes have
// taken.
func (s *Sessions) report() {
	s.mu.Lock()
	results, displaced := s.core.Results(), s.core.Displaced()
	dones := make([]func(sessions.Result), len(results))
	for i, r := range results {
		dones[i] = s.dones[r.Ask]
		delete(s.dones, r.Ask)
	}
	s.mu.Unlock()
	for i, done := range dones {
		if done != nil {
			done(results[i])
		}
	}
	for _, d := range displaced {
		s.holder.Displace(d.PID, d.Moves)
	}
}

// subscribe is the goroutine that receives questions for sessions. When the
// node gets another name, its subscription is ended and made again.
func (s *Sessions) subscribe(cs *conns) {
	tell := func(yes bool) {
		s.subscribed.Store(yes)
		s.holder.Reachable(yes, time.Now())
	}
	defer tell(false)
	hooked := rueidis.WithOnSubscriptionHook(cs.ctx, func(change rueidis.PubSubSubscription) {
		yes := !strings.HasSuffix(change.Kind, "unsubscribe")
		if tell(yes); yes && change.Channel != s.channel() { // the name has changed meanwhile
			go cs.unsubscribe(change.Channel)
		}
	})
	for cs.ctx.Err() == nil {
		_ = cs.subscriber.Receive(hooked, cs.subscription(s.channel()), func(m rueidis.PubSubMessage) {
			s.cut.Receive([]byte(m.Message), time.Now())
		})
		tell(false)
		sleep(cs.ctx, redialMin)
	}
}

func (s *Sessions) receive(b []byte) {
	s.mu.Lock()
	r, asks := s.core.Receive(b)
	s.mu.Unlock()
	offer(s.work)
	switch {
	case !asks:
	case r.Dissolve:
		s.holder.Dissolve(r.PID)
	default:
		s.holder.Surrender(r.PID, r.User, time.Now(), func(record *rooms.Record, why rooms.RecoveryResult) {
			s.with(func(core *sessions.Core) { core.Answer(r, record, why) })
		})
	}
}
