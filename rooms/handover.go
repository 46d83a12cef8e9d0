package rooms

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/internal/handover/form"
)

// In a hand-over, State describes a socket and Adopt makes it again in the next
// process. Neither notifies anybody: the socket keeps its id, its rooms and its
// place in them.

// errUnsettled is the error for a socket that waits for something outside its
// event loop.
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

// Consulting returns how many questions to authenticators and authorizers are
// open.
func (h *Hub) Consulting() int64 { return h.consulting.Load() }

// Delivered returns the position in the log of the services' events up to which
// everything has been delivered.
func (h *Hub) Delivered() uint64 { return h.passed.Load() }

// Settled reports whether the shard waits for no answer.
func (sh *Shard) Settled() bool { return len(sh.asked) == 0 && len(sh.hunted) == 0 }

// Pending returns how many tasks and broadcasts wait for the shard or are being
// processed.
func (sh *Shard) Pending() int {
	n := sh.mailbox.waiting() + len(sh.tasks) + len(sh.batch) - sh.done + len(sh.said)
	if sh.walk.room != nil {
		n++
	}
	return n
}

// Log returns the identity of the log that the shard's positions belong to.
func (sh *Shard) Log() string { return sh.identity }

// State describes the socket of a connection. If the client has come back over
// another connection while this one is being closed, only the connection is
// described; Absent describes the socket.
func (s *Socket) State(now time.Time) (form.Socket, error) {
	if s.phase == phaseAbsent {
		return form.Socket{Phase: uint8(phaseClosed)}, nil
	}
	return s.state(now)
}

func (s *Socket) state(now time.Time) (form.Socket, error) {
	if _, gated := s.sink.(*gate); gated || s.phase == phaseVerifying || s.comeback() != nil {
		return form.Socket{}, errUnsettled
	}
	f := form.Socket{
		Phase: uint8(s.phase), Warned: s.warned, Lead: s.lead, Issued: s.issued,
		Ahead: s.events.Ahead(now), ID: s.ID(), UserID: s.UserID(), TokenID: s.tokenID,
	}
	if s.phase == phaseConnected {
		f.Until = s.until
	} else if f.Deadline = s.until != 0; f.Deadline {
		f.Left = time.Duration(s.until) - Monotonic(now)
	}
	for i := range s.rooms.all() {
		r := s.rooms.all()[i].room
		f.Rooms = append(f.Rooms, form.Room{Name: r.name, Announce: r.announce})
	}
	if s.rooms.len() > 0 {
		f.Position = s.Position()
	}
	s.describeSession(&f)
	if c := s.claims; c != nil {
		f.HasClaims, f.Email, f.Role = true, c.email, c.role
		f.NamesRooms, f.ClaimRooms = c.rooms != nil, c.rooms
	}
	if a := s.aside; a != nil {
		f.Token, f.Asks = a.token, a.asks
		if y := a.assembly; y != nil {
			f.Assembling, f.Packet, f.Attachments, f.Want = true, y.packet, y.attachments, uint32(y.want)
		}
	}
	return f, nil
}

// describeSession describes the session to which the client may come back.
func (s *Socket) describeSession(f *form.Socket) {
	n := s.session
	if n == nil {
		return
	}
	n.rebase(s)
	f.Recovers = true
	f.Session = form.Record{
		PID: n.pid.String(), Last: n.last.position(), Lost: n.lost(s.shard), Gone: n.gone,
		Fence: n.fence(), Moves: n.moves(), Unsaved: n.saving(),
	}
	if m := n.more; m != nil {
		f.Session.Given, f.Session.At = m.given, m.at
	}
	for i := range f.Rooms {
		f.Rooms[i].From = n.join(i).position()
	}
}

// Absent describes the sockets without a connection that are in their rooms.
func (sh *Shard) Absent(now time.Time) (all []form.Absent, err error) {
	for _, a := range sh.absent.waiting {
		if a.socket.phase != phaseAbsent { // its client is back
			continue
		}
		f, err := a.socket.state(now)
		if err != nil {
			return nil, err
		}
		all = append(all, form.Absent{Socket: f, Left: a.until.Sub(now)})
	}
	return all, nil
}

// CheckState returns an error if a description cannot be one that State wrote.
func CheckState(f *form.Socket) error {
	switch p := phase(f.Phase); {
	case p == phaseConnected || p == phaseAbsent && f.Recovers:
	case p != phaseOpen && p != phaseClosed || len(f.Rooms) > 0:
		return fmt.Errorf("a socket in phase %d with %d rooms, want one that is open or connected", f.Phase, len(f.Rooms))
	}
	if _, ok := parsePublicID(f.ID); !ok {
		return fmt.Errorf("a socket has the id %q, want none or %d characters of base64url", f.ID, pidLength)
	}
	if _, ok := parsePID(f.Session.PID); f.Recovers && !ok {
		return fmt.Errorf("socket %q has the pid %q, want %d characters of base64url", f.ID, f.Session.PID, pidLength)
	}
	for i := range f.Rooms {
		if r := &f.Rooms[i]; !r.Announce && !OfUser(r.Name) {
			return fmt.Errorf("socket %q is in room %q as its user", f.ID, r.Name)
		}
	}
	return nil
}

// Adopt makes the socket that f describes, in its rooms. log is the identity of
// the log that the positions in f belong to.
func (sh *Shard) Adopt(sink Sink, f *form.Socket, log string, now time.Time) (*Socket, error) {
	if err := CheckState(f); err != nil {
		return nil, err
	}
	s := &Socket{
		shard: sh, sink: sink, phase: phase(f.Phase), warned: f.Warned, lead: f.Lead, issued: f.Issued,
		events: ThrottleAhead(f.Ahead, now), tokenID: f.TokenID,
	}
	s.setUser(f.UserID)
	s.id, _ = parsePublicID(f.ID) // CheckState has looked
	switch {
	case s.phase == phaseConnected:
		s.until = f.Until
		sh.stats.Sockets.Add(1)
	case s.phase == phaseAbsent:
		sh.stats.Absent.Add(1)
	case f.Deadline:
		s.until = max(int64(Monotonic(now)+f.Left), 1)
	}
	if f.HasClaims && sh.hub.config.Authorizer != nil {
		s.claims = &claims{email: f.Email, role: f.Role, rooms: f.ClaimRooms}
		if f.NamesRooms && s.claims.rooms == nil {
			s.claims.rooms = []string{}
		}
	}
	s.adoptAside(f)
	s.adoptRooms(f, log)
	return s, nil
}

func (s *Socket) adoptAside(f *form.Socket) {
	if f.Token != "" || f.Asks || f.Assembling {
		s.aside = &aside{token: f.Token, asks: f.Asks}
	}
	if f.Assembling {
		y := &assembly{packet: cloned(f.Packet), want: int(min(f.Want, math.MaxInt32)), size: len(f.Packet)}
		for _, a := range f.Attachments {
			y.attachments, y.size = append(y.attachments, cloned(a)), y.size+len(a)
		}
		s.aside.assembly = y
	}
}

// adoptRooms puts the socket into its rooms. Events up to its position in the
// log are not given to it again.
func (s *Socket) adoptRooms(f *form.Socket, log string) {
	sh := s.shard
	same := log == sh.identity && log != ""
	if p, ok := parsePID(f.Session.PID); ok && f.Recovers {
		s.session = sh.adoptSession(&f.Session, p)
	}
	for i := range f.Rooms {
		r, _ := sh.join(s, []byte(f.Rooms[i].Name), f.Rooms[i].Announce)
		if s.user != nil && r.name == s.user.name {
			s.user = r.nodeRoom
		}
	}
	if same && f.Position != 0 {
		s.raise(f.Position)
	}
	if s.session == nil {
		return
	}
	if s.rooms.len() == len(f.Rooms) { // no room twice
		for i := range f.Rooms {
			s.session.join(i).set(f.Rooms[i].From)
		}
	}
	if !same { // rebase sees that the positions are of another log
		s.session.log--
	}
	sessions := sh.hub.sessions
	switch {
	case !s.session.gone:
		sessions.open(s)
	case s.phase == phaseAbsent:
		sessions.moved(s.session.pid.String(), s)
	}
	if history := sh.hub.config.Recovery.History; history != nil {
		history.Wanted()
	}
}

func (sh *Shard) adoptSession(f *form.Record, p pid) *session {
	n := newSession(p, sh)
	n.gone = f.Gone
	n.last.set(f.Last)
	m := n.beside()
	m.given, m.at, m.fence, m.moves = f.Given, f.At, f.Fence, f.Moves
	if f.Unsaved {
		m.saves = 1
	}
	if f.Lost {
		n.gaps--
	}
	n.tidy()
	return n
}

// AdoptAbsent makes an absent socket, which leaves its rooms when its grace is
// over.
func (sh *Shard) AdoptAbsent(f *form.Absent, log string, now time.Time) error {
	s, err := sh.Adopt(nobody{}, &f.Socket, log, now)
	if err == nil {
		sh.absent.add(s, now, f.Left)
	}
	return err
}

// Ended describes the sessions that have no socket, the oldest first.
func (h *Hub) Ended(now time.Time) (all []form.Ended) {
	ss := h.sessions
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for _, e := range ss.order[ss.head:] {
		if k := ss.ended[e.pid]; k != nil && k.at.Equal(e.at) {
			all = append(all, form.Ended{PID: e.pid, User: k.user, Record: k.record, Age: now.Sub(k.at)})
		}
	}
	return all
}

// AdoptEnded stores the sessions that another process has described.
func (h *Hub) AdoptEnded(all []form.Ended, now time.Time) {
	for _, e := range all {
		h.sessions.end(&Record{PID: e.PID, User: e.User, At: now.Add(-e.Age)}, cloned(e.Record))
	}
	if len(all) > 0 && h.config.Recovery.History != nil {
		h.config.Recovery.History.Wanted()
	}
}

// Vacant describes the rooms that have no members but still count for the user
// who left last.
func (h *Hub) Vacant(now time.Time) (all []form.Vacancy) {
	v := &h.vacant
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, q := range v.queue {
		if e := v.rooms[q.room]; e.until.Equal(q.until) && now.Before(q.until) {
			all = append(all, form.Vacancy{Room: q.room, User: e.user, Left: q.until.Sub(now)})
		}
	}
	return all
}

// AdoptVacant counts such rooms of another process.
func (h *Hub) AdoptVacant(all []form.Vacancy, now time.Time) {
	for _, v := range all {
		h.vacant.add(v.Room, v.User, now.Add(v.Left))
	}
}

// cloned returns a copy that does not keep the form in memory.
func cloned(b []byte) []byte { return append(make([]byte, 0, len(b)), b...) }

// LetGo forgets every socket and room of the shard without notifying anybody,
// because another process has them now. The shard accepts nothing from then on.
func (sh *Shard) LetGo() {
	_, members := sh.Len()
	sh.stats.Members.Add(-int64(members))
	sh.stats.Sockets.Store(0)
	sh.stats.Absent.Store(0)
	sh.rooms, sh.asked, sh.hunted = roomTable{}, nil, nil
	sh.absent = absentees{}
}

// MessageForm describes a queued message.
func MessageForm(m *codec.Message) form.Message {
	return form.Message{Frames: m.Frames(), Volatile: m.Volatile}
}
