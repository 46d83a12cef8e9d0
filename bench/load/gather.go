package load

import (
	"fmt"
	"time"
)

// gatherQuiet is how long a gatherer whose own joins are answered waits for
// announcements of other workers' joins.
const gatherQuiet = 15 * time.Second

// GatherArgs let one in Every connections join a room that it shares with the
// connections of the same index of other workers: the first one with those of
// all workers, the others with those of the same group.
type GatherArgs struct {
	Every   int32
	Window  int   // joins without an acknowledgement at a time
	Workers int32 // at most 64
	Group   int32 // workers of a group, which follow each other
	Self    int32 // number of this worker
	Step    int32 // from the first user of a worker to that of the next one
}

// meets reports whether this worker's connection in a room, counted within the
// group, shares it with one of another worker.
func (a *GatherArgs) meets(worker, room int32) bool {
	return worker < a.Workers && worker != a.Self && (room == 0 || worker/a.Group == a.Self/a.Group)
}

// gatherer is the phase of it. Each user_joined is checked: it is of the
// connection of another worker in the same room, and comes once. Whether of each
// two members one has heard of the other is seen only with the results of all
// workers.
type gatherer struct {
	l     *Loop
	args  GatherArgs
	next  int32
	out   int
	joins uint64
	acked uint64
	seen  []uint64 // by room
	last  int64    // ns; when something has come
	times recorder // join to acknowledgement

	heard, doubled, strays, dropped uint64
}

func newGatherer(l *Loop, args GatherArgs) *gatherer {
	g := &gatherer{l: l, args: args, last: clock(), times: newRecorder()}
	for i := range l.conns {
		l.conns[i].fresh()
		if int32(i)%args.Every == 0 {
			l.conns[i].room = g.name(int32(i) / args.Every)
			g.joins++
		}
	}
	g.seen = make([]uint64, g.joins)
	return g
}

// name is the number by which a room of the group is joined: room 0 is that of
// all groups.
func (g *gatherer) name(room int32) int32 {
	if room == 0 {
		return 0
	}
	rooms := (int32(len(g.l.conns)) + g.args.Every - 1) / g.args.Every
	return room + g.args.Self/g.args.Group*rooms
}

func (g *gatherer) tick(now int64) (int64, bool) {
	for int(g.next) < len(g.l.conns) && g.out < g.args.Window {
		c := &g.l.conns[g.next]
		g.next += g.args.Every
		g.out++
		c.at = clock()
		g.l.minter.packet = g.l.dialect.appendJoin(g.l.minter.packet[:0], c.room)
		g.l.emit(c, g.l.minter.packet)
	}
	if g.acked == g.joins {
		return g.last + int64(gatherQuiet), now-g.last > int64(gatherQuiet)
	}
	return never, now-g.last > int64(crowdPatience)
}

func (g *gatherer) ack(c *conn, _ []byte) {
	g.out--
	g.acked++
	g.last = g.l.now
	g.times.add(g.l.now - c.at)
}

func (g *gatherer) event(c *conn, name eventName, p []byte) {
	if name == recoveryState { // of clients that asked for recovery
		return
	}
	user, ok := userOf(p)
	worker, index := user/g.args.Step, user%g.args.Step
	room := index / g.args.Every
	if name != userJoined || !ok || index != g.l.indexOf(c) || c.room < 0 || !g.args.meets(worker, room) {
		if g.strays++; g.strays <= 2 {
			g.l.problem("stray event in room %d: %.200q", c.room, p)
		}
		return
	}
	g.last = g.l.now
	g.heard++
	if g.seen[room]&(1<<worker) != 0 {
		g.doubled++
	}
	g.seen[room] |= 1 << worker
}

func (g *gatherer) closed(*conn, step) { g.dropped++ }
func (g *gatherer) connected(*conn)    {}

func (g *gatherer) finish(r *Result) {
	r.Units, r.Events, r.Heard = g.heard, g.joins, g.seen
	r.Doubled, r.Strays, r.Closed = g.doubled, g.strays, g.dropped
	if g.acked != g.joins {
		r.Lost = g.joins - g.acked
		r.Problems = append(r.Problems, fmt.Sprintf("%d acknowledgements for %d joins", g.acked, g.joins))
	}
	r.Elapsed -= gatherQuiet
	r.Latency = g.times.h.Export()
}

// Unmet counts the pairs of members of which neither has heard of the other, by
// the results of all workers. group is GatherArgs.Group.
func Unmet(results []*Result, group int) (pairs, unmet uint64) {
	for a := range results {
		for b := range a {
			for room := range results[a].Heard {
				if room > 0 && a/group != b/group {
					break
				}
				pairs++
				if results[a].Heard[room]&(1<<b) == 0 && results[b].Heard[room]&(1<<a) == 0 {
					unmet++
				}
			}
		}
	}
	return pairs, unmet
}
