package rooms

import (
	"time"

	"github.com/hometrip/gateway/codec"
)

// A RecoveryMode says which clients may come back to what they missed.
type RecoveryMode uint8

// The modes.
const (
	RecoveryOff   RecoveryMode = iota // none
	RecoveryAsked                     // those that ask for it
	RecoveryAll                       // all
)

// Recovery says how clients come back to what they missed.
type Recovery struct {
	Mode   RecoveryMode
	Window time.Duration // how long a client may be away
	Grace  time.Duration // how long the others wait for user_left

	MaxEvents int // that one return may bring
	MaxBytes  int // of these

	MaxSessions int // ended ones that this node remembers; 0: DefaultSessions
	MaxMemory   int // bytes of these; 0: DefaultSessionBytes
	PerUser     int // of one user; 0: DefaultSessionsPerUser

	History History  // nil: nobody recovers
	Remote  Sessions // the sessions of other nodes; nil: there are none

	Report func(Return) // is told of each return, on event loops; may be nil
}

// Defaults of Recovery.
const (
	DefaultWindow          = 2 * time.Minute
	DefaultReplayEvents    = 1000
	DefaultReplayBytes     = 4 << 20
	DefaultSessions        = 100_000
	DefaultSessionBytes    = 64 << 20
	DefaultSessionsPerUser = 100
)

func (r *Recovery) fill() {
	orDefault(&r.Window, DefaultWindow)
	orDefault(&r.MaxEvents, DefaultReplayEvents)
	orDefault(&r.MaxBytes, DefaultReplayBytes)
	orDefault(&r.MaxSessions, DefaultSessions)
	orDefault(&r.MaxMemory, DefaultSessionBytes)
	orDefault(&r.PerUser, DefaultSessionsPerUser)
}

func orDefault[T comparable](value *T, otherwise T) {
	var zero T
	if *value == zero {
		*value = otherwise
	}
}

// A History is the log of the services' events as far as it is kept.
type History interface {
	// Missed looks for the events that a client has missed and calls done
	// once, from another goroutine. It never blocks.
	Missed(q Question, done func(Missed))

	// Wanted tells that clients may ask from here on. It may be called at any
	// time, from any goroutine, and is cheap.
	Wanted()
}

// A Question asks a History for the events of some rooms.
type Question struct {
	Log   string     // identity that the positions belong to
	Rooms []RoomFrom // each with the position behind which its events are wanted
	Here  bool       // the positions are this node's own, so that 0 means where it began to read

	// Orders of the back office behind Since that mean the session make the
	// answer RecoveryOrder. Began is where the session began.
	Since  uint64
	Began  uint64
	User   string
	Token  uint64 // as TokenMark; 0: none
	Issued uint32 // Unix s; 0: not known

	MaxEvents, MaxBytes int
}

// A RoomFrom is a room and a position in the log.
type RoomFrom struct {
	Name string
	From uint64
}

// Missed is a History's answer.
type Missed struct {
	// Through is the position up to which the answer goes. Events behind it
	// are delivered to those who were in the rooms when the question was put.
	Through uint64

	Events []Numbered     // in the order of the log, each once
	Result RecoveryResult // RecoveryDone, or why there is no answer
}

// A Numbered is a message of the log.
type Numbered struct {
	Position uint64
	Message  *codec.Message
}

// A RecoveryResult is how the return of a client ended. Each has a counter of
// its name.
type RecoveryResult uint8

// The results. But for the first, the client is connected as a new one.
const (
	RecoveryDone      RecoveryResult = iota
	RecoveryUnknown                  // nobody knows the pid: the window is over, or the session was ended for good
	RecoveryWindow                   // it was away for longer than RECOVERY_WINDOW
	RecoveryOtherUser                // the session is another user's, and stays that user's
	RecoveryBusy                     // the session is being taken by another connection, or its node does not answer
	RecoveryOrder                    // an order of the back office has ended the session
	RecoveryOffset                   // the offset is none, or beyond what the session was given
	RecoveryOtherLog                 // the offset or the session is of another log
	RecoveryPosition                 // it is not known where the session began in the log
	RecoveryLogShort                 // the log does not reach back far enough
	RecoveryTooMuch                  // more was missed than one return may bring
	RecoveryPolicy                   // whoever decides on rooms did not answer
	RecoveryLimits                   // its rooms are more than the user or the node may hold
	RecoveryFailed                   // the log or Redis cannot be read
	RecoveryStale                    // the record is not the session's newest state
	recoveryResults
)

var recoveryNames = [recoveryResults]string{
	"recovered", "unknown_pid", "window_over", "other_user", "busy", "order", "offset", "other_log", "no_position",
	"log_too_short", "too_much", "policy", "limits", "failed", "stale",
}

// String implements fmt.Stringer.
func (r RecoveryResult) String() string { return recoveryNames[r] }

// Recoveries returns how often clients came back with each result.
func (h *Hub) Recoveries() map[RecoveryResult]int64 {
	counts := make(map[RecoveryResult]int64, recoveryResults)
	for i := range h.recoveries {
		counts[RecoveryResult(i)] = h.recoveries[i].Load()
	}
	return counts
}

// Sessions is where the sessions of all nodes are known. Its methods never
// block.
type Sessions interface {
	// Save keeps a record, in place of an earlier one of the same session, for
	// a time. Unless done is nil it is called once, from another goroutine:
	// with true when Redis has the record or a newer one of the session, with
	// false when that has taken too long.
	Save(pid string, record []byte, keep time.Duration, done func(saved bool))

	// Forget removes a record.
	Forget(pid string)

	// Take takes the record of a session of user from the node that has it, or
	// from Redis when that node is dead, and calls done once, from another
	// goroutine. Nobody else gets it after that. The result is RecoveryDone, or
	// why there is none.
	Take(pid, user string, done func(*Record, RecoveryResult))

	// Owns finds out whether this node still has a session that it knows, and
	// calls done once, from another goroutine. It is asked when this node could
	// not be asked itself for a while.
	Owns(pid string, done func(bool))

	// Dissolve tells the node that had a session that it goes on here: what
	// has stayed of it in the rooms there goes silently.
	Dissolve(pid, node string)

	// Node returns the name under which other nodes ask this one.
	Node() string
}

// A Return is what became of a client that came back with a pid.
type Return struct {
	Result RecoveryResult
	User   string
	Socket string // "" when no record was found
	Offset string // that the client sent
	Events int    // that it was sent
}

// Valid reports whether r is one of the results above.
func (r RecoveryResult) Valid() bool { return r < recoveryResults }
