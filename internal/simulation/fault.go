package simulation

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/hometrip/gateway/internal/simulation/redismodel"
	"github.com/hometrip/gateway/rooms"
)

const (
	maxFaults  = 14
	longest    = 20 * time.Second // longest duration of a fault
	replicaLag = 3 * time.Second  // longest lag of a replica
)

// A fault is a planned failure. All its parameters are drawn in advance, so that
// leaving out one fault does not change the others.
type fault struct {
	at    time.Duration
	kind  int // index in all lists, see kindOf
	node  int
	last  time.Duration // duration
	yes   bool          // a random parameter of the kind
	draw  uint64        // another one
	descr string        // what the kind has chosen, for the trace
}

// A kind is a kind of fault.
type kind struct {
	name string
	do   func(r *run, f *fault)
}

// kinds is the first list of faults. A kind that stands there twice happens twice
// as often.
var kinds = []kind{
	{"Redis cannot be reached by a node", func(r *run, f *fault) {
		m := r.nodes[f.node]
		m.cut = r.now + f.last
		r.redis.loseAll(m, f.yes)
	}},
	{"a node's connections to Redis end", func(r *run, f *fault) { r.redis.loseAll(r.nodes[f.node], true) }},
	{"one connection to Redis ends", func(r *run, f *fault) {
		if n := len(r.redis.links); n > 0 {
			r.redis.links[f.draw%uint64(n)].lose(f.yes)
		}
	}},
	{"Redis restarts empty", func(r *run, f *fault) { r.redis.restart(f.last/4, redismodel.Snapshot{}) }},
	{"Redis restarts with a snapshot", func(r *run, f *fault) {
		snapshot := r.redis.server.Snapshot()
		r.after(time.Duration(f.draw%uint64(replicaLag)), func() { r.redis.restart(f.last/4, snapshot) })
	}},
	{"Redis fails over to a replica that is behind", func(r *run, f *fault) {
		snapshot := r.redis.server.Snapshot()
		r.after(time.Duration(f.draw%uint64(replicaLag)), func() {
			r.redis.server.ReadOnly = f.yes // the old primary, until the clients use the new one
			r.after(f.last/8, func() { r.redis.restart(0, snapshot) })
		})
	}},
	{"FLUSHALL", func(r *run, f *fault) {
		r.redis.loses()
		r.redis.admin("FLUSHALL")
		r.redis.compareLog()
	}},
	{"Redis' memory is full", func(r *run, f *fault) {
		r.redis.server.Full = true
		r.after(f.last, func() { r.redis.server.Full = false })
	}},
	{"Redis loads a snapshot", func(r *run, f *fault) {
		r.redis.restart(f.last/4, r.redis.server.Snapshot())
		r.after(f.last/4+time.Millisecond, func() { r.redis.server.Loading = true })
		r.after(f.last, func() { r.redis.server.Loading = false })
	}},
	{"a key of Redis is evicted", func(r *run, f *fault) {
		r.redis.advance()
		if keys := r.presence.evictable(r.redis.server.Keys()); len(keys) > 0 {
			key := keys[f.draw%uint64(len(keys))]
			f.descr = key
			if key == names.Orders() {
				r.redis.loses()
			}
			r.redis.server.Evict(key)
			r.redis.flush()
			r.redis.compareLog()
		}
	}},
	{"Redis stands still", func(r *run, f *fault) { r.redis.hangs = max(r.redis.hangs, r.now+f.last/3) }},
	{"a node stands still", func(r *run, f *fault) { r.nodes[f.node].pause(f.last) }},
	{"a node dies", func(r *run, f *fault) { r.killNode(f) }},
	{"a node dies and stays dead", func(r *run, f *fault) {
		if r.running() > 1 && r.config.Nodes > 2 {
			r.nodes[f.node].stays = true
			r.nodes[f.node].die()
		}
	}},
	{"a node is shut down", func(r *run, f *fault) { r.shutDown(f) }},
	{"RabbitMQ cannot be reached by a node", func(r *run, f *fault) {
		m := r.nodes[f.node]
		m.off = r.now + f.last
		r.broker.loseAll(m, f.yes)
	}},
	{"one connection to RabbitMQ ends", func(r *run, f *fault) {
		if n := len(r.broker.links); n > 0 {
			r.broker.links[f.draw%uint64(n)].lose(f.yes)
		}
	}},
	{"RabbitMQ restarts", func(r *run, f *fault) { r.broker.restart(f.last / 3) }},
	{"the stream is deleted and made anew", func(r *run, f *fault) { r.log.delete() }},
	{"the stream's consumers are cancelled", func(r *run, f *fault) {
		if q := r.broker.broker.Queue(streamName); q != nil {
			q.CancelConsumers()
			r.broker.flush()
		}
	}},
	{"RabbitMQ is short of memory", func(r *run, f *fault) {
		r.broker.broker.Alarm(true)
		r.after(f.last/2, func() {
			r.broker.broker.Alarm(false)
			r.broker.flush()
			r.broker.write()
		})
	}},
	{"RabbitMQ stands still", func(r *run, f *fault) { r.broker.hangs = max(r.broker.hangs, r.now+f.last/4) }},
	{"retention removes all but the newest segment", func(r *run, f *fault) {
		r.log.truncate()
	}},
	{"a node's network is slow", func(r *run, f *fault) {
		m := r.nodes[f.node]
		m.slow = time.Duration(f.draw % uint64(800*time.Millisecond))
		r.after(f.last, func() { m.slow = 0 })
	}},
	{"many clients go away at once", func(r *run, f *fault) {
		for i, c := range r.clients {
			if (uint64(i)+f.draw)%3 == 0 {
				c.leave(f.yes)
			}
		}
	}},
}

// planFaults draws the faults and their times, and schedules them.
func (r *run) planFaults() {
	rng := stream(r.config.Seed, 4)
	n := rng.IntN(maxFaults + 1)
	if r.config.Faults != 0 {
		n = max(r.config.Faults, 0)
	}
	more, extra := stream(r.config.Seed, 7), stream(r.config.Seed, 9)
	for i := range n + r.config.More + r.config.Extra {
		var f fault
		switch {
		case i < n:
			f = r.drawFault(rng, len(kinds))
		case i < n+r.config.More:
			f = r.drawFault(more, len(moreKinds))
			f.kind += len(kinds)
		default:
			f = r.drawFault(extra, len(extraKinds))
			f.kind += len(kinds) + len(moreKinds)
		}
		r.faults = append(r.faults, f)
		if r.config.Skip[i] {
			continue
		}
		r.at(f.at, func() { r.applyFault(i) })
	}
}

func (r *run) drawFault(rng *rand.Rand, kinds int) fault {
	last := between(rng, 10*time.Millisecond, time.Second)
	if rng.IntN(2) == 0 {
		last = between(rng, time.Second, longest)
	}
	at := 2*time.Second + time.Duration(rng.Int64N(int64(max(r.config.PlanSpan-4*time.Second, 1))))
	return fault{
		at: at, kind: rng.IntN(kinds), node: int(rng.Uint32() % uint32(r.config.Nodes)), last: last,
		yes: rng.IntN(2) == 0, draw: rng.Uint64(),
	}
}

func (r *run) applyFault(i int) {
	if r.ending {
		return
	}
	f := &r.faults[i]
	k := kindOf(f.kind)
	if strings.Contains(k.name, "Redis") || strings.Contains(k.name, "network") {
		r.redis.faulty = append(r.redis.faulty, span{r.now, r.now + f.last + troubleAfter})
	}
	if strings.Contains(k.name, "RabbitMQ") || strings.Contains(k.name, "stream") || strings.Contains(k.name, "stands still") {
		r.broker.faulty = append(r.broker.faulty, span{r.now, r.now + f.last + heartbeatTime + time.Second})
	}
	r.presence.faultHappened(k.name, f.last)
	k.do(r, f)
	r.recovery.trouble = max(r.recovery.trouble, r.now+f.last)
	text := fmt.Sprintf("%d: at %v %s (node %d, for %v, %v) %s", i, f.at, k.name, f.node, f.last, f.yes, f.descr)
	r.done = append(r.done, text)
	r.trace("fault", "%s", text)
	r.note('F', uint64(i), uint64(f.kind), 0)
	r.count("fault: " + k.name)
}

func (r *run) killNode(f *fault) {
	m := r.nodes[f.node]
	if !m.up || m.leaving {
		return
	}
	m.die()
	r.after(f.last/2, func() {
		if !m.up && !m.stays && m.transfer == nil && r.nodes[m.index] == m {
			m.start()
		}
	})
}

// shutDown stops a node as an update does: the node closes its connections and
// leaves the directory, and a new node starts afterwards.
func (r *run) shutDown(f *fault) {
	m := r.nodes[f.node]
	if !m.up || m.leaving || m.paused > r.now || m.transfer != nil {
		return
	}
	m.leaving = true
	m.closeAll(rooms.ReasonDraining)
	life := m.life
	if m.recovery != nil {
		m.after(drainPoll, func() { m.drain(r.now + r.recovery.grace) })
	} else {
		m.after(200*time.Millisecond, m.leave)
	}
	r.after(f.last/2+time.Second, func() {
		if m.up && m.life == life {
			m.die()
		}
		if !m.up && m.life == life && !m.stays {
			m.start()
		}
	})
}

// leave removes the node from Redis, as cluster.Close does.
func (m *machine) leave() {
	if !m.presence.leave() {
		m.after(drainPoll, m.leave)
		return
	}
	m.node.Leave()
	m.cluster.wake()
}

// restart stops Redis for a while, and starts it with the data of a snapshot.
func (s *redisServer) restart(away time.Duration, from redismodel.Snapshot) {
	if s.down {
		return
	}
	s.loses()
	s.down = true
	s.loseAll(nil, true)
	s.r.after(away, func() {
		s.advance()
		s.server.Restart(from)
		s.down = false
		s.compareLog()
	})
}

func (s *redisServer) admin(args ...string) {
	s.advance()
	c := s.server.Connect()
	c.Do(args...)
	c.Close()
	s.flush()
}

func (s *redisServer) heal() {
	s.server.Full, s.server.ReadOnly, s.server.Loading = false, false, false
}

// restart stops RabbitMQ for a while.
func (s *brokerServer) restart(away time.Duration) {
	if s.down {
		return
	}
	s.down = true
	s.loseAll(nil, true)
	s.broker.Restart()
	s.r.after(away, func() {
		s.down = false
		if s.broker.Queue(streamName) != nil {
			s.write()
		}
	})
}

// deleteStream deletes the stream, as an operator might by mistake.
func (s *brokerServer) deleteStream() {
	q := s.broker.Queue(streamName)
	if q == nil || s.down {
		return
	}
	q.Flush()
	s.written(q)
	q.Delete()
	s.r.recovery.deleted = s.r.now
	s.r.log.rewound++
	s.r.log.rewoundAt = s.r.now
	s.flush()
}

func (s *brokerServer) heal() {
	s.broker.Alarm(false)
	s.flush()
	s.write()
}
