package rooms

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hometrip/gateway/internal/shrink"
)

// sessions has the sessions of this node: those of its sockets, connected and
// absent, and the records of those that have ended. Records are bounded by
// number, by bytes and by user; the oldest are dropped first. Safe for
// concurrent use.
type sessions struct {
	config *Recovery

	mu      sync.Mutex           // guards the following
	live    pidTable             // sockets by the pids of their sessions
	coming  map[string]*comeback // returns under way, the newest of each pid
	leaving map[string]*Socket   // absent sockets whose sessions other nodes have taken
	ended   map[string]*kept     // records of sessions without a socket
	order   []endedSession       // in which they ended; some are gone
	head    int                  // index of the oldest in order
	bytes   int                  // of records
	users   map[string][]string  // pids of each user's records
	peaks   [3]shrink.Peak       // of ended, users and coming
	evicted int64                // records that were dropped before their window was over
}

// A kept session is one that has ended and whose record is kept.
type kept struct {
	user   string
	record []byte
	at     time.Time
}

// An endedSession names a record and the time at which its session ended.
type endedSession struct {
	pid string
	at  time.Time
}

// userShare is how many users it takes to fill MaxMemory: one user's records of
// many rooms do not drive out those of others. One record is kept in any case.
const userShare = 64

// keptOverhead is about how many bytes an ended session takes beside its
// record.
const keptOverhead = 250 // bytes

func newSessions(c *Recovery) *sessions {
	return &sessions{
		config: c, coming: make(map[string]*comeback), leaving: make(map[string]*Socket),
		ended: make(map[string]*kept), users: make(map[string][]string),
	}
}

// open adds a socket that has a session. If another socket had it, from a time
// in which this node was taken for dead, that one is displaced.
func (ss *sessions) open(s *Socket) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if old := ss.live.put(s); old != nil && old != s {
		old.shard.Post(old.displaced)
	}
}

// close removes a session of a socket.
func (ss *sessions) close(p pid, s *Socket) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.live.get(p) == s {
		ss.live.remove(p)
	}
}

// sockets returns the sockets that have sessions, grouped by shard.
func (ss *sessions) sockets() []*Socket {
	ss.mu.Lock()
	all := ss.live.all()
	ss.mu.Unlock()
	slices.SortFunc(all, func(a, b *Socket) int { return a.shard.index - b.shard.index })
	return all
}

// pids returns the sessions without a socket, in the order in which they ended.
func (ss *sessions) pids() (list []string) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for _, e := range ss.order[ss.head:] {
		if k := ss.ended[e.pid]; k != nil && k.at.Equal(e.at) {
			list = append(list, e.pid)
		}
	}
	return list
}

// record returns the record of a session without a socket, nil if there is
// none. drop: the record is removed.
func (ss *sessions) record(pid string, drop bool) []byte {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	k := ss.ended[pid]
	if k == nil {
		return nil
	}
	if drop {
		ss.drop(pid)
	}
	return k.record
}

// end stores the record of a session that no longer has a socket. It returns
// the sessions that are dropped because there are too many, which may include
// this one.
func (ss *sessions) end(r *Record, form []byte) (dropped []string) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if p, ok := parsePID(r.PID); ok {
		ss.live.remove(p)
	}
	ss.drop(r.PID)
	size, others := len(form)+keptOverhead, ss.bytesOf(r.User)
	if len(ss.users[r.User]) >= ss.config.PerUser || size > ss.config.MaxMemory || others > 0 && others+size > ss.config.MaxMemory/userShare {
		ss.evicted++
		return []string{r.PID}
	}
	ss.ended[r.PID] = &kept{user: r.User, record: form, at: r.At}
	ss.order = append(ss.order, endedSession{r.PID, r.At})
	ss.users[r.User] = append(ss.users[r.User], r.PID)
	ss.bytes += size
	for ss.head < len(ss.order) && (len(ss.ended) > ss.config.MaxSessions || ss.bytes > ss.config.MaxMemory) {
		ss.evicted++
		if pid, found := ss.dropOldest(); found {
			dropped = append(dropped, pid)
		}
	}
	return dropped
}

// bytesOf returns how many bytes the records of a user take.
func (ss *sessions) bytesOf(user string) (n int) {
	for _, pid := range ss.users[user] {
		n += len(ss.ended[pid].record) + keptOverhead
	}
	return n
}

// dropEnded drops all sessions without a socket and returns their pids.
func (ss *sessions) dropEnded() []string {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	pids := slices.Collect(maps.Keys(ss.ended))
	for ss.head < len(ss.order) {
		ss.dropOldest()
	}
	return pids
}

// drop drops the record of a session.
func (ss *sessions) drop(pid string) {
	k := ss.ended[pid]
	if k == nil {
		return
	}
	delete(ss.ended, pid)
	ss.ended = shrink.Map(ss.ended, &ss.peaks[0])
	ss.bytes -= len(k.record) + keptOverhead
	pids := slices.DeleteFunc(ss.users[k.user], func(other string) bool { return other == pid })
	if ss.users[k.user] = pids; len(pids) == 0 {
		delete(ss.users, k.user)
		ss.users = shrink.Map(ss.users, &ss.peaks[1])
	}
}

// dropOldest drops the session that ended first, if it is still stored.
func (ss *sessions) dropOldest() (pid string, found bool) {
	e := ss.order[ss.head]
	ss.order[ss.head] = endedSession{}
	ss.head++
	if k := ss.ended[e.pid]; k != nil && k.at.Equal(e.at) {
		ss.drop(e.pid)
		found = true
	}
	if ss.head*2 > len(ss.order) {
		n := copy(ss.order, ss.order[ss.head:])
		clear(ss.order[n:])
		ss.order, ss.head = shrink.List(ss.order[:n]), 0
	}
	return e.pid, found
}

// expire drops the records whose window is over.
func (ss *sessions) expire(now time.Time) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for n := 0; n < expireBatch && ss.head < len(ss.order) && now.Sub(ss.order[ss.head].at) > ss.config.Window; n++ {
		ss.dropOldest()
	}
}

// deadline returns when the window of the oldest record is over, zero if there
// is none.
func (ss *sessions) deadline() time.Time {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.head == len(ss.order) {
		return time.Time{}
	}
	return ss.order[ss.head].at.Add(ss.config.Window)
}

// A finding says who has a session on this node: a return under way or a
// socket; or it has the record if neither has it.
type finding struct {
	coming *comeback
	socket *Socket
	record []byte
	why    RecoveryResult
}

// find looks for a session. If it finds a record, it removes it. by is the
// return that looks for it; nil: none of this node.
func (ss *sessions) find(pid, user string, by *comeback) finding {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if c := ss.coming[pid]; c != nil && c != by {
		return finding{coming: c}
	}
	if s := ss.holder(pid); s != nil {
		return finding{socket: s}
	}
	k := ss.ended[pid]
	switch {
	case k == nil:
		return finding{why: RecoveryUnknown}
	case k.user != user:
		return finding{why: RecoveryOtherUser}
	}
	ss.drop(pid)
	return finding{record: k.record}
}

// comes records that a client comes back. It returns an earlier return of it
// that is under way, nil if there is none.
func (ss *sessions) comes(c *comeback) (before *comeback) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	before = ss.coming[c.auth.pid]
	if before != nil && before.id.UserID != c.id.UserID {
		return before // it stays the user's
	}
	ss.coming[c.auth.pid] = c
	return before
}

// isOver records that a return is over.
func (ss *sessions) isOver(c *comeback) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.coming[c.auth.pid] == c {
		delete(ss.coming, c.auth.pid)
		ss.coming = shrink.Map(ss.coming, &ss.peaks[2])
	}
}

// holder returns the socket that has a session, nil if there is none.
func (ss *sessions) holder(text string) *Socket {
	p, ok := parsePID(text)
	if !ok {
		return nil
	}
	return ss.live.get(p)
}

// liveSocket returns the socket that has a session, nil if there is none.
func (ss *sessions) liveSocket(pid string) *Socket {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.holder(pid)
}

// kept reports whether this node has the session of a pid.
func (ss *sessions) kept(pid string) bool {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.holder(pid) != nil || ss.ended[pid] != nil
}

// recordsOf returns the records of a user's sessions without a socket.
func (ss *sessions) recordsOf(user string) (list [][]byte) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for _, pid := range ss.users[user] {
		list = append(list, ss.ended[pid].record)
	}
	return list
}

// KeptSessions are the numbers of sessions that a node keeps for clients that
// come back.
type KeptSessions struct {
	Live, Ended int // with and without a socket
	Bytes       int // of the latter
	Evicted     int64
}

// KeptSessions returns how much this node keeps for clients that come back.
func (h *Hub) KeptSessions() KeptSessions {
	ss := h.sessions
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return KeptSessions{ss.live.size, len(ss.ended), ss.bytes, ss.evicted}
}

// empty reports whether there are no sessions.
func (ss *sessions) empty() bool {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.live.size == 0 && len(ss.ended) == 0
}
