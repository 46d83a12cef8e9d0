package simulation

import (
	"time"

	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/upstream"
	"github.com/hometrip/gateway/upstream/eventlog"
)

const (
	retryMin = 100 * time.Millisecond // of readers of the log
	retryMax = 500 * time.Millisecond
)

// A readerDriver reads the log for the rooms of a node, as upstream.Consumer
// does. It belongs to its machine.
type readerDriver struct {
	logReader
	intake *upstream.Intake
	past   eventlog.Position // position of the last entry that the rooms have taken; 0: none
	log    string            // identity of the log that past belongs to
	place  eventlog.Position // past or, before the first entry, the position where reading began

	history *historyDriver
}

func newReaderDriver(m *machine) *readerDriver {
	d := &readerDriver{}
	d.init(m, d)
	d.history = &historyDriver{d: d}
	d.intake = upstream.NewIntake(upstream.Config{
		Table: m.r.table, MaxBody: 1 << 16, Rooms: m, Keep: m.keep, Logger: discard, Tail: m.r.recovery.tail,
	})
	return d
}

// keep implements upstream.Config.Keep.
func (m *machine) keep(o rooms.Order) {
	m.node.Keep(o, m.now())
	m.cluster.wake()
}

// readOrders implements upstream.Config.Orders.
func (m *machine) readOrders() {
	m.node.ReadOrders()
	m.cluster.wake()
}

func (d *readerDriver) begin() {
	d.input(eventlog.Input{Kind: eventlog.Begin, Start: eventlog.Start{From: eventlog.FromNext}})
}

// end closes the reader's connections when the node dies.
func (d *readerDriver) end() {
	d.logReader.end()
	d.history.end()
}

// The following methods make the readerDriver a logClient.

// full reports whether a mailbox is full. A turn of an event loop calls resume.
func (d *readerDriver) full() bool { return d.m.hub.Full() }

// hand passes an entry to the rooms.
func (d *readerDriver) hand(e *eventlog.Entry) {
	m := d.m
	m.r.judge.entryTaken(m, e)
	if err := d.intake.Take(e, m.now()); err != nil {
		m.r.count("poison")
	}
	d.past, d.place = e.Position, e.Position
}

func (d *readerDriver) told(out *eventlog.Output) {
	m := d.m
	switch out.Kind {
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
		m.readOrders()
	}
}

func (d *readerDriver) begun(from eventlog.From) {
	d.log = d.reader.Identity()
	behind := d.reader.Last()
	d.place = behind
	d.m.Anew(d.reader.Identity(), uint64(behind))
	d.intake.Begun(d.reader.Identity(), behind, behind != 0 || from == eventlog.FromFirst)
}

func (d *readerDriver) opened(from eventlog.From) {
	if from == eventlog.FromNext {
		d.m.readOrders()
	}
}

func (d *readerDriver) rested() { d.history.askIntake() }
