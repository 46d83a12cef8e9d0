package load

import (
	"fmt"
	"time"
)

// joinQuiet is how long a join phase waits for announcements beyond those
// that had to come.
const joinQuiet = 50 * time.Millisecond

// joiner is the phase in which connections join conversation rooms and the
// others there are told: n members give n(n-1)/2 user_joined.
//
// Of two members the earlier hears of the later. Two that join at the same time
// through different loops or nodes may both hear; never neither, never twice.
// Users must be distinct, because an event tells its joiner by the user.
type joiner struct {
	l       *Loop
	args    JoinArgs
	next    int32
	out     int32 // joins without an ack
	acked   int32
	heard   uint64
	pairs   uint64   // that share a room
	met     uint64   // pairs of which one has heard of the other
	seen    []uint64 // a bit for each (room, listener, joiner)
	doubled uint64
	strays  uint64
	dropped uint64
	began   int64    // ns
	times   recorder // join to ack
}

func newJoiner(l *Loop, args JoinArgs) *joiner {
	j := &joiner{l: l, args: args, next: args.First, began: clock(), times: newRecorder()}
	for i := args.First; i < args.Last; i++ {
		l.conns[i].fresh()
		l.conns[i].room = args.FirstRoom + (i-args.First)/args.RoomSize
	}
	for left := args.Last - args.First; left > 0; left -= args.RoomSize {
		n := uint64(min(left, args.RoomSize))
		j.pairs += n * (n - 1) / 2
	}
	bits := int(args.Last-args.First+args.RoomSize) * int(args.RoomSize)
	j.seen = make([]uint64, bits/64+1)
	return j
}

func (j *joiner) tick(now int64) (int64, bool) {
	for j.next < j.args.Last && (j.args.Window == 0 || j.out < int32(j.args.Window)) {
		c := &j.l.conns[j.next]
		j.next++
		j.out++
		c.at = clock()
		j.l.minter.packet = j.l.dialect.appendJoin(j.l.minter.packet[:0], c.room)
		j.l.emit(c, j.l.minter.packet)
	}
	if j.acked == j.args.Last-j.args.First && j.met == j.pairs {
		end := j.l.now + int64(joinQuiet)
		return end, now >= end
	}
	return never, now-max(j.l.now, j.began) > int64(giveUpAfter)
}

func (j *joiner) ack(c *conn, _ []byte) {
	c.acks++
	j.acked++
	j.out--
	j.times.add(j.l.now - c.at)
}

func (j *joiner) event(c *conn, name eventName, p []byte) {
	user, ok := userOf(p)
	listener := j.l.indexOf(c)
	joined := user - j.l.conns[j.args.First].user + j.args.First
	if name != userJoined || !ok || joined < j.args.First || joined >= j.args.Last ||
		joined == listener || j.l.conns[joined].room != c.room {
		j.strays++
		return
	}
	j.heard++
	if j.bit(listener, joined, true) {
		j.doubled++
		return
	}
	if !j.bit(joined, listener, false) {
		j.met++
	}
}

// bit tells whether listener has heard of joined before, and with set notes
// that it now has.
func (j *joiner) bit(listener, joined int32, set bool) bool {
	at := int(listener-j.args.First)*int(j.args.RoomSize) + int(joined-j.args.First)%int(j.args.RoomSize)
	was := j.seen[at/64]&(1<<(at%64)) != 0
	if set {
		j.seen[at/64] |= 1 << (at % 64)
	}
	return was
}

func (j *joiner) finish(r *Result) {
	joins := uint64(j.args.Last - j.args.First)
	r.Units, r.Events = j.heard, joins
	r.Doubled, r.Strays, r.Closed = j.doubled, j.strays, j.dropped
	r.Lost = j.pairs - j.met
	if uint64(j.acked) != joins {
		r.Lost++
		r.Problems = append(r.Problems, fmt.Sprintf("%d acks for %d joins", j.acked, joins))
	}
	r.Elapsed = time.Duration(j.l.now - j.began)
	r.Latency = j.times.h.Export()
}

func (j *joiner) connected(*conn) {}

func (j *joiner) closed(*conn, step) { j.dropped++ }
