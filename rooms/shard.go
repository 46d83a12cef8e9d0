package rooms

import (
	"time"

	"github.com/hometrip/gateway/codec"
)

// A Shard is one event loop's sockets and its members of every room. Owned by
// that event loop; Post and Attach are the only methods safe to call from
// elsewhere.
type Shard struct {
	hub   *Hub
	index int
	stats Stats

	mailbox mailbox
	tasks   []func(now time.Time) // taken out of the mailbox and not run yet

	rooms  roomTable
	hunted map[uint64]string // by hash of a token id: why its sockets are to be disconnected

	telling Throttle        // of what is told to rooms of many
	pace    pace            // of sockets that emit declared events
	asked   map[int64]asked // acknowledgements that are awaited, by id
	now     time.Time       // of the turn

	// passed is the position in the services' log up to which everything is
	// with the sockets. floor: no socket's own position is higher. log counts
	// the logs.
	passed, floor uint64
	log           uint16
	identity      string // of the log; "" before there is one
	base          uint64 // position behind which this node reads that log; 0: not known
	gaps          uint32 // times events were lost before this node has read them

	plain, numbered *codec.Message // the last event that was sent with its offset
	fence           uint32         // that was in it

	absent absentees // sockets without a connection, until their grace is over

	second     int64  // Unix, of secondText
	secondText []byte // the present second, formatted for events

	buf   []byte      // for building names and packets; valid until the next use
	batch []Broadcast // what Drain works through
	done  int         // of the batch
	walk  walk        // under way
	said  []saying    // by clients of this shard, that wait
	cut   bool        // Drain has not looked whether the mailbox has more
	call  Call        // of the event being handled; one at a time

	verification *verification // to be used again; nil: the last one is under way
}

func newShard(h *Hub, index int) *Shard {
	return &Shard{
		hub:     h,
		index:   index,
		mailbox: newMailbox(h.config.MaxMailbox, &h.brake),
	}
}

// Attach sets the function that wakes the shard's event loop, which then calls
// Tasks, and Drain until nothing is left. It is called from any goroutine, once
// for everything that is posted before Tasks runs. It must not change
// afterwards.
func (sh *Shard) Attach(bell func()) { sh.mailbox.attach(bell) }

// Post queues a task to run on the shard's event loop.
func (sh *Shard) Post(task func(now time.Time)) { sh.mailbox.task(task) }

// Tasks runs the tasks in the mailbox. If one panics, the next call continues
// after it.
func (sh *Shard) Tasks(now time.Time) {
	sh.now = now
	if len(sh.tasks) == 0 {
		sh.tasks = sh.mailbox.takeTasks()
	}
	for len(sh.tasks) > 0 {
		task := sh.tasks[0]
		sh.tasks[0] = nil // until the next batch comes, what it refers to may be large
		sh.tasks = sh.tasks[1:]
		task(now)
	}
}

// Drain queues waiting broadcasts for their members until about budget bytes of
// messages are taken from the mailbox, and returns the rest of the budget. Zero
// means that more may be waiting: the loop writes first and then calls again,
// so that no socket is given more than the budget between two writes. One call
// serves a portion of members; while Walking, more wait for the next call. If a
// delivery panics, the next call continues after it.
func (sh *Shard) Drain(budget int) int {
	sh.cut = false
	for steps := portion; ; {
		if steps <= 0 {
			sh.cut = true
			return budget
		}
		said := sh.walk.said
		steps -= sh.step(steps)
		switch {
		case sh.walk.room != nil:
			return budget
		case sh.next(said):
			steps--
		case budget <= 0:
			return budget
		default:
			sh.batch, budget = sh.mailbox.takeBroadcasts(sh.batch[:0], budget)
			if sh.done = 0; len(sh.batch) == 0 {
				return budget
			}
		}
	}
}

func (sh *Shard) deliver(b Broadcast) {
	switch {
	case b.anew:
		sh.passed, sh.floor = b.Position, 0
		sh.identity, sh.base = b.Room, b.Position
		sh.log++
		return
	case b.gap:
		sh.gaps++
		return
	case b.Position > sh.passed:
		sh.passed = b.Position - 1 // the event may be for other rooms too
	}
	if b.Selected != nil {
		sh.selected(&b)
		return
	}
	sh.start(sh.rooms.get(b.Room), walk{b: b})
}

// sendAbove queues a message of the log for members whose position is below the
// message's, and returns how many those are.
func (sh *Shard) sendAbove(members []*Socket, b *Broadcast) (sent int) {
	for i := range members {
		s := members[i]
		if s.floor() < b.Position {
			s.raise(b.Position)
			s.sink.Send(b.Message)
			sent++
		}
	}
	return sent
}

// Position returns the position in the log of the services' events up to which
// this shard has given everything to its sockets. It runs on the event loop.
func (sh *Shard) Position() uint64 {
	passed := sh.hub.passed.Load() // before the look into the mailbox
	if !sh.Walking() && sh.mailbox.empty() && passed > sh.passed {
		sh.passed = passed
	}
	return sh.passed
}

// Len returns the number of rooms and of memberships on this shard.
func (sh *Shard) Len() (rooms, members int) {
	for _, r := range sh.rooms.list() {
		members += r.members.len()
	}
	return sh.rooms.size, members
}

// roomName builds "kind:id" in the shard's scratch buffer.
func (sh *Shard) roomName(kind string, id []byte) []byte {
	sh.buf = append(append(append(sh.buf[:0], kind...), ':'), id...)
	return sh.buf
}

// join puts s into the named room, making it when s is the first, and reports
// whether s is new there.
func (sh *Shard) join(s *Socket, name []byte, announce bool) (*room, bool) {
	r := sh.rooms.getBytes(name)
	if r == nil {
		r = &room{nodeRoom: sh.hub.occupancy.newRoom(string(name)), announce: announce}
		sh.rooms.put(r)
	}
	if !r.join(s) {
		return r, false
	}
	sh.stats.Members.Add(1)
	if s.session != nil {
		r.asked++
		s.joined()
	}
	sh.hold(r, s.UserID(), r.members.len() == 1)
	user := s.UserID()
	if user == "" { // its own room, or nobody
		user = r.name
	}
	sh.hub.occupancy.join(r, sh.index, user)
	return r, true
}

// leave removes s from the room of its slot, and removes the room if s was the
// last member.
func (sh *Shard) leave(s *Socket, slot int, now time.Time) *room {
	r := s.rooms.all()[slot].room
	if s.session != nil {
		r.asked--
		s.left(slot)
	}
	r.leave(s, slot, &sh.walk)
	sh.stats.Members.Add(-1)
	last := r.members.len() == 0
	sh.release(r, s.UserID(), last)
	if last {
		sh.rooms.remove(r)
	}
	vacated := sh.hub.occupancy.leave(r, sh.index, last)
	if keep := sh.hub.limits().Linger; vacated && keep > 0 && r.announce {
		sh.hub.vacant.add(r.name, s.UserID(), now.Add(keep))
	}
	return r
}

// broadcast sends the message that build makes to everybody in r except one
// socket, on all event loops and nodes. there is the state of r on this node.
// If nobody else is in the room, build is not called.
func (sh *Shard) broadcast(r *room, there occupied, except *Socket, build func() *codec.Message) {
	elsewhere := there.shards &^ (1 << sh.index)
	here := r.members.len()
	if except != nil && except.in(r) >= 0 {
		here--
	}
	nodes := sh.hub.occupancy.elsewhere(r.name)
	outside := sh.hub.config.Outside
	if here == 0 && elsewhere == 0 && !nodes && outside == nil {
		return
	}
	m := build()
	sh.stats.Broadcasts.Add(1)
	sh.say(r, m, except)
	if elsewhere != 0 {
		sh.hub.post(Broadcast{Room: r.name, Message: m}, elsewhere)
	}
	if nodes {
		sh.hub.occupancy.cluster.Publish(r.name, m)
	}
	if outside != nil {
		id := ""
		if except != nil {
			id = except.ID()
		}
		outside.Publish(r.name, id, m)
	}
}

// say queues m for the members of r on this shard except one: at once, unless
// they are many or an earlier message of a client is still being queued.
func (sh *Shard) say(r *room, m *codec.Message, except *Socket) {
	if r.members.len() > portion || len(sh.said) > 0 || sh.walk.said {
		sh.said = append(sh.said, saying{r.name, m, except})
		return
	}
	sh.stats.Deliveries.Add(int64(send(r.members.all(), m, except)))
}
