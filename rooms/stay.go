package rooms

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/bits"
	"time"
)

// A Stay describes one connection of a user on a node, from CONNECT to its end,
// for `gateway explain`.
type Stay struct {
	Socket  string `json:"socket"`            // the public id; a recovered socket keeps it
	Session string `json:"session,omitempty"` // tells sessions apart; "": recovery was not asked for
	Log     string `json:"log,omitempty"`     // identity of the log that the positions belong to

	Transport string    `json:"transport,omitempty"`
	Address   string    `json:"address,omitempty"` // of IPv6 the /64
	Since     time.Time `json:"since,omitzero"`    // the beginning of the connection; zero: not known

	Rooms []StayRoom `json:"rooms,omitempty"`
	Cut   bool       `json:"roomsCut,omitempty"` // there were more rooms, which are not kept
	Given uint64     `json:"given,omitempty"`    // everything up to this position that is for the socket was given to its connection
	Lost  bool       `json:"lost,omitempty"`     // the log lost some events before this node could read them

	Return *StayReturn `json:"return,omitempty"` // how it began; nil: without the pid of a session
	End    *StayEnd    `json:"end,omitempty"`    // nil: it is connected
}

// A StayRoom is a room that the socket is or was in. It is given the events
// behind From, up to To.
type StayRoom struct {
	Name  string `json:"name"`
	From  uint64 `json:"from,omitempty"`  // 0: not known
	Known bool   `json:"known,omitempty"` // From is
	To    uint64 `json:"to,omitempty"`    // 0: it did not leave the room
	Why   string `json:"why,omitempty"`   // it left
}

// A StayReturn is the attempt to come back to a session with which a stay began.
type StayReturn struct {
	Session string    `json:"session"` // that the client came back for
	Result  string    `json:"result"`  // a RecoveryResult
	At      time.Time `json:"at"`
	Offset  string    `json:"offset,omitempty"`  // that the client sent
	From    uint64    `json:"from,omitempty"`    // recovered: it was sent the events behind this position,
	Through uint64    `json:"through,omitempty"` // up to this one, at its return
	Events  int       `json:"events"`            // that it was sent then
}

// A StayEnd is the end of a connection.
type StayEnd struct {
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
	Final  bool      `json:"final,omitempty"`  // the client cannot come back
	Until  time.Time `json:"until,omitzero"`   // the client may come back until then; zero: it may not, or has done so
	Orphan bool      `json:"orphan,omitempty"` // known from Redis only: nobody knows what the connection was given
}

// Recovered reports whether the stay began with a successful return.
func (s *Stay) Recovered() bool { return s.Return != nil && s.Return.Result == RecoveryDone.String() }

// A Connection is what a Sink knows of its connection.
type Connection struct {
	Transport string
	Address   string    // "unknown" when it is not known
	Since     time.Time // zero when it is not known
	Reason    Reason    // for which it has ended, if it has
}

// A Describer is a Sink that can describe its connection.
type Describer interface {
	Sink
	Describe() Connection
}

// SessionMark returns the public name of a session: the pid itself is a secret.
func SessionMark(pid string) string {
	if pid == "" {
		return ""
	}
	h := fnv.New64a()
	h.Write([]byte(pid))
	return fmt.Sprintf("%016x", h.Sum64())
}

// stay describes the socket, which is connected, as it is now.
func (s *Socket) stay() *Stay {
	sh := s.shard
	st := &Stay{Socket: s.ID(), Log: sh.identity, Given: s.Position()}
	sink := s.sink
	if g, gated := sink.(*gate); gated {
		sink = g.Sink
	}
	if d, ok := sink.(Describer); ok {
		c := d.Describe()
		st.Transport, st.Address, st.Since = c.Transport, c.Address, c.Since
	}
	n := s.session
	if n != nil {
		n.rebase(s)
		st.Session, st.Lost = SessionMark(n.pid.String()), n.lost(sh)
	}
	for i, m := range s.rooms.all() {
		switch {
		case m.room.own:
		case len(st.Rooms) == maxStayRooms:
			st.Cut = true
		case n == nil:
			st.Rooms = append(st.Rooms, StayRoom{Name: m.room.name})
		default:
			st.Rooms = append(st.Rooms, StayRoom{Name: m.room.name, From: max(n.join(i).position(), sh.base), Known: true})
		}
	}
	return st
}

// maxStayRooms is how many rooms of a stay are described.
const maxStayRooms = 256

// endClientLeft is the reason if the client disconnected.
const endClientLeft = "client_disconnect"

// noteEnd records the end of the socket's connection for `gateway explain`.
// final: the client cannot come back to it.
func (s *Socket) noteEnd(reason string, final bool, now time.Time) {
	if s.UserID() == "" {
		return
	}
	if reason == "" {
		reason = "closed"
		if d, ok := s.sink.(Describer); ok {
			reason = d.Describe().Reason.String()
		}
	}
	st := s.stay()
	st.End = &StayEnd{At: now, Reason: reason, Final: final || s.session == nil}
	p := past{user: s.UserID(), at: now, stay: st}
	if s.session != nil {
		p.pid = s.session.pid.String()
	}
	s.shard.hub.past.add(p)
}

// leaveRoom removes the socket from one room and records that for `gateway
// explain`.
func (s *Socket) leaveRoom(slot int, why string, now time.Time) {
	if s.UserID() != "" && s.phase == phaseConnected {
		left := StayRoom{Name: s.rooms.all()[slot].room.name, To: max(s.Position(), 1), Why: why}
		if s.session != nil {
			s.session.rebase(s)
			left.From, left.Known = max(s.session.join(slot).position(), s.shard.base), true
		}
		s.shard.hub.past.add(past{user: s.UserID(), at: now, socket: s.ID(), log: s.shard.identity, left: left})
	}
	s.leave(slot, now)
}

// noteReturn records a return for `gateway explain`; s is the socket that it
// led to.
func (c *comeback) noteReturn(why RecoveryResult, through uint64, events int, now time.Time) {
	s := c.socket
	if s.UserID() == "" {
		return
	}
	r := &StayReturn{Session: SessionMark(c.auth.pid), Result: why.String(), At: now, Offset: c.auth.offset, Events: events}
	if why == RecoveryDone {
		r.From, r.Through = c.given, through
	}
	s.shard.hub.past.add(past{user: s.UserID(), at: now, socket: s.ID(), back: r})
}

// A NodeState is how far a node has read the log.
type NodeState struct {
	Log      string `json:"log,omitempty"`
	Position uint64 `json:"position"` // up to which it has delivered the log
}

// Stays returns the stays of a user on this node, as far as they are known, and
// how far the node has read the log. It must not be called on an event loop.
// The error is ctx's.
func (h *Hub) Stays(ctx context.Context, user string) (list []Stay, state NodeState, err error) {
	holders := h.occupancy.of(UserRoom(user)).shards | 1 // the first one tells the log
	type answer struct {
		stays []Stay
		log   string // of the first shard
	}
	answers := make(chan answer, len(h.shards))
	for left := holders; left != 0; left &= left - 1 {
		sh := h.shards[bits.TrailingZeros64(left)]
		sh.Post(func(time.Time) {
			a := answer{stays: sh.stays(user)}
			if sh.index == 0 {
				a.log = sh.identity
			}
			answers <- a
		})
	}
	for range bits.OnesCount64(holders) {
		select {
		case a := <-answers:
			list = append(list, a.stays...)
			state.Log += a.log
		case <-ctx.Done():
			return nil, NodeState{}, ctx.Err()
		}
	}
	state.Position = h.passed.Load()
	return h.withPast(user, list), state, nil
}

func (sh *Shard) stays(user string) (list []Stay) {
	r := sh.rooms.get(UserRoom(user))
	if r == nil {
		return nil
	}
	for _, m := range r.members.all() {
		if m.phase == phaseConnected { // absent ones are in the past
			list = append(list, *m.stay())
		}
	}
	return list
}
