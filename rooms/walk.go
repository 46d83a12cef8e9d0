package rooms

import "github.com/hometrip/gateway/codec"

// portion is how many members one call of Drain queues a message for. A room
// with up to that many members gets a client's message at once. It takes 1 to
// 2.5 ms.
const portion = 8192

// A walk is the delivery of a broadcast to the members of a room, a portion of
// them at a time. Members may join and leave between two portions: the message
// is for those that were members when the walk began and still are. So the
// room's members are kept in three parts: those that the walk has passed, those
// ahead of it, and those that joined later. Owned by the shard's event loop.
// The zero walk is finished.
type walk struct {
	b      Broadcast
	except *Socket // does not get it
	said   bool    // by a client of this shard

	room   *room // nil: the walk is finished
	passed int   // so many members have been given the message
	end    int   // from here on are those who came later
}

// fill closes the gap that a member leaves in the walk's room, with a member of
// the same part, and each gap that makes with one of the next part. It returns
// where the gap is then: in the last part.
func (w *walk) fill(gap int) int {
	if gap < w.passed {
		w.passed--
		w.room.move(w.passed, gap)
		gap = w.passed
	}
	if gap < w.end {
		w.end--
		w.room.move(w.end, gap)
		gap = w.end
	}
	return gap
}

// A saying is a client's message to a room that waits for its walk.
type saying struct {
	room    string
	message *codec.Message
	except  *Socket
}

// Walking reports whether the last Drain stopped after a portion, so that
// members or the mailbox wait for the next one.
func (sh *Shard) Walking() bool {
	return sh.walk.room != nil || len(sh.said) > 0 || sh.done < len(sh.batch) || sh.cut
}

// start begins a walk through r, which may be nil.
func (sh *Shard) start(r *room, w walk) {
	if r != nil && r.members.len() > 0 {
		sh.walk = w
		sh.walk.room, sh.walk.end = r, r.members.len()
	}
}

// step continues the walk for at most that many members, and returns for how
// many it was.
func (sh *Shard) step(most int) int {
	w := &sh.walk
	if w.room == nil {
		return 0
	}
	n := min(most, w.end-w.passed)
	members := w.room.members.all()[w.passed : w.passed+n]
	b, except, r := w.b, w.except, w.room
	if w.passed += n; w.passed == w.end { // before anything can panic
		sh.walk = walk{}
	}
	sh.stats.Deliveries.Add(int64(sh.give(members, r, &b, except)))
	return n
}

// give queues a broadcast for members of r and returns how many got it.
func (sh *Shard) give(members []*Socket, r *room, b *Broadcast, except *Socket) int {
	switch {
	case b.Selected != nil:
		return sh.sendSelected(members, b)
	case b.Position != 0 && r.asked > 0:
		return sh.sendNumbered(members, b)
	case b.Position == 0 || b.Position > sh.floor && !b.Shared:
		return send(members, b.Message, except)
	}
	return sh.sendAbove(members, b)
}

// next begins the next walk, or does the next other thing in the mailbox, and
// reports whether there was one. Clients' messages and broadcasts from the
// mailbox take turns; each keep their order.
func (sh *Shard) next(said bool) bool {
	switch {
	case len(sh.said) > 0 && (!said || sh.done == len(sh.batch)):
		s := sh.said[0]
		sh.said[0] = saying{}
		sh.said = sh.said[1:]
		sh.start(sh.rooms.get(s.room), walk{b: Broadcast{Message: s.message}, except: s.except, said: true})
	case sh.done < len(sh.batch):
		b := sh.batch[sh.done]
		sh.batch[sh.done] = Broadcast{}
		sh.done++
		sh.deliver(b)
	default:
		return false
	}
	return true
}
