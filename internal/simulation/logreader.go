package simulation

import (
	"strconv"
	"time"

	"github.com/hometrip/gateway/internal/simulation/rabbitmodel"
	"github.com/hometrip/gateway/upstream/eventlog"
)

// A logReader drives an eventlog.Reader with the models, as package upstream and
// upstream/rabbitmq do with a real broker. It belongs to its machine.
type logReader struct {
	m      *machine
	of     logClient
	reader *eventlog.Reader

	source *source // nil: none is open
	inputs []eventlog.Input
	next   int // index of the next input
	todo   []eventlog.Output
	head   int  // index of the next output
	busy   bool // run is being executed
	due    dueTime
	fresh  bool // begun was not called for this log yet
	toTell bool // the log was opened, and tell must be called
	over   bool
	held   bool // the client gets nothing, because a hand-over is under way
}

// A logClient gets the entries of a logReader: the rooms or the dead letters.
type logClient interface {
	full() bool // the client cannot take an entry; it calls resume when it can
	hand(e *eventlog.Entry)
	told(out *eventlog.Output) // Gap, OtherLog, Skipped
	begun(from eventlog.From)  // the next entries are of another log
	opened(from eventlog.From)
	rested() // no entry is being handed over
}

func (d *logReader) init(m *machine, of logClient) {
	d.m, d.of, d.fresh = m, of, true
	d.reader = eventlog.NewReader(eventlog.ReaderConfig{
		Window: m.r.limits.window, RetryMin: retryMin, RetryMax: retryMax, Seed: m.r.rng.Uint64(),
	})
}

// end ends the reading. The client is not told.
func (d *logReader) end() {
	d.over = true
	d.close()
}

// input queues an input for the reader.
func (d *logReader) input(in eventlog.Input) {
	if d.over {
		return
	}
	d.inputs = append(d.inputs, in)
	d.run()
}

// resume continues when the client can take entries again.
func (d *logReader) resume() {
	if !d.over && (d.handing() || d.next < len(d.inputs)) {
		d.run()
	}
}

// handing reports whether outputs wait for the client.
func (d *logReader) handing() bool { return d.head < len(d.todo) }

// run does the work of the follower's goroutine: it passes inputs to the reader and
// executes its outputs. It stops while the client is full.
func (d *logReader) run() {
	if d.busy {
		return
	}
	d.busy = true
	defer func() {
		d.busy = false
		d.of.rested()
	}()
	for {
		for d.head < len(d.todo) {
			out := &d.todo[d.head]
			if d.held && out.Kind != eventlog.Open && out.Kind != eventlog.Credit {
				return
			}
			if out.Kind != eventlog.Hand {
				d.head++
				d.do(out)
				continue
			}
			if d.of.full() {
				return
			}
			d.head++
			d.of.hand(&out.Entry)
			d.todo = append(d.todo, d.step(eventlog.Input{Kind: eventlog.Taken})...)
		}
		clear(d.todo)
		d.todo, d.head = d.todo[:0], 0
		if d.toTell {
			d.toTell = false
			d.tell()
		}
		if d.next == len(d.inputs) {
			clear(d.inputs)
			d.inputs, d.next = d.inputs[:0], 0
			break
		}
		in := d.inputs[d.next]
		d.next++
		d.toTell = in.Kind == eventlog.Opened
		d.todo = append(d.todo, d.step(in)...)
	}
	d.schedule()
	if d.source != nil {
		d.source.more()
	}
}

// tell calls begun, if the client does not know the log of the next entries.
func (d *logReader) tell() {
	if !d.fresh || d.source == nil || !d.source.open {
		return
	}
	d.fresh = false
	d.of.begun(d.source.start.From)
}

func (d *logReader) step(in eventlog.Input) []eventlog.Output {
	in.Now = d.m.now()
	return d.reader.Step(&in)
}

// schedule schedules a Tick for the reader's deadline.
func (d *logReader) schedule() {
	at := d.reader.Deadline()
	if at.IsZero() {
		return
	}
	when, needed := d.due.next(d.m, d.m.when(at))
	if !needed {
		return
	}
	d.m.at(when, func() {
		d.due.passed(when)
		if deadline := d.reader.Deadline(); !deadline.IsZero() && !d.m.now().Before(deadline) {
			d.input(eventlog.Input{Kind: eventlog.Tick})
		} else if !d.over {
			d.schedule()
		}
	})
}

func (d *logReader) do(out *eventlog.Output) {
	if d.m.r.tracing() && out.Kind != eventlog.Credit {
		d.m.r.trace(d.m.name, "log: %v", *out)
	}
	switch out.Kind {
	case eventlog.Open:
		d.close()
		d.open(out.Start)
	case eventlog.Credit:
		if d.source != nil {
			d.source.taken(out.Position)
		}
	case eventlog.OtherLog:
		d.fresh = true
		d.of.told(out)
	default:
		d.of.told(out)
	}
}

func (d *logReader) close() {
	if d.source != nil {
		d.source.hangUp()
		d.source = nil
	}
}

// open opens a source. The reader gets an input when it is open or has failed.
func (d *logReader) open(at eventlog.Start) {
	d.source = openSource(d.m, at, d)
}

// The following methods make the logReader a sourceClient.

func (d *logReader) sourceOpened(s *source) {
	if d.source != s {
		return
	}
	if d.m.r.tracing() {
		d.m.r.trace(d.m.name, "log: opened %v %+v", s.start, s.info)
	}
	d.input(eventlog.Input{Kind: eventlog.Opened, Info: s.info})
	d.of.opened(s.start.From)
}

func (d *logReader) sourceTook(s *source, e eventlog.Entry) {
	if d.source == s {
		d.input(eventlog.Input{Kind: eventlog.Delivered, Entry: e})
	}
}

func (d *logReader) sourceEnded(s *source) {
	if s == nil || d.source == s {
		d.source = nil
		d.input(eventlog.Input{Kind: eventlog.Closed})
	}
}

// idle reports whether the reader waits for entries.
func (d *logReader) idle() bool { return !d.busy && !d.handing() && len(d.inputs) == 0 }

// A source is one reading of the log. With redis it reads the stream in Redis,
// otherwise RabbitMQ's.
type source struct {
	m     *machine
	of    sourceClient
	link  *brokerLink
	redis *redisReading
	start eventlog.Start
	open  bool // sourceOpened was called
	mark  string
	info  eventlog.Info
	sent  []unacknowledged
	ready int // replies that are missing before the source is open
}

// A sourceClient gets the entries of a source. sourceEnded gets nil if the source
// could not be opened.
type sourceClient interface {
	sourceOpened(s *source)
	sourceTook(s *source, e eventlog.Entry)
	sourceEnded(s *source)
	idle() bool
}

// An unacknowledged is an entry that RabbitMQ has delivered with a tag.
type unacknowledged struct {
	position eventlog.Position
	tag      uint64
}

// openSource begins to read the log. If the server is unreachable it returns nil,
// and calls sourceEnded a moment later.
func openSource(m *machine, at eventlog.Start, of sourceClient) *source {
	if m.r.log.redis != nil {
		return openRedisSource(m, at, of)
	}
	if !m.r.broker.reachable(m) {
		m.after(m.r.between(netLeast, dialMost), func() { of.sourceEnded(nil) })
		return nil
	}
	s := &source{m: m, of: of, start: at}
	s.link = m.r.broker.dial(m, s.take, func() { of.sourceEnded(s) })
	s.begin()
	return s
}

// begin declares the stream and consumes it. To find the end of the log, it
// publishes a mark and waits until that is read back.
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
		s.mark = s.m.String() + strconv.FormatUint(s.m.r.rng.Uint64(), 36)
	}
	s.ready = 4 // declared, bound, credit, consuming
	server := s.m.r.broker
	s.link.do(func(ch *rabbitmodel.Channel) {
		s.info = eventlog.Info{Identity: server.stream(ch), Behind: s.info.Behind, Holes: int(server.broker.OwnPositions)}
		ch.Qos(window)
		ch.Consume(streamName, "reader", false, begin)
	})
	if s.mark != "" {
		s.link.do(func(ch *rabbitmodel.Channel) {
			ch.Publish(rabbitmodel.Message{Key: streamName, Headers: map[string]string{markHeader: s.mark}}, false)
		})
	}
}

// take handles an event of the broker.
func (s *source) take(e rabbitmodel.Event) {
	switch e.Kind {
	case rabbitmodel.Done:
		if s.ready--; s.ready == 0 && s.mark == "" {
			s.open = true
			s.of.sourceOpened(s)
		}
	case rabbitmodel.Delivery:
		position := eventlog.Position(e.Offset + 1)
		if !s.open && s.mark != "" {
			s.link.do(func(ch *rabbitmodel.Channel) { ch.Ack(e.Tag, false) })
			if e.Message.Headers[markHeader] == s.mark {
				s.info.Behind = position
				s.open = true
				s.of.sourceOpened(s)
			}
			return
		}
		s.sent = append(s.sent, unacknowledged{position, e.Tag})
		s.of.sourceTook(s, entryOf(e.Message, position))
	}
}

// more asks Redis for more entries. RabbitMQ sends them without being asked.
func (s *source) more() {
	if s.redis != nil && s.open {
		s.redis.more()
	}
}

func (s *source) hangUp() {
	if s.redis != nil {
		s.redis.hangUp()
	} else {
		s.link.hangUp()
	}
}

// taken acknowledges entries, so that the broker sends more.
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

// entryOf converts a message to an entry, as upstream/rabbitmq does.
func entryOf(m *rabbitmodel.Message, p eventlog.Position) eventlog.Entry {
	e := eventlog.Entry{
		Position: p, Exchange: m.Exchange, Key: m.Key, MessageID: m.ID, AppID: m.App,
		Published: epoch.Add(m.At), Body: []byte(m.Body),
	}
	if m.Exchange == "" {
		e.Exchange, e.Key = m.Headers[fromHeader], m.Headers[keyHeader]
		if at, err := strconv.ParseInt(m.Headers[timeHeader], 10, 64); err == nil {
			e.Published = epoch.Add(time.Duration(at))
		}
		for name, value := range m.Headers {
			if e.Headers == nil {
				e.Headers = make(map[string]any)
			}
			e.Headers[name] = value
		}
	}
	return e
}
