package rooms

// severalMost is how many rooms are remembered to have had an event to several
// rooms, before those of the oldest events are forgotten: more than the largest
// event has, and about a megabyte.
const severalMost = 1 << 14

// several is which rooms of a shard have had which of the events to several
// rooms. It remembers rooms and not sockets: a socket is in a few rooms, a room
// has many sockets. Owned by the shard's event loop.
type several struct {
	had    map[uint64]map[*room]struct{} // by event
	events []uint64                      // the oldest first
	rooms  int                           // in all of had
}

// send queues a message of such an event for the members of r who have not had
// the event in another room, and returns how many those are.
func (v *several) send(r *room, b *Broadcast) (sent int) {
	had := v.had[b.Event]
	for i := range r.members {
		s := r.members[i].socket
		if len(had) == 0 || !s.inAny(had) {
			s.sink.Send(b.Message)
			sent++
		}
	}
	v.add(b.Event, r)
	return sent
}

func (v *several) add(event uint64, r *room) {
	had := v.had[event]
	if had == nil {
		if v.had == nil {
			v.had = make(map[uint64]map[*room]struct{})
		}
		had = make(map[*room]struct{})
		v.had[event] = had
		v.events = append(v.events, event)
	}
	before := len(had)
	had[r] = struct{}{}
	v.rooms += len(had) - before
	for v.rooms > severalMost && len(v.events) > 1 {
		v.rooms -= len(v.had[v.events[0]])
		delete(v.had, v.events[0])
		v.events = v.events[1:]
	}
}

// inAny reports whether s is in one of the rooms.
func (s *Socket) inAny(rooms map[*room]struct{}) bool {
	for i := range s.rooms {
		if _, ok := rooms[s.rooms[i].room]; ok {
			return true
		}
	}
	return false
}
