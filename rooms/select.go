package rooms

import (
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/hometrip/gateway/codec"
)

// roomOfAll is the name of the room that every socket is in, if
// Config.SocketRooms is set. Clients cannot name it.
const roomOfAll = ""

// A Selection says which sockets of a node an action is for: those in one of
// Rooms, or all, except those that are in one of Except. With
// Config.SocketRooms a socket is in a room named by its id, so both may name
// sockets. The zero value selects nothing. Read-only after it was made.
type Selection struct {
	Rooms, Except []string
	All           bool // instead of Rooms
}

// rooms returns the rooms whose members are selected.
func (s *Selection) rooms() []string {
	if s.All {
		return []string{roomOfAll}
	}
	return s.Rooms
}

// An action is done to selected sockets, at its place in the order of the
// mailbox. The event loops own it one after the other; do and done are set
// once.
type action struct {
	do   func(*Socket, time.Time) // nil for a message
	done func(sockets int)        // called once, on the last event loop; may be nil

	left    atomic.Int32 // shards it has not passed
	sockets atomic.Int32
}

func (a *action) passed(sockets int) {
	a.sockets.Add(int32(sockets))
	if a.left.Add(-1) == 0 && a.done != nil {
		a.done(int(a.sockets.Load()))
	}
}

// Emit queues m for the selected sockets, each once. It never waits: if a
// mailbox is full, the sockets of that shard do not get it, which is counted.
func (h *Hub) Emit(s *Selection, m *codec.Message) {
	h.post(Broadcast{Selected: s, Message: m}, h.holders(s))
}

// JoinAll puts the selected sockets into rooms. Neither the Authorizer nor
// limits are asked: a service that moves a socket has the right to.
func (h *Hub) JoinAll(s *Selection, rooms []string) {
	h.act(s, &action{do: func(socket *Socket, _ time.Time) {
		for _, room := range rooms {
			socket.shard.join(socket, []byte(room), OfClients(room))
		}
		socket.saveSession()
	}})
}

// LeaveAll removes the selected sockets from rooms, but not from those that
// every socket stays in as long as it is connected.
func (h *Hub) LeaveAll(s *Selection, rooms []string) {
	h.act(s, &action{do: func(socket *Socket, now time.Time) {
		for _, room := range rooms {
			r := socket.shard.rooms.get(room)
			if r == nil || r.name == socket.ID() || r.name == roomOfAll {
				continue
			}
			if slot := socket.in(r); slot >= 0 && r.name != UserRoom(socket.UserID()) {
				socket.leaveRoom(slot, "a service took it out", now)
			}
		}
		socket.saveSession()
	}})
}

// DisconnectAll disconnects the selected sockets: from the namespace only, or
// by closing the connection.
func (h *Hub) DisconnectAll(s *Selection, connection bool) {
	h.act(s, &action{do: func(socket *Socket, now time.Time) {
		if !socket.endComeback(RecoveryOrder, now) {
			return // refused
		}
		socket.shard.stats.Ordered.Add(1)
		socket.disconnect(ReasonOrdered.String(), now)
		if connection {
			socket.close(ReasonOrdered)
		}
	}})
}

// A SocketInfo is what other servers may know of a socket.
type SocketInfo struct {
	ID, UserID string
	Rooms      []string
}

// Sockets calls done, on an event loop, with the selected sockets.
func (h *Hub) Sockets(s *Selection, done func([]SocketInfo)) {
	found := make([][]SocketInfo, len(h.shards)) // each element of one loop
	h.act(s, &action{
		do: func(socket *Socket, _ time.Time) {
			info := SocketInfo{ID: socket.ID(), UserID: socket.UserID()}
			for _, m := range socket.rooms.all() {
				if m.room.name != roomOfAll {
					info.Rooms = append(info.Rooms, m.room.name)
				}
			}
			i := socket.shard.index
			found[i] = append(found[i], info)
		},
		done: func(int) {
			var all []SocketInfo
			for _, part := range found {
				all = append(all, part...)
			}
			done(all)
		},
	})
}

// Ask sends the selected sockets an event that they are to acknowledge. build
// makes the packet with the id of the acknowledgement. counted is called once
// with the number of sockets, before any acknowledgement. acknowledged is
// called for each acknowledgement that arrives before forget is called, with
// its JSON array and attachments. Both are called on event loops and must not
// block.
func (h *Hub) Ask(s *Selection, build func(id int64) *codec.Message,
	counted func(sockets int), acknowledged func(args []byte, attachments [][]byte)) (forget func()) {
	id := h.questions.Add(1)
	m := build(id)
	q := &question{acknowledged: acknowledged}
	h.act(s, &action{
		do: func(socket *Socket, _ time.Time) {
			socket.shard.ask(id, q, socket)
			socket.sink.Send(m)
		},
		done: counted,
	})
	return func() {
		for _, sh := range h.shards {
			sh.Post(func(time.Time) { delete(sh.asked, id) })
		}
	}
}

// A question is an event whose acknowledgements are awaited.
type question struct {
	acknowledged func(args []byte, attachments [][]byte)
}

// asked is one shard's part of a question.
type asked struct {
	question *question
	open     map[*Socket]struct{} // have not answered
}

func (sh *Shard) ask(id int64, q *question, s *Socket) {
	if sh.asked == nil {
		sh.asked = make(map[int64]asked)
	}
	a, ok := sh.asked[id]
	if !ok {
		a = asked{q, make(map[*Socket]struct{})}
		sh.asked[id] = a
	}
	a.open[s] = struct{}{}
}

// acknowledge handles a client's acknowledgement. It ignores one that nothing
// waits for, or that repeats another.
func (s *Socket) acknowledge(id int64, args []byte, attachments [][]byte) {
	a, ok := s.shard.asked[id]
	if !ok {
		return
	}
	if _, ok := a.open[s]; !ok {
		return
	}
	delete(a.open, s)
	a.question.acknowledged(args, attachments)
}

// act does a to the selected sockets, after what was posted before.
func (h *Hub) act(s *Selection, a *action) {
	holders := h.holders(s)
	a.left.Store(int32(bits.OnesCount64(holders)) + 1) // and one for this call
	for left := holders; left != 0; left &= left - 1 {
		shard := h.shards[bits.TrailingZeros64(left)]
		if !shard.mailbox.broadcast(Broadcast{Selected: s, action: a}) {
			shard.stats.MailboxFull.Add(1)
			a.passed(0)
		}
	}
	a.passed(0)
}

// holders returns the shards that may have selected sockets, as a bit set.
func (h *Hub) holders(s *Selection) (shards uint64) {
	for _, room := range s.rooms() {
		shards |= h.occupancy.of(room).shards
	}
	return shards
}

// selected does what a broadcast to a selection asks for. A message to one
// room, or to all, is sent in portions.
func (sh *Shard) selected(b *Broadcast) {
	if rooms := b.Selected.rooms(); b.action == nil && len(rooms) == 1 {
		sh.start(sh.rooms.get(rooms[0]), walk{b: *b})
		return
	}
	var few [8]*Socket
	sockets := sh.choose(b.Selected, few[:0])
	switch {
	case b.action == nil:
		for _, s := range sockets {
			s.sink.Send(b.Message)
		}
		sh.stats.Deliveries.Add(int64(len(sockets)))
	default:
		for _, s := range sockets {
			b.action.do(s, sh.now)
		}
		b.action.passed(len(sockets))
	}
}

// choose appends the shard's selected sockets to dst, each once.
func (sh *Shard) choose(s *Selection, dst []*Socket) []*Socket {
	rooms, except := s.rooms(), sh.excepted(s)
	var seen map[*Socket]struct{}
	if len(rooms) > 1 {
		seen = make(map[*Socket]struct{})
	}
	for _, name := range rooms {
		r := sh.rooms.get(name)
		if r == nil {
			continue
		}
		for _, m := range r.members.all() {
			if m.inAny(except) {
				continue
			}
			if seen != nil {
				if _, had := seen[m]; had {
					continue
				}
				seen[m] = struct{}{}
			}
			dst = append(dst, m)
		}
	}
	return dst
}

// excepted returns the rooms of this shard whose members are excepted.
func (sh *Shard) excepted(s *Selection) (rooms []*room) {
	for _, name := range s.Except {
		if r := sh.rooms.get(name); r != nil {
			rooms = append(rooms, r)
		}
	}
	return rooms
}

func (s *Socket) inAny(rooms []*room) bool {
	for _, r := range rooms {
		if s.in(r) >= 0 {
			return true
		}
	}
	return false
}

// sendSelected queues a message for those members of the selected room that are
// not excepted, and returns how many those are.
func (sh *Shard) sendSelected(members []*Socket, b *Broadcast) (sent int) {
	except := sh.excepted(b.Selected)
	for i := range members {
		if s := members[i]; !s.inAny(except) {
			s.sink.Send(b.Message)
			sent++
		}
	}
	return sent
}

// joinOwn puts a connected socket into the room of its id and the room of all
// sockets.
func (sh *Shard) joinOwn(s *Socket) {
	if !sh.hub.config.SocketRooms {
		return
	}
	for _, name := range []string{s.ID(), roomOfAll} {
		if sh.rooms.get(name) == nil {
			sh.rooms.put(&room{nodeRoom: sh.hub.occupancy.newRoom(name), own: true})
		}
		sh.join(s, []byte(name), false)
	}
}
