package rooms

import "time"

// absentees is the list of a shard's absent sockets, ordered by the time at
// which their grace ends. Owned by the shard's event loop.
type absentees struct {
	waiting []absentee
}

// An absentee is a socket without a connection, which leaves its rooms at until.
type absentee struct {
	socket *Socket
	until  time.Time
}

func (a *absentees) add(s *Socket, now time.Time, grace time.Duration) {
	a.waiting = append(a.waiting, absentee{s, now.Add(grace)})
}

// Expire removes absent sockets whose grace is over from their rooms, and drops
// the records of sessions whose window is over. The event loop calls it at
// Deadline or later.
func (sh *Shard) Expire(now time.Time) {
	waiting := sh.absent.waiting
	n := 0
	for n < len(waiting) && n < expireBatch && !now.Before(waiting[n].until) {
		waiting[n].socket.depart(now)
		waiting[n] = absentee{}
		n++
	}
	if sh.absent.waiting = waiting[n:]; len(sh.absent.waiting) == 0 {
		sh.absent.waiting = nil
	}
	if sh.index == 0 {
		sh.hub.sessions.expire(now)
	}
}

// Deadline returns when Expire has something to do, zero if nothing is pending.
// It runs on the event loop.
func (sh *Shard) Deadline() (at time.Time) {
	if len(sh.absent.waiting) > 0 {
		at = sh.absent.waiting[0].until
	}
	if sh.index == 0 {
		if end := sh.hub.sessions.deadline(); at.IsZero() || !end.IsZero() && end.Before(at) {
			at = end
		}
	}
	return at
}

// DismissAbsent removes all absent sockets from their rooms now.
func (h *Hub) DismissAbsent() {
	for _, sh := range h.shards {
		sh.Post(func(now time.Time) {
			for _, a := range sh.absent.waiting {
				a.socket.depart(now)
			}
			sh.absent.waiting = nil
		})
	}
}

// expireBatch is how many absent sockets one call of Expire removes.
const expireBatch = 500
