package load

import (
	"fmt"
	"time"
)

// crowdPatience is how long a phase of a crowd waits for the next of what is
// still missing.
const crowdPatience = time.Minute

// A Range is the connections First to Last-1.
type Range struct{ First, Last int32 }

// CrowdArgs say what all connections of a worker get from services, and which of
// them come back when they are closed.
type CrowdArgs struct {
	For        time.Duration // the phase lasts at least as long
	Users      Draw          // events for users
	Room       int32
	RoomEvents uint32 // of Room
	Back       Range  // these have lost their connections before, and come back
	Killed     string // a server that ends during the phase: its clients come back to others
	Window     int    // of them, that are being connected at a time
	Home       bool   // every second one of Back comes back to the server it was on
	Untimed    bool   // events were published long before they can come
}

// crowd is the phase in which all connections are there and services publish.
// Every event is checked: its number, its receiver, its order. Announcements of
// members are not counted, because other workers' clients come and go.
type crowd struct {
	l    *Loop
	args CrowdArgs

	seen              []uint64 // a bit for each event of args.Users
	want, got         uint64   // events for users of this worker
	wantRoom, gotRoom uint64

	away      []bool  // by connection: it comes back in this phase
	returning uint64  // how many do
	toDial    []int32 // connections that are closed
	dialing   int
	joining   int // without an acknowledgement
	back      uint64
	resumed   uint64
	told      uint64 // events for users that came back and were told that they were not recovered

	until    int64 // ns
	last     int64 // ns; when something that was missing has come
	events   recorder
	returned recorder

	doubled, swapped, strays, dropped uint64
}

func newCrowd(l *Loop, args CrowdArgs) *crowd {
	w := &crowd{l: l, args: args, seen: make([]uint64, args.Users.Events/64+1), away: make([]bool, len(l.conns)), events: newRecorder(), returned: newRecorder()}
	for i := range l.conns {
		c := &l.conns[i]
		c.fresh()
		if c.room == args.Room {
			w.wantRoom += uint64(args.RoomEvents)
		}
		if w.returns(int32(i)) {
			w.away[i] = true
			w.returning++
		}
		if c.step == stepClosed && w.away[i] {
			w.toDial = append(w.toDial, int32(i))
		}
	}
	first, last := l.conns[0].user, l.conns[len(l.conns)-1].user
	for k := range args.Users.Events {
		if user := args.Users.User(args.Users.Base + k); user >= first && user <= last {
			w.want++
		}
	}
	w.last = clock()
	w.until = w.last + int64(args.For)
	return w
}

// returns reports whether connection i comes back in this phase.
func (w *crowd) returns(i int32) bool {
	onKilled := w.args.Killed != "" && w.l.hosts[w.l.conns[i].target] == w.args.Killed
	return onKilled || i >= w.args.Back.First && i < w.args.Back.Last
}

func (w *crowd) tick(now int64) (int64, bool) {
	for len(w.toDial) > 0 && w.dialing < w.args.Window {
		i := w.toDial[len(w.toDial)-1]
		w.toDial = w.toDial[:len(w.toDial)-1]
		w.dial(i)
	}
	if w.complete() {
		return w.until, now >= w.until
	}
	return never, now-max(w.last, w.until) > int64(crowdPatience)
}

func (w *crowd) complete() bool {
	return w.got >= w.want && w.gotRoom >= w.wantRoom && w.joining == 0 &&
		w.back >= w.returning
}

func (w *crowd) dial(i int32) {
	c := &w.l.conns[i]
	if others := len(w.l.targets) - 1; others > 0 && !(w.args.Home && i%2 == 0) {
		c.target = uint8((int(c.target) + 1 + int(i)%others) % len(w.l.targets))
	}
	w.dialing++
	if err := w.l.dial(i); err != nil {
		w.l.problem("%v", err)
		w.dialing--
	}
}

func (w *crowd) connected(c *conn) {
	w.dialing--
	w.back++
	w.last = w.l.now
	w.returned.add(w.l.now - c.at)
	if s := w.l.sessions[w.l.indexOf(c)]; s != nil && s.recovered {
		w.resumed++
		return
	}
	if w.args.Untimed {
		w.forgive(c)
	}
	if c.room >= 0 {
		w.joining++
		w.l.minter.packet = w.l.dialect.appendJoin(w.l.minter.packet[:0], c.room)
		w.l.emit(c, w.l.minter.packet)
	}
}

// forgive takes the events that c has missed from what is to come: it was told that
// it is not recovered.
func (w *crowd) forgive(c *conn) {
	for at := range w.args.Users.Events {
		if w.args.Users.User(w.args.Users.Base+at) == c.user && w.seen[at/64]&(1<<(at%64)) == 0 {
			w.told++
			w.want--
		}
	}
}

func (w *crowd) ack(*conn, []byte) {
	w.joining--
	w.last = w.l.now
}

func (w *crowd) closed(c *conn, was step) {
	i := w.l.indexOf(c)
	switch {
	case !w.away[i]:
		w.dropped++
	case was < stepReady:
		w.dialing-- // the loop has recorded the problem
	default:
		w.toDial = append(w.toDial, i)
	}
}

func (w *crowd) event(c *conn, name eventName, p []byte) {
	switch name {
	case userJoined, userLeft, roomState, recoveryState:
		return
	case newNotification, newMessage:
	default:
		w.strays++
		return
	}
	seq, sent, ok := parseMark(p)
	switch {
	case ok && name == newNotification && w.args.Users.has(seq) && w.args.Users.User(seq) == c.user:
		w.ofUser(c, seq)
	case ok && name == newMessage && w.args.RoomEvents > 0 && c.room == w.args.Room:
		w.ofRoom(c, seq)
	default:
		w.strays++
		return
	}
	w.last = w.l.now
	if !w.args.Untimed {
		w.events.add(w.l.now - sent)
	}
}

func (w *crowd) ofUser(c *conn, seq uint32) {
	at := seq - w.args.Users.Base
	if w.seen[at/64]&(1<<(at%64)) != 0 {
		w.doubled++
		return
	}
	w.seen[at/64] |= 1 << (at % 64)
	w.got++
	if at < c.seq {
		w.swapped++
	}
	c.seq = at + 1
}

// ofRoom takes an event of the room, of which each member gets all in order.
func (w *crowd) ofRoom(c *conn, seq uint32) {
	switch {
	case seq < c.count:
		w.doubled++
		return
	case seq > c.count:
		w.swapped++ // the ones between are missing so far
	}
	c.count = seq + 1
	w.gotRoom++
}

func (w *crowd) finish(r *Result) {
	r.Units, r.Events = w.got+w.gotRoom, w.want+w.wantRoom
	r.Back, r.Resumed, r.Told = w.back, w.resumed, w.told
	r.Lost = (w.want - min(w.want, w.got)) + (w.wantRoom - min(w.wantRoom, w.gotRoom))
	r.Doubled, r.Swapped, r.Strays, r.Closed = w.doubled, w.swapped, w.strays, w.dropped
	if missing := int64(w.returning) - int64(w.back); missing > 0 || w.joining > 0 {
		r.Lost += uint64(max(missing, 0)) + uint64(w.joining)
		r.Problems = append(r.Problems, fmt.Sprintf("%d connections did not come back, %d joins were not acknowledged", missing, w.joining))
	}
	r.Latency = w.events.h.Export()
	if w.returning > 0 {
		r.Latency = w.returned.h.Export()
	}
}
