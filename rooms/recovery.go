package rooms

import (
	"time"

	"github.com/hometrip/gateway/codec"
)

// A RecoveryMode says which clients are sent what they missed when they
// reconnect.
type RecoveryMode uint8

// The modes.
const (
	RecoveryOff   RecoveryMode = iota // none
	RecoveryAsked                     // those that request it
	RecoveryAll                       // all
)

// Recovery is the configuration of returns: what clients that reconnect are
// sent of what they missed.
type Recovery struct {
	Mode   RecoveryMode
	Window time.Duration // how long a client may be away
	Grace  time.Duration // how long the other members wait for user_left

	MaxEvents int // that one return may bring
	MaxBytes  int // bytes of these events

	MaxSessions int // ended ones that this node remembers; 0: DefaultSessions
	MaxMemory   int // bytes of these; 0: DefaultSessionBytes
	PerUser     int // of one user; 0: DefaultSessionsPerUser

	History History  // nil: nobody recovers
	Remote  Sessions // the sessions of other nodes; nil: there are none

	Report func(Return) // called for each return, on event loops; may be nil
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

// A History finds events in the part of the services' log that is still kept.
type History interface {
	// Missed looks for the events that a client has missed, and calls done
	// once, from another goroutine. It never blocks.
	Missed(q Question, done func(Missed))

	// Wanted says that clients may ask from here on. It may be called at any
	// time, from any goroutine, and is cheap.
	Wanted()
}

// A Question asks a History for the events of some rooms.
type Question struct {
	Log   string     // identity that the positions belong to
	Rooms []RoomFrom // each with the position behind which its events are wanted
	Here  bool       // the positions are this node's own, so that 0 means where it began to read

	// Orders of the back office behind Since that apply to the session make the
	// answer RecoveryOrder. Began is the position at which the session began.
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
	// Through is the position up to which the answer goes. Events after it are
	// delivered to the sockets that were in the rooms when the question was
	// asked.
	Through uint64

	Events []Numbered     // in the order of the log, each once
	Result RecoveryResult // RecoveryDone, or why there are no events
}

// A Numbered is a message of the log.
type Numbered struct {
	Position uint64
	Message  *codec.Message
}

// A RecoveryResult is how the return of a client ended. Each result has a
// counter of its name.
type RecoveryResult uint8

// The results. With all but the first, the client is connected as a new one.
const (
	RecoveryDone      RecoveryResult = iota
	RecoveryUnknown                  // no node has the pid: the window is over, or the session was ended for good
	RecoveryWindow                   // it was away for longer than RECOVERY_WINDOW
	RecoveryOtherUser                // the session is another user's, and stays that user's
	RecoveryBusy                     // the session is being taken by another connection, or its node does not answer
	RecoveryOrder                    // an order of the back office has ended the session
	RecoveryOffset                   // the offset is none, or beyond what the session was given
	RecoveryOtherLog                 // the offset or the session is of another log
	RecoveryPosition                 // it is not known where the session began in the log
	RecoveryLogShort                 // the log does not reach back far enough
	RecoveryTooMuch                  // more was missed than one return may bring
	RecoveryPolicy                   // the Authorizer did not answer
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

// Sessions stores the sessions of all nodes. Its methods never block.
type Sessions interface {
	// Save stores a record for a time. It replaces an earlier record of the
	// same session, unless another node has taken the session since: see
	// Displace. done, if not nil, is called once, from another goroutine: with
	// true when Redis has this or a newer record of the session, with false
	// when that takes too long.
	Save(pid string, record []byte, keep time.Duration, done func(saved bool))

	// Forget removes the record of a session, unless another node has taken the
	// session since: then it was moved more often than moves.
	Forget(pid string, moves uint32)

	// Take takes the record of a user's session from the node that has it, or
	// from Redis if that node is dead, and calls done once, from another
	// goroutine. No other caller gets the session after that. The result is
	// RecoveryDone, or why there is no record.
	Take(pid, user string, done func(*Record, RecoveryResult))

	// Elsewhere checks whether Redis has a session under the name of another
	// node, and how often it was moved then. If that is more often than this
	// node knows, the other node has taken it. It calls done once, from another
	// goroutine. It is used after a time in which other nodes could not reach
	// this one.
	Elsewhere(pid string, done func(moves uint32, elsewhere bool))

	// Dissolve tells the node that had a session that it goes on here: the
	// socket that is left of it there leaves its rooms silently.
	Dissolve(pid, node string)

	// Node returns the name under which other nodes ask this one.
	Node() string
}

// A Return is the outcome for a client that came back with a pid.
type Return struct {
	Result RecoveryResult
	User   string
	Socket string // "" when no record was found
	Offset string // that the client sent
	Events int    // that were sent to it
}

// Valid reports whether r is one of the constants above.
func (r RecoveryResult) Valid() bool { return r < recoveryResults }
