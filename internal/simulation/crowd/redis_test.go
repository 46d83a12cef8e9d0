package crowd

import (
	"container/heap"
	"errors"
	"time"

	"github.com/hometrip/gateway/internal/simulation/redismodel"
)

const (
	netDelay = time.Millisecond // one way, to a Redis nearby
	portion  = 256              // commands of one connection that Redis reads at once: 16 KiB
	answer   = 5 * time.Second  // a connection without a reply for so long is closed, as by rueidis
)

var errTimeout = errors.New("the connection was closed: no reply in time")

// An event is a function to be called at a simulated time.
type event struct {
	at  time.Duration
	seq uint64
	do  func()
}

// A schedule is a simulated clock with its pending events. Events with the same
// time run in the order in which they were added.
type schedule struct {
	now  time.Duration
	seq  uint64
	todo events
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].seq < e[j].seq
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	last := old[len(old)-1]
	old[len(old)-1] = event{}
	*e = old[:len(old)-1]
	return last
}

func (s *schedule) after(d time.Duration, do func()) {
	s.seq++
	heap.Push(&s.todo, event{s.now + d, s.seq, do})
}

// run advances the clock by d and runs the events that become due.
func (s *schedule) run(d time.Duration) {
	end := s.now + d
	for len(s.todo) > 0 && s.todo[0].at <= end {
		e := heap.Pop(&s.todo).(event)
		s.now = e.at
		e.do()
	}
	s.now = end
}

// A redis is the model of Redis with one thread. It serves the connections in
// turn, up to portion commands of each, and sends the replies at the end of each
// round.
type redis struct {
	*schedule
	model  *redismodel.Server
	delay  time.Duration // network delay, one way
	cost   time.Duration // time to execute one command
	hangs  time.Duration // it executes nothing until then
	links  []*link
	turn   int
	active bool

	executed map[string]int // number of executed commands, by name
	answered []*request     // completed in this round
}

// A link is a connection to Redis.
type link struct {
	r     *redis
	conn  *redismodel.Conn
	in    []*request // received and not completely executed
	push  func(redismodel.Reply)
	ended func()
	dead  bool
}

// A request is a list of commands that a node sends together.
type request struct {
	link     *link
	commands [][]string
	next     int // index of the first command that is not executed
	replies  []redismodel.Reply
	done     func([]redismodel.Reply, error)
	replied  bool
}

func newRedis(s *schedule, cost time.Duration) *redis {
	return &redis{schedule: s, model: redismodel.New(), delay: netDelay, cost: cost, executed: make(map[string]int)}
}

func (r *redis) dial(push func(redismodel.Reply), ended func()) *link {
	l := &link{r: r, conn: r.model.Connect(), push: push, ended: ended}
	r.links = append(r.links, l)
	return l
}

// send sends commands. done is called once, with the replies or an error.
func (l *link) send(commands [][]string, done func([]redismodel.Reply, error)) {
	q := &request{link: l, commands: commands, done: done}
	r := l.r
	if l.dead {
		r.after(r.delay, func() { done(nil, errTimeout) })
		return
	}
	r.after(r.delay, func() {
		l.in = append(l.in, q)
		if !r.active {
			r.active = true
			r.serve()
		}
	})
	r.after(answer, func() {
		if !q.replied && !l.dead {
			l.giveUp()
		}
		if !q.replied {
			q.replied = true
			done(nil, errTimeout)
		}
	})
}

// giveUp closes the connection on the node's side. Redis still executes the
// commands that it has received.
func (l *link) giveUp() {
	l.dead = true
	l.ended()
}

// serve executes up to portion commands of the next connection that has any.
func (r *redis) serve() {
	if r.hangs > r.now {
		r.after(r.hangs-r.now, r.serve)
		return
	}
	for ; r.turn < len(r.links); r.turn++ {
		l := r.links[r.turn]
		if len(l.in) == 0 {
			continue
		}
		r.turn++
		r.after(r.cost*time.Duration(r.execute(l)), r.serve)
		return
	}
	r.turn = 0
	r.flush()
	for _, l := range r.links {
		if len(l.in) > 0 {
			r.after(0, r.serve)
			return
		}
	}
	r.active = false
}

func (r *redis) execute(l *link) (n int) {
	r.model.Advance(epoch + r.now)
	for n < portion && len(l.in) > 0 {
		q := l.in[0]
		for n < portion && q.next < len(q.commands) {
			args := q.commands[q.next]
			r.executed[args[0]]++
			l.conn.Do(args...)
			q.next++
			n++
		}
		r.collect(l, q)
		if q.next < len(q.commands) {
			break
		}
		l.in[0] = nil
		l.in = l.in[1:]
		r.answered = append(r.answered, q)
	}
	return n
}

// collect takes the replies to a request, and the pushes between them, from the
// model's connection.
func (r *redis) collect(l *link, q *request) {
	out := l.conn.Out
	l.conn.Out = nil
	for _, reply := range out {
		if reply.Kind == redismodel.Push {
			r.after(r.delay, func() { l.deliver(reply) })
			continue
		}
		q.replies = append(q.replies, reply)
	}
}

func (l *link) deliver(push redismodel.Reply) {
	if !l.dead {
		l.push(push)
	}
}

// flush sends the replies of a round, and pushes to other connections.
func (r *redis) flush() {
	answered := r.answered
	r.answered = nil
	r.after(r.delay, func() {
		for _, q := range answered {
			if !q.replied && !q.link.dead {
				q.replied = true
				q.done(q.replies, nil)
			}
		}
	})
	kept := r.links[:0]
	for _, l := range r.links {
		for _, reply := range l.conn.Out {
			r.after(r.delay, func() { l.deliver(reply) })
		}
		l.conn.Out = nil
		if l.dead && len(l.in) == 0 {
			l.conn.Close()
			continue
		}
		kept = append(kept, l)
	}
	r.links = kept
}
