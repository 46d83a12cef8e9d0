package simulation

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/hometrip/gateway/internal/simulation/rabbitmodel"
)

const (
	exchange   = "events"
	streamName = "events.log"
	markHeader = "mark"

	fromHeader = "from" // exchange and key of a message that was published to the stream directly
	keyHeader  = "key"
	timeHeader = "time"
	forHeader  = "event" // the number of its event, for the judge

	chunkMost     = 5 * time.Millisecond // longest delay until a chunk is written
	heartbeatTime = 10 * time.Second     // a silent connection counts as lost after that
	identityFirst = 1 << 20              // an identity is the size limit of the stream, as in upstream/rabbitmq
)

// A brokerServer is the model of RabbitMQ with its connections. It belongs to its
// run.
type brokerServer struct {
	r       *run
	broker  *rabbitmodel.Broker
	links   []*brokerLink
	down    bool
	hangs   time.Duration
	writes  bool // writing a chunk is scheduled
	chunk   time.Duration
	seen    int64  // number of positions of the stream that the judge knows
	spare   int    // last identity that was used
	letters int    // number of dead letters that the judge knows
	faulty  []span // times in which nodes may not have read what was published

	own map[ownPosition]bool // positions without a message, see Broker.OwnPositions
}

// An ownPosition is a position in a log.
type ownPosition struct {
	log      string
	position int64
}

func newBrokerServer(r *run, b *rabbitmodel.Broker, draw *rand.Rand) *brokerServer {
	b.ChunkHead = draw.IntN(4) == 0
	s := &brokerServer{r: r, broker: b, spare: identityFirst, own: make(map[ownPosition]bool)}
	s.chunk = []time.Duration{time.Microsecond, chunkMost, 4 * chunkMost}[draw.IntN(3)]
	if r.recovery.tail > 0 {
		b.OwnPositions = int64(draw.IntN(2))
	}
	ch := b.Connect().Channel()
	ch.ExchangeDeclare(exchange, "topic")
	return s
}

// A brokerLink is a connection with one channel to the broker.
type brokerLink struct {
	s        *brokerServer
	m        *machine // nil: the connection of a service
	line     *line
	up, back channel
	stalled  backlog
	conn     *rabbitmodel.Conn
	ch       *rabbitmodel.Channel
	take     func(rabbitmodel.Event)
	ended    func()
}

var noDelay time.Duration

func (s *brokerServer) dial(m *machine, take func(rabbitmodel.Event), ended func()) *brokerLink {
	slow := &noDelay
	if m != nil {
		slow = &m.slow
	}
	l := &brokerLink{s: s, m: m, line: newLine(netLeast, netMost, slow), take: take, ended: ended}
	l.up, l.back = channel{s: &s.r.schedule, line: l.line}, channel{s: &s.r.schedule, line: l.line}
	l.conn = s.broker.Connect()
	l.ch = l.conn.Channel()
	s.links = append(s.links, l)
	return l
}

// do calls a method of the channel when the request arrives.
func (l *brokerLink) do(f func(ch *rabbitmodel.Channel)) {
	l.up.send(func() { l.execute(f) })
}

func (l *brokerLink) execute(f func(ch *rabbitmodel.Channel)) {
	s := l.s
	l.stalled.take(&s.r.schedule, &s.hangs, l.line, func() {
		s.broker.Advance(s.r.now)
		f(l.ch)
		s.flush()
		s.write()
	})
}

// write schedules the writing of a chunk, if messages are pending.
func (s *brokerServer) write() {
	q := s.broker.Queue(streamName)
	if s.writes || q == nil || q.Pending() == 0 {
		return
	}
	s.writes = true
	s.r.after(max(s.r.between(0, s.chunk), s.hangs-s.r.now), func() {
		s.writes = false
		if s.down {
			return
		}
		if q := s.broker.Queue(streamName); q != nil {
			s.broker.Advance(s.r.now)
			q.Flush()
			s.written(q)
			s.flush()
		}
	})
}

// written passes the new messages of the stream to the judge.
func (s *brokerServer) written(q *rabbitmodel.Queue) {
	for ; s.seen < q.NextOffset(); s.seen++ {
		if m := q.At(s.seen); m != nil {
			s.r.judge.written(m, s.seen+1)
		} else {
			s.own[ownPosition{strconv.Itoa(q.Args.MaxBytes), s.seen + 1}] = true
		}
	}
}

// flush sends each connection what the broker has sent to it.
func (s *brokerServer) flush() {
	s.lettersWritten()
	s.r.presence.published()
	for _, l := range slices.Clone(s.links) {
		if len(l.conn.Out) == 0 {
			continue
		}
		out := l.conn.Out
		l.conn.Out = nil
		l.back.send(func() {
			if l.m != nil {
				l.m.execute(func() { l.receive(out) })
			} else {
				l.receive(out)
			}
		})
	}
}

func (l *brokerLink) receive(out []rabbitmodel.Event) {
	for _, e := range out {
		if !l.line.open {
			return
		}
		if e.Kind == rabbitmodel.ConnectionClosed || e.Kind == rabbitmodel.ChannelClosed || e.Kind == rabbitmodel.Cancelled {
			l.end()
			return
		}
		l.take(e)
	}
}

// lose ends the connection. The broker notices at once, the node later.
func (l *brokerLink) lose(told bool) {
	if !l.line.open || l.line.silent {
		return
	}
	l.line.silent = true
	l.s.forget(l)
	d := l.s.r.between(0, noticeMost)
	if !told {
		d = heartbeatTime
	}
	if l.m != nil {
		l.m.after(d, l.end)
	} else {
		l.s.r.after(d, l.end)
	}
}

func (l *brokerLink) end() {
	if !l.line.open {
		return
	}
	l.hangUp()
	l.ended()
}

// hangUp closes the connection from the node's side, without calling ended.
func (l *brokerLink) hangUp() {
	l.line.open = false
	l.s.forget(l)
}

func (s *brokerServer) forget(l *brokerLink) {
	if i := slices.Index(s.links, l); i >= 0 {
		s.links = slices.Delete(s.links, i, i+1)
		l.conn.Close()
	}
}

// reachable reports whether a node can connect to RabbitMQ.
func (s *brokerServer) reachable(m *machine) bool { return !s.down && m.off <= s.r.now }

func (s *brokerServer) loseAll(m *machine, told bool) {
	for _, l := range slices.Clone(s.links) {
		if m == nil || l.m == m {
			l.lose(told)
		}
	}
}

// stream declares the stream as upstream/rabbitmq does, and returns its identity.
// The identity is the size limit: that of the existing stream, or a new one.
func (s *brokerServer) stream(ch *rabbitmodel.Channel) (identity string) {
	q := s.broker.Queue(streamName)
	args := rabbitmodel.Args{Type: rabbitmodel.Stream, SegmentBytes: s.r.limits.segment}
	if q != nil {
		args = q.Args
	} else {
		s.spare++
		args.MaxBytes = s.spare
		s.r.log.era++
		s.seen = 0
	}
	ch.QueueDeclare(streamName, args)
	ch.Bind(streamName, "#", exchange)
	return strconv.Itoa(args.MaxBytes)
}
