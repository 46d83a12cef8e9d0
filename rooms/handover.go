package rooms

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/internal/handover/form"
)

// A process hands its sockets over to the next one: State describes a socket,
// Adopt makes it anew on the other side. Nobody is told of either: the socket
// keeps its id, its rooms and its place.

// errUnsettled says that a socket waits for somebody outside its event loop.
var errUnsettled = errors.New("a socket waits for somebody outside its event loop")

// Ahead returns how far t is ahead of its rate as of now; it is zero when
// everything taken has been earned.
func (t Throttle) Ahead(now time.Time) time.Duration {
	if t.Rested(now) {
		return 0
	}
	return time.Duration(int64(t) - int64(Monotonic(now)))
}

// ThrottleAhead returns the Throttle that is so far ahead as of now.
func ThrottleAhead(ahead time.Duration, now time.Time) Throttle {
	if ahead <= 0 || ahead > 3*maxBurst {
		return unused
	}
	return Throttle(max(int64(Monotonic(now)+ahead), 1))
}

// Consulting is the number of questions to authenticators and authorizers that
// have not been answered.
func (h *Hub) Consulting() int64 { return h.consulting.Load() }

// Recoverable reports whether there are clients that may come back to what they
// missed, or have gone and may still. A hand-over does not describe them yet.
func (h *Hub) Recoverable() bool { return !h.sessions.empty() }

// Delivered is the position in the log of the services' events up to which all
// has been delivered.
func (h *Hub) Delivered() uint64 { return h.passed.Load() }

// Settled reports whether the shard waits for nobody.
func (sh *Shard) Settled() bool { return len(sh.asked) == 0 && len(sh.hunted) == 0 }

// Pending is the number of tasks and broadcasts that wait for the shard.
func (sh *Shard) Pending() int {
	return sh.mailbox.waiting() + len(sh.tasks) + len(sh.batch) - sh.done
}

// recovers reports whether the client may come back to what it missed, or has
// asked for that, which the form does not describe.
func (s *Socket) recovers() bool { return s.session != nil || s.aside != nil && s.aside.asks }

// State describes the socket.
func (s *Socket) State(now time.Time) (form.Socket, error) {
	if _, gated := s.sink.(*gate); gated || s.phase == phaseVerifying || s.recovers() {
		return form.Socket{}, errUnsettled
	}
	f := form.Socket{
		Phase: uint8(s.phase), Warned: s.warned, Lead: s.lead, Issued: s.issued,
		Ahead: s.events.Ahead(now), ID: s.id, UserID: s.userID, TokenID: s.tokenID,
	}
	if s.phase == phaseConnected {
		f.Until = s.until
	} else if f.Deadline = s.until != 0; f.Deadline {
		f.Left = time.Duration(s.until) - Monotonic(now)
	}
	for i := range s.rooms {
		r := s.rooms[i].room
		f.Rooms = append(f.Rooms, form.Room{Name: r.name, Announce: r.announce})
	}
	if c := s.claims; c != nil {
		f.HasClaims, f.Email, f.Role = true, c.email, c.role
		f.NamesRooms, f.ClaimRooms = c.rooms != nil, c.rooms
	}
	if a := s.aside; a != nil {
		f.Token = a.token
		if y := a.assembly; y != nil {
			f.Assembling, f.Packet, f.Attachments, f.Want = true, y.packet, y.attachments, uint32(y.want)
		}
	}
	return f, nil
}

// CheckState returns an error for what State does not describe.
func CheckState(f *form.Socket) error {
	switch p := phase(f.Phase); {
	case p == phaseConnected:
	case p != phaseOpen && p != phaseClosed || len(f.Rooms) > 0:
		return fmt.Errorf("a socket in phase %d with %d rooms, want one that is open or connected", f.Phase, len(f.Rooms))
	}
	for i := range f.Rooms {
		if r := &f.Rooms[i]; !r.Announce && !OfUser(r.Name) {
			return fmt.Errorf("socket %q is in room %q as its user", f.ID, r.Name)
		}
	}
	return nil
}

// Adopt makes the socket that f describes, in its rooms.
func (sh *Shard) Adopt(sink Sink, f *form.Socket, now time.Time) (*Socket, error) {
	s := &Socket{
		shard: sh, sink: sink, phase: phase(f.Phase), warned: f.Warned, lead: f.Lead, issued: f.Issued,
		events: ThrottleAhead(f.Ahead, now), id: f.ID, userID: f.UserID, tokenID: f.TokenID,
	}
	if err := CheckState(f); err != nil {
		return nil, err
	}
	switch {
	case s.phase == phaseConnected:
		s.until = f.Until
		sh.stats.Sockets.Add(1)
	case f.Deadline:
		s.until = max(int64(Monotonic(now)+f.Left), 1)
	}
	if f.HasClaims && sh.hub.config.Authorizer != nil {
		s.claims = &claims{email: f.Email, role: f.Role, rooms: f.ClaimRooms}
		if f.NamesRooms && s.claims.rooms == nil {
			s.claims.rooms = []string{}
		}
	}
	if f.Token != "" || f.Assembling {
		s.aside = &aside{token: f.Token}
	}
	if f.Assembling {
		y := &assembly{packet: cloned(f.Packet), want: int(min(f.Want, math.MaxInt32)), size: len(f.Packet)}
		for _, a := range f.Attachments {
			y.attachments, y.size = append(y.attachments, cloned(a)), y.size+len(a)
		}
		s.aside.assembly = y
	}
	for i := range f.Rooms {
		r, joined := sh.join(s, []byte(f.Rooms[i].Name), f.Rooms[i].Announce)
		if joined && !r.announce {
			s.userID = r.name[len(UserPrefix):] // shares the room's memory
		}
	}
	return s, nil
}

// cloned returns a copy that does not keep the form in memory.
func cloned(b []byte) []byte { return append(make([]byte, 0, len(b)), b...) }

// LetGo forgets every socket and room of the shard without telling anybody:
// they live in another process now. The shard takes nothing from then on.
func (sh *Shard) LetGo() {
	_, members := sh.Len()
	sh.stats.Members.Add(-int64(members))
	sh.stats.Sockets.Store(0)
	sh.rooms, sh.asked, sh.hunted = make(map[string]*room), nil, nil
}

// MessageForm describes a message that waits.
func MessageForm(m *codec.Message) form.Message {
	return form.Message{Frames: m.Frames(), Volatile: m.Volatile}
}
