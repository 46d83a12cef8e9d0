package simulation

import (
	"strconv"
	"time"

	"github.com/hometrip/gateway/internal/simulation/rabbitmodel"
	"github.com/hometrip/gateway/upstream"
	"github.com/hometrip/gateway/upstream/eventlog"
)

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
	log    string            // of which that is
	fresh  bool              // the rooms have not been told of this log
	toTell bool              // the log was opened, and the rooms are to be told

	history *historyDriver
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
	d := &readerDriver{m: m, fresh: true}
	d.history = &historyDriver{d: d}
	d.reader = eventlog.NewReader(eventlog.ReaderConfig{
		Window: m.r.limits.window, RetryMin: 100 * time.Millisecond, RetryMax: 500 * time.Millisecond, Seed: m.r.rng.Uint64(),
	})
	d.intake = upstream.NewIntake(upstream.Config{
		Table: m.r.table, MaxBody: 1 << 16, Rooms: m, Keep: m.keep, Logger: discard, Tail: m.r.recovery.tail,
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
	d.history.end()
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
	defer func() {
		d.busy = false
		d.history.stamp()
	}()
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
		if d.toTell {
			d.toTell = false
			d.tell()
		}
		if len(d.inputs) == 0 {
			break
		}
		in := d.inputs[0]
		d.inputs = d.inputs[1:]
		d.toTell = in.Kind == eventlog.Opened
		d.todo = append(d.todo, d.step(in)...)
	}
	d.schedule()
}

// tell tells the rooms of which log entries come from here on, when they do not
// know.
func (d *readerDriver) tell() {
	if !d.fresh || d.source == nil || !d.source.open {
		return
	}
	d.fresh = false
	d.log = d.reader.Identity()
	behind := d.reader.Last()
	d.m.Anew(d.reader.Identity(), uint64(behind))
	d.intake.Begun(d.reader.Identity(), behind, behind != 0 || d.source.start.From == eventlog.FromFirst)
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
	when := max(d.m.when(at), d.m.r.now)
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
		d.intake.Gap(out.Position)
		m.r.judge.gap(m, out.From, out.Position)
		m.readOrders()
		m.missed()
	case eventlog.OtherLog:
		m.r.count("other log")
		d.intake.Reset()
		d.past = 0
		d.fresh = true
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
