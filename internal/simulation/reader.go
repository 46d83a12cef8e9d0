package simulation

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/hometrip/gateway/internal/simulation/rabbitmodel"
	"github.com/hometrip/gateway/upstream"
	"github.com/hometrip/gateway/upstream/eventlog"
)

const (
	exchange   = "events"
	streamName = "events.log"
	markHeader = "mark"

	chunkMost     = 5 * time.Millisecond // until what was published is written
	heartbeatTime = 10 * time.Second     // until a connection that is silent counts as lost
	identityFirst = 1 << 20              // identities are sizes of streams, as in upstream/rabbitmq
)

// A brokerServer is RabbitMQ and the connections to it. Owned by its run.
type brokerServer struct {
	r       *run
	broker  *rabbitmodel.Broker
	links   []*brokerLink
	down    bool
	hangs   time.Duration
	writes  bool // a chunk is about to be written
	chunk   time.Duration
	era     int           // counts the streams
	rewound int           // streams that were deleted
	anewAt  time.Duration // when the last of these was
	seen    int64         // positions of the stream that the judge knows
	spare   int           // identities that were given away
}

func newBrokerServer(r *run, b *rabbitmodel.Broker, draw *rand.Rand) *brokerServer {
	b.ChunkHead = draw.IntN(4) == 0
	s := &brokerServer{r: r, broker: b, spare: identityFirst}
	s.chunk = []time.Duration{time.Microsecond, chunkMost, 4 * chunkMost}[draw.IntN(3)]
	ch := b.Connect().Channel()
	ch.ExchangeDeclare(exchange, "topic")
	return s
}

// A brokerLink is a connection with one channel.
type brokerLink struct {
	s        *brokerServer
	m        *machine // nil: a service's
	line     *line
	up, back channel
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

// do has a method executed by the broker.
func (l *brokerLink) do(f func(ch *rabbitmodel.Channel)) {
	l.up.send(func() { l.execute(f) })
}

func (l *brokerLink) execute(f func(ch *rabbitmodel.Channel)) {
	s := l.s
	if s.hangs > s.r.now {
		s.r.at(s.hangs, func() {
			if l.line.open && !l.line.silent {
				l.execute(f)
			}
		})
		return
	}
	s.broker.Advance(s.r.now)
	f(l.ch)
	s.flush()
	s.write()
}

// write has what was published written as a chunk soon.
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

// written tells the judge of what is in the stream now.
func (s *brokerServer) written(q *rabbitmodel.Queue) {
	for ; s.seen < q.NextOffset(); s.seen++ {
		s.r.judge.written(q.At(s.seen), s.seen+1)
	}
}

// flush sends everybody what the broker has sent.
func (s *brokerServer) flush() {
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

// lose ends the connection: the broker knows at once, the node in a while.
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

// hangUp closes the connection from the node's side.
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

func (s *brokerServer) loseAll(m *machine, told bool) {
	for _, l := range slices.Clone(s.links) {
		if m == nil || l.m == m {
			l.lose(told)
		}
	}
}

// stream returns the stream, declared as upstream/rabbitmq does: with the size
// that it has, or a new one, which is its identity.
func (s *brokerServer) stream(ch *rabbitmodel.Channel) (identity string) {
	q := s.broker.Queue(streamName)
	args := rabbitmodel.Args{Type: rabbitmodel.Stream, SegmentBytes: s.r.limits.segment}
	if q != nil {
		args = q.Args
	} else {
		s.spare++
		args.MaxBytes = s.spare
		s.era++
		s.seen = 0
	}
	ch.QueueDeclare(streamName, args)
	ch.Bind(streamName, "#", exchange)
	return strconv.Itoa(args.MaxBytes)
}

// A readerDriver does for an eventlog.Reader what upstream.Consumer and
// upstream/rabbitmq do with a real broker. Owned by its machine.
type readerDriver struct {
	m      *machine
	reader *eventlog.Reader
	intake *upstream.Intake

	source *source // nil: none is open
	inputs []eventlog.Input
	todo   []eventlog.Output
	busy   bool // inside of run
	due    time.Duration
	past   eventlog.Position // the last that the rooms have taken
}

// A source is one reading of the stream.
type source struct {
	d     *readerDriver
	link  *brokerLink
	start eventlog.Start
	open  bool // the reader was told
	mark  string
	info  eventlog.Info
	sent  []unacknowledged
	ready int // answers that are still missing
}

type unacknowledged struct {
	position eventlog.Position
	tag      uint64
}

func newReaderDriver(m *machine) *readerDriver {
	d := &readerDriver{m: m}
	d.reader = eventlog.NewReader(eventlog.ReaderConfig{
		Window: m.r.limits.window, RetryMin: 100 * time.Millisecond, RetryMax: 500 * time.Millisecond, Seed: m.r.rng.Uint64(),
	})
	d.intake = upstream.NewIntake(upstream.Config{
		Table: m.r.table, MaxBody: 1 << 16, Rooms: m, Keep: m.keep, Logger: discard,
	})
	return d
}

// keep is upstream.Config.Keep.
func (m *machine) keep(o orderOf) {
	m.node.Keep(o, m.now())
	m.cluster.wake()
}

// readOrders is upstream.Config.Orders.
func (m *machine) readOrders() {
	m.node.ReadOrders(m.now())
	m.cluster.wake()
}

func (d *readerDriver) begin() {
	d.input(eventlog.Input{Kind: eventlog.Begin, Start: eventlog.Start{From: eventlog.FromNext}})
}

// end is the death of the node.
func (d *readerDriver) end() {
	if d.source != nil {
		d.source.link.hangUp()
	}
}

// input gives the reader an input, behind those that wait.
func (d *readerDriver) input(in eventlog.Input) {
	d.inputs = append(d.inputs, in)
	d.run()
}

// resume goes on when the rooms can take something again.
func (d *readerDriver) resume() {
	if len(d.todo) > 0 || len(d.inputs) > 0 {
		d.run()
	}
}

// run is the one goroutine of upstream.Consumer: it does what is to be done,
// and stands still while the rooms are full.
func (d *readerDriver) run() {
	if d.busy {
		return
	}
	d.busy = true
	defer func() { d.busy = false }()
	for {
		for len(d.todo) > 0 {
			out := d.todo[0]
			if out.Kind == eventlog.Hand {
				if d.m.hub.Full() {
					return // resume comes with a turn of the loop
				}
				d.todo = d.todo[1:]
				d.hand(&out.Entry)
				d.todo = append(d.todo, d.step(eventlog.Input{Kind: eventlog.Taken})...)
				continue
			}
			d.todo = d.todo[1:]
			d.do(&out)
		}
		if len(d.inputs) == 0 {
			break
		}
		in := d.inputs[0]
		d.inputs = d.inputs[1:]
		d.todo = append(d.todo, d.step(in)...)
	}
	d.schedule()
}

func (d *readerDriver) step(in eventlog.Input) []eventlog.Output {
	in.Now = d.m.now()
	return d.reader.Step(&in)
}

// schedule has a Tick come when it is due.
func (d *readerDriver) schedule() {
	at := d.reader.Deadline()
	if at.IsZero() {
		return
	}
	when := max(at.Sub(epoch)-d.m.skew, d.m.r.now)
	if d.due > d.m.r.now && d.due <= when {
		return
	}
	d.due = when
	d.m.r.at(when, d.m.alive(func() {
		if d.due == when {
			d.due = 0
		}
		if deadline := d.reader.Deadline(); !deadline.IsZero() && !d.m.now().Before(deadline) {
			d.input(eventlog.Input{Kind: eventlog.Tick})
		} else {
			d.schedule()
		}
	}))
}

// hand gives an entry to the rooms.
func (d *readerDriver) hand(e *eventlog.Entry) {
	m := d.m
	m.r.judge.handed(m, e)
	if err := d.intake.Take(e, m.now()); err != nil {
		m.r.count("poison")
	}
	d.past = e.Position
}

func (d *readerDriver) do(out *eventlog.Output) {
	m := d.m
	if m.r.tracing() && out.Kind != eventlog.Credit {
		m.r.trace(m.name, "log: %v", *out)
	}
	switch out.Kind {
	case eventlog.Open:
		d.close()
		d.open(out.Start)
	case eventlog.Credit:
		if d.source != nil {
			d.source.taken(out.Position)
		}
	case eventlog.Gap:
		m.r.count("gap")
		m.Gap()
		m.r.judge.gap(m, out.From, out.Position)
		m.readOrders()
		m.missed()
	case eventlog.OtherLog:
		m.r.count("other log")
		d.intake.Reset()
		d.past = 0
		m.Anew(out.Identity, 0)
		m.readOrders()
	}
}

func (d *readerDriver) close() {
	if d.source != nil {
		d.source.link.hangUp()
		d.source = nil
	}
}

// open begins a reading; the reader is told when it is open or has failed.
func (d *readerDriver) open(at eventlog.Start) {
	m := d.m
	if m.r.broker.down || m.off > m.r.now {
		m.after(m.r.between(netLeast, dialMost), func() { d.input(eventlog.Input{Kind: eventlog.Closed}) })
		return
	}
	s := &source{d: d, start: at}
	d.source = s
	s.link = m.r.broker.dial(m, s.take, func() {
		if d.source == s {
			d.source = nil
			d.input(eventlog.Input{Kind: eventlog.Closed})
		}
	})
	s.begin()
}

// begin asks for what is needed: the stream, credit, a consumer and, to know
// where the log ends, a mark that is read back.
func (s *source) begin() {
	window := max(s.start.Window, 1)
	begin := rabbitmodel.Begin{}
	switch s.start.From {
	case eventlog.FromFirst:
		begin.At = "first"
	case eventlog.FromPosition:
		begin.Offset = int64(s.start.Position) - 1
	default:
		begin.At = "last"
		window = max(window, 64)
		s.mark = s.d.m.String() + strconv.FormatUint(s.d.m.r.rng.Uint64(), 36)
	}
	s.ready = 4 // declared, bound, credit, consuming
	server := s.d.m.r.broker
	s.link.do(func(ch *rabbitmodel.Channel) {
		s.info.Identity = server.stream(ch)
		ch.Qos(window)
		ch.Consume(streamName, "reader", false, begin)
	})
	if s.mark != "" {
		s.link.do(func(ch *rabbitmodel.Channel) {
			ch.Publish(rabbitmodel.Message{Key: streamName, Headers: map[string]string{markHeader: s.mark}}, false)
		})
	}
}

// take takes what the broker sends.
func (s *source) take(e rabbitmodel.Event) {
	d := s.d
	if d.source != s {
		return
	}
	switch e.Kind {
	case rabbitmodel.Done:
		if s.ready--; s.ready == 0 && s.mark == "" {
			s.opened()
		}
	case rabbitmodel.Delivery:
		position := eventlog.Position(e.Offset + 1)
		if !s.open && s.mark != "" {
			s.link.do(func(ch *rabbitmodel.Channel) { ch.Ack(e.Tag, false) })
			if e.Message.Headers[markHeader] == s.mark {
				s.info.Behind = position
				s.opened()
			}
			return
		}
		s.sent = append(s.sent, unacknowledged{position, e.Tag})
		d.input(eventlog.Input{Kind: eventlog.Delivered, Entry: entryOf(e.Message, position)})
	}
}

func (s *source) opened() {
	s.open = true
	if s.d.m.r.tracing() {
		s.d.m.r.trace(s.d.m.name, "log: opened %v %+v", s.start, s.info)
	}
	s.d.input(eventlog.Input{Kind: eventlog.Opened, Info: s.info})
	if s.start.From == eventlog.FromNext {
		s.d.m.readOrders()
	}
}

// taken acknowledges, which lets the broker send more.
func (s *source) taken(position eventlog.Position) {
	tag, n := uint64(0), 0
	for n < len(s.sent) && s.sent[n].position <= position {
		tag = s.sent[n].tag
		n++
	}
	if s.sent = s.sent[n:]; tag != 0 {
		s.link.do(func(ch *rabbitmodel.Channel) { ch.Ack(tag, true) })
	}
}

// entryOf makes an entry of a message.
func entryOf(m *rabbitmodel.Message, p eventlog.Position) eventlog.Entry {
	return eventlog.Entry{
		Position: p, Exchange: m.Exchange, Key: m.Key, MessageID: m.ID,
		Published: epoch.Add(m.At), Body: []byte(m.Body),
	}
}
