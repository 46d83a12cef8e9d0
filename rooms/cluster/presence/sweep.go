package presence

import (
	"slices"
	"time"

	"github.com/hometrip/gateway/rooms/cluster/wire"
)

// goneFor is how long Redis remembers that a session was removed. Late commands
// of that session have no effect meanwhile.
const goneFor = 10 * time.Minute

// A sweep is the removal of a session of a dead node, or of a former session of
// this node.
type sweep struct {
	session string // "": none
	grace   time.Duration
	flying  bool
	found   []string // rooms from which the session is to be removed
}

func (s *sweep) start(session string, grace time.Duration) {
	*s = sweep{session: session, grace: grace}
}

func (s *sweep) stop() { *s = sweep{} }

// sweeps fills a batch with the next step of a removal.
func (n *Core) sweeps(f *flight, b *Batch, now time.Time) bool {
	s := &n.sweep
	if s.session == "" || s.flying {
		return false
	}
	f.told = []string{s.session}
	s.flying = true
	if len(s.found) > 0 {
		some := min(len(s.found), max(n.window.Free(now), 1))
		f.what, f.names = removals, s.found[:some]
		for _, room := range f.names {
			b.Commands = append(b.Commands, n.writing(room, s.session, 0, s.grace, true, nil))
		}
		s.found = s.found[some:]
		return true
	}
	f.what = sweeps
	for p := range partitions {
		b.Commands = append(b.Commands,
			n.command("SET", n.goneKey(p, s.session), "1", "PX", wire.Decimal(goneFor.Milliseconds())),
			n.command("SRANDMEMBER", n.hasKey(p, s.session), wire.Decimal(sweepBatch)))
	}
	return true
}

func (n *Core) swept(f *flight, replies []wire.Reply, err error, now time.Time) {
	s := &n.sweep
	if s.session == "" || !s.flying || f.told[0] != s.session || err != nil {
		return
	}
	s.flying = false
	if f.what == removals {
		for i, room := range f.names {
			if replies[i].Int >= 0 {
				n.tell.note(room, now.Add(time.Duration(replies[i].Int)*time.Millisecond), now)
			}
		}
		return
	}
	for _, r := range replies {
		s.found = append(s.found, r.List...)
	}
	if len(s.found) == 0 {
		n.sweptAll(s.session)
	}
}

// sweptAll ends the removal after the session was removed from all rooms.
func (n *Core) sweptAll(session string) {
	i := slices.IndexFunc(n.former, func(s uint64) bool { return n.sessionName(s) == session })
	if i >= 0 {
		n.former = slices.Delete(n.former, i, i+1)
	} else {
		n.Stats.Swept++
	}
	n.sweep.stop()
	n.forgets = append(n.forgets, session)
}

// forget fills a batch that removes a session from the list of sessions.
func (n *Core) forget(f *flight, b *Batch) bool {
	if len(n.forgets) == 0 {
		return false
	}
	f.what = forgotten
	b.Commands = []Command{n.command("ZREM", n.sessionsKey(), n.forgets...)}
	n.forgets = nil
	n.renewal = time.Time{} // renew at once: the reply may name another session to be removed
	return true
}
