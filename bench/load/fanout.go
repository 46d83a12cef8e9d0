package load

import (
	"bytes"
	"time"
)

// ringSize bounds how many events can be under way in one phase.
const ringSize = 1 << 14

// Source says how a fan-out's events get into the server.
type Source string

const (
	SourceTyping Source = "typing" // a client in the room sends typing
	SourceUser   Source = "user"   // POST /events/notification.created to user:{id}
	SourceRoom   Source = "room"   // POST /events/message.sent to conversation:{id}
	SourceListen Source = "listen" // somebody else publishes, with marks
)

// fanout is the phase in which one room gets events: a window of them always
// under way, or bursts, or at a fixed rate.
//
// Every delivery is checked. Published events carry their number, so that a
// gap, a double and a swap are told from each other. typing carries none: a
// double shows as a count too high, a swap as a timestamp that goes back.
type fanout struct {
	l     *Loop
	args  FanoutArgs
	until int64 // ns; no event is sent after
	due   int64 // ns; when the next paced event is due
	began int64 // ns

	sent      uint32
	complete  uint32
	members   int32 // who count: not stalled
	sentAt    [ringSize]int64
	left      [ringSize]int32
	times     recorder
	body      []byte
	last      []byte // the event delivered last, and its mark: all members get the same bytes
	lastSeq   uint32
	lastSent  int64
	lastStamp int32

	deliveries, doubled, lost, swapped, strays, dropped uint64
}

func newFanout(l *Loop, args FanoutArgs) *fanout {
	f := &fanout{l: l, args: args, times: newRecorder()}
	for i := args.First; i < args.Last; i++ {
		l.conns[i].fresh()
		if l.conns[i].step == stepReady {
			f.members++
		}
	}
	f.began = clock()
	f.due = f.began
	f.until = f.due + int64(args.For)
	return f
}

func (f *fanout) tick(now int64) (int64, bool) {
	if f.args.Source == SourceListen {
		return f.listen(now)
	}
	next, done := int64(never), false
	switch {
	case now < f.until:
		next = min(f.publish(now), f.until)
	case f.complete == f.sent && (f.l.pub == nil || f.l.pub.unanswered == 0):
		return 0, true
	default:
		done = now-max(f.l.now, f.until) > int64(giveUpAfter)
	}
	if f.l.pub != nil {
		f.l.pub.flush(f.l) // also when the time is over: a slow server may not have taken all
	}
	return next, done
}

// listenQuiet is how long a listener that has everything waits for a double.
const listenQuiet = 100 * time.Millisecond

// listen ends when all that was announced has come; without an announcement
// when the time is over.
func (f *fanout) listen(now int64) (int64, bool) {
	if f.args.Expect == 0 {
		return f.until, now >= f.until
	}
	if f.deliveries >= f.expected() {
		end := f.l.now + int64(listenQuiet)
		return end, now >= end
	}
	return never, now-max(f.l.now, f.until) > int64(giveUpAfter)
}

// publish sends what is due and returns when the next event is.
func (f *fanout) publish(now int64) int64 {
	switch {
	case f.args.Rate > 0:
		interval := int64(1e9 / f.args.Rate)
		for f.due <= now && f.sent-f.complete < ringSize {
			f.emit(f.due)
			f.due += interval
		}
		return f.due
	case f.args.Burst > 0:
		if f.sent == f.complete {
			for range f.args.Burst {
				f.emit(now)
			}
		}
	default:
		for f.sent-f.complete < uint32(f.args.Window) {
			f.emit(now)
		}
	}
	return never
}

// emit sends one event that was due at the time given.
func (f *fanout) emit(due int64) {
	seq := f.sent
	f.sent++
	f.sentAt[seq%ringSize] = due
	f.left[seq%ringSize] = f.members
	l := f.l
	switch f.args.Source {
	case SourceTyping:
		l.minter.packet = l.dialect.appendTyping(l.minter.packet[:0], f.args.Room, -1)
		l.emit(&l.conns[f.args.Publisher], l.minter.packet)
	case SourceUser:
		l.pub.post("notification.created", f.notification(seq, due))
	case SourceRoom:
		l.pub.post("message.sent", f.message(seq, due))
	}
}

func (f *fanout) notification(seq uint32, due int64) []byte {
	f.body = appendNotification(f.body[:0], f.args.User, seq, due, f.args.Pad)
	return f.body
}

func appendNotification(b []byte, user int32, seq uint32, due int64, pad int) []byte {
	b = appendUserID(append(b, `{"userId":"`...), user)
	b = append(b, `","notificationId":"n1","type":"bench","title":"bench","message":"`...)
	b = appendPad(appendMark(b, seq, due), pad)
	return append(b, `","data":{},"timestamp":"2026-01-02T03:04:05.678Z"}`...)
}

func (f *fanout) message(seq uint32, due int64) []byte {
	f.body = appendMessage(f.body[:0], f.args.Room, seq, due, f.args.Pad)
	return f.body
}

// MessageBody is the body of message.sent for who publishes by other ways than
// a worker: event seq of the room, due at CLOCK_MONOTONIC in ns.
func MessageBody(room int32, seq uint32, due int64) []byte {
	return appendMessage(nil, room, seq, due, 0)
}

// RoomName is the name of a room that clients join, as servers have it.
func RoomName(room int32) string { return "conversation:" + string(appendRoomID(nil, room)) }

func appendMessage(b []byte, room int32, seq uint32, due int64, pad int) []byte {
	b = append(b, `{"conversationId":"`...)
	b = appendRoomID(b, room)
	b = append(b, `","senderId":"s1","recipientId":"r1","message":"`...)
	b = appendPad(appendMark(b, seq, due), pad)
	return append(b, `","timestamp":"2026-01-02T03:04:05.678Z"}`...)
}

func appendPad(dst []byte, n int) []byte {
	return append(dst, bytes.Repeat([]byte{'x'}, n)...)
}

func (f *fanout) event(c *conn, name eventName, p []byte) {
	if c.step != stepReady {
		return
	}
	i := f.l.indexOf(c)
	if i < f.args.First || i >= f.args.Last || !f.args.Source.gives(name) {
		f.strays++
		return
	}
	if f.args.Source == SourceTyping {
		f.typed(c, p)
	} else {
		f.marked(c, p)
	}
}

// gives reports whether events of this source arrive under that name.
func (s Source) gives(name eventName) bool {
	switch s {
	case SourceTyping:
		return name == userTyping
	case SourceUser:
		return name == newNotification
	case SourceRoom:
		return name == newMessage
	}
	return name == newMessage || name == newNotification
}

func (f *fanout) typed(c *conn, p []byte) {
	if !bytes.Equal(p, f.last) {
		f.last = append(f.last[:0], p...)
		f.lastStamp = stampOf(p)
	}
	if !c.inOrder(f.lastStamp) {
		f.swapped++
	}
	if c.seq >= f.sent {
		f.doubled++
		return
	}
	f.delivered(c.seq, f.sentAt[c.seq%ringSize])
	c.seq++
}

func (f *fanout) marked(c *conn, p []byte) {
	if !bytes.Equal(p, f.last) {
		seq, sent, ok := parseMark(p)
		if !ok {
			f.strays++
			return
		}
		f.last = append(f.last[:0], p...)
		f.lastSeq, f.lastSent = seq, sent
	}
	seq := f.lastSeq
	switch {
	case seq < c.seq:
		// Either seen before, or overtaken by a later one. Which of the two
		// would need memory per connection; both fail the run.
		f.doubled++
		return
	case seq > c.seq:
		f.swapped++ // the ones between are missing so far
	}
	c.seq = seq + 1
	c.count++
	f.delivered(seq, f.lastSent)
}

func (f *fanout) delivered(seq uint32, sent int64) {
	f.deliveries++
	f.times.add(f.l.now - sent)
	if f.args.Source == SourceListen {
		return
	}
	left := &f.left[seq%ringSize]
	*left--
	if *left == 0 {
		f.complete++
	}
}

// expected is how many deliveries there should have been.
func (f *fanout) expected() uint64 {
	if f.args.Source == SourceListen {
		return uint64(f.args.Expect) * uint64(f.members)
	}
	return uint64(f.sent) * uint64(f.members)
}

func (f *fanout) finish(r *Result) {
	if want := f.expected(); f.deliveries < want {
		f.lost = want - f.deliveries
	}
	r.Units, r.Events = f.deliveries, uint64(f.sent)
	r.Lost, r.Doubled, r.Swapped, r.Strays = f.lost, f.doubled, f.swapped, f.strays
	r.Closed = f.dropped
	if f.args.Source == SourceListen {
		r.Elapsed = time.Duration(f.l.now - f.began)
	}
	r.Latency = f.times.h.Export()
}

func (f *fanout) connected(*conn)   {}
func (f *fanout) ack(*conn, []byte) {}

func (f *fanout) closed(_ *conn, was step) {
	if was == stepReady {
		f.dropped++
	}
}

var _ phase = (*fanout)(nil)
