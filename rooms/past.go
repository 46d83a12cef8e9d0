package rooms

import (
	"slices"
	"sync"
	"time"
)

// Bounds of what a node remembers for `gateway explain`.
const (
	maxPastBytes   = 4 << 20 // for all users together; the oldest entries are dropped
	maxPastPerUser = 128     // entries of one user; the oldest goes first
	pastOverhead   = 400     // bytes of an entry beside its rooms
)

// A past is something that has happened to a socket of a user: its connection
// has ended (stay), it has left a room (left), or it has come back (back).
// Read-only once added.
type past struct {
	user string
	at   time.Time
	size int

	stay *Stay
	pid  string // of the stay's session

	socket string // of left and back
	log    string // of left
	left   StayRoom
	back   *StayReturn
}

// pasts is what a node remembers for `gateway explain`, bounded by bytes and by
// user. Safe for concurrent use.
type pasts struct {
	mu    sync.Mutex // guards the following
	order []*past    // the oldest at head; nil: dropped before
	head  int
	users map[string][]*past
	bytes int
}

func (ps *pasts) add(p past) {
	p.size = pastOverhead
	if p.stay != nil {
		for i := range p.stay.Rooms {
			p.size += 64 + len(p.stay.Rooms[i].Name)
		}
	}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.users == nil {
		ps.users = make(map[string][]*past)
	}
	if list := ps.users[p.user]; len(list) >= maxPastPerUser {
		ps.forget(list[0])
	}
	ps.order = append(ps.order, &p)
	ps.users[p.user] = append(ps.users[p.user], &p)
	for ps.bytes += p.size; ps.bytes > maxPastBytes; {
		oldest := ps.order[ps.head]
		if ps.order[ps.head] = nil; oldest.size > 0 {
			ps.forget(oldest)
		}
		ps.head++
	}
	if ps.head*2 > len(ps.order) {
		ps.order = append(ps.order[:0:0], ps.order[ps.head:]...)
		ps.head = 0
	}
}

// forget drops a user's oldest entry. Its place in order stays, empty.
func (ps *pasts) forget(p *past) {
	ps.bytes -= p.size
	list := ps.users[p.user]
	list[0] = nil
	if list = list[1:]; len(list) == 0 {
		delete(ps.users, p.user)
	} else {
		ps.users[p.user] = list
	}
	*p = past{}
}

// of returns what is remembered of a user, the oldest first.
func (ps *pasts) of(user string) (list []past) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for _, p := range ps.users[user] {
		list = append(list, *p)
	}
	return list
}

// withPast adds earlier stays of the user to those of its connected sockets.
func (h *Hub) withPast(user string, live []Stay) []Stay {
	var list []Stay
	newer := make(map[string]bool) // sessions with a later stay
	for i := range live {
		newer[live[i].Session] = true
	}
	entries := h.past.of(user)
	for i := range slices.Backward(entries) {
		p := &entries[i]
		if p.stay == nil {
			continue
		}
		st := *p.stay
		end := *st.End
		st.End, st.Rooms = &end, slices.Clone(st.Rooms)
		if !newer[st.Session] && h.sessions.kept(p.pid) {
			end.Until = end.At.Add(h.config.Recovery.Window)
		}
		newer[st.Session] = true
		list = append(list, st)
	}
	slices.Reverse(list)
	list = append(h.forgotten(user, newer), list...)
	list = append(list, live...)
	addChanges(list, entries)
	return list
}

// addChanges adds the rooms that sockets have left, and how they came back, to
// their stays.
func addChanges(list []Stay, entries []past) {
	for i := range entries {
		p := &entries[i]
		if p.stay != nil {
			continue
		}
		for k := range list { // the oldest first: the first one that had not ended then
			st := &list[k]
			if st.Socket != p.socket || st.End != nil && st.End.At.Before(p.at) {
				continue
			}
			if p.back != nil {
				st.Return = p.back
			} else if st.Log == p.log {
				st.Rooms = append(st.Rooms, p.left)
			}
			break
		}
	}
}

// forgotten describes, by their records, the ended sessions of a user whose
// stays are no longer remembered but to which clients may come back.
func (h *Hub) forgotten(user string, known map[string]bool) (list []Stay) {
	for _, record := range h.sessions.recordsOf(user) {
		r, err := ParseRecord(record)
		if err != nil || known[SessionMark(r.PID)] {
			continue
		}
		st := r.Stay()
		st.End.Until = r.At.Add(h.config.Recovery.Window)
		list = append(list, st)
	}
	return list
}

// Stay describes the connection that the record was made for.
func (r *Record) Stay() Stay {
	st := Stay{Socket: r.ID, Session: SessionMark(r.PID), Log: r.Log, Given: max(r.Given, r.Last)}
	for _, room := range r.Rooms[:min(len(r.Rooms), maxStayRooms)] {
		st.Rooms = append(st.Rooms, StayRoom{Name: room.Name, From: room.From, Known: true})
	}
	st.Cut = len(r.Rooms) > maxStayRooms
	st.End = &StayEnd{At: r.At, Reason: "", Orphan: !r.Ended}
	return st
}
