package rooms

import "time"

// absentees are a shard's sockets without a connection, in the order in which
// their grace ends. Owned by the shard's event loop.
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

// Expire has the absent sockets leave whose grace is over, and forgets sessions
// nobody came back to. It is called at Deadline or later, on the event loop.
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

// Deadline returns when Expire has something to do; zero: not as things are. It
// runs on the event loop.
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

// DismissAbsent has all absent sockets leave their rooms now.
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

// expireBatch is how many absent sockets leave in one call.
const expireBatch = 500
