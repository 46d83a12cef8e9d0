package rooms

import (
	"errors"
	"time"

	"github.com/hometrip/gateway/codec"
)

// A Sink is the way out to one client: an Engine.IO session. Its event loop is
// the only caller.
type Sink interface {
	// Send queues m behind everything sent before. It never blocks and never
	// calls back: that a transport has died is told by Socket.Closed, later.
	Send(m *codec.Message)

	// Close ends the session after what is queued has been written.
	// Socket.Closed follows, not before Close has returned.
	Close(reason Reason)

	// Wake asks the session to read Socket.Deadline again.
	Wake()

	// Source identifies the address the client is at; 0: it is not known.
	Source() uint64
}

// A Replayer is a Sink that lets more wait than usual for a client that is sent
// what it missed.
type Replayer interface {
	Sink

	// Replay tells that what is sent from now on is that.
	Replay()
}

// Identity is who a verified token speaks for.
type Identity struct {
	UserID  string    // never empty for a verified token; "" is nobody
	Email   string    // "" when the token has none
	Role    string    // "" when the token has none
	Expires time.Time // zero: never
	Rooms   []string  // rooms and patterns the token names; nil when it names none
	TokenID string    // "" when the token has none
	Issued  time.Time // whole seconds, rounded down; zero when the token does not say
}

// Size is about how many bytes of memory the identity refers to.
func (id *Identity) Size() int {
	n := len(id.UserID) + len(id.Email) + len(id.Role) + len(id.TokenID)
	for _, room := range id.Rooms {
		n += len(room)
	}
	return n
}

// A Presenter is who presents a token: those among whom verifications are
// shared out.
type Presenter struct {
	User    string // "" for a socket that has not connected: its token may lie
	Address uint64 // Sink.Source; 0: not known
}

// ErrBusy is what an Authenticator says when it could not verify the token:
// too many wait, or the issuer's keys cannot be fetched now.
var ErrBusy = errors.New("authentication is busy, try again")

// An Authenticator verifies tokens.
type Authenticator interface {
	// Authenticate verifies token as of now and calls done once. It never
	// blocks: when the answer is at hand it calls done before returning,
	// otherwise later and from another goroutine. The error's text is what
	// the client is told after "Authentication error: "; it is, or wraps,
	// ErrBusy when the token could not be verified.
	Authenticate(token string, from Presenter, now time.Time, done func(Identity, error))
}

// An Authorizer says who may be in which room.
type Authorizer interface {
	// Authorize decides whether who may be in room, "conversation:42", and
	// calls done once. Like Authenticate it never blocks, and may call done
	// before it returns or later from another goroutine. The error's text is
	// what the client is told; it is, or wraps, ErrNotAllowed when the answer
	// is no, and something else when there is none.
	Authorize(who Identity, room string, done func(error))
}

// A Revoker keeps tokens from being good any longer.
type Revoker interface {
	// Revoke has an order's tokens refused until the order ends. It never
	// blocks, and may be called with the same order again.
	Revoke(Order)

	// Check returns why the token behind an identity, which was good, is good
	// no longer: it was revoked or has expired since. It never blocks. The
	// error's text is for the client, like Authenticate's.
	Check(id Identity, now time.Time) error
}

// Outside is servers of another kind that share the rooms, such as a fleet on
// Node.js. None of its methods blocks. Occupied and Vacated are called like
// Cluster's: in their order, with a lock held.
type Outside interface {
	// Occupied tells that this node has its first member in room, Vacated that
	// it has none any more.
	Occupied(room string)
	Vacated(room string)

	// Await has ready called once, from any goroutine, when what is sent to
	// room from outside reaches this node. When it does already, or cannot,
	// Await returns true and does not call it.
	Await(room string, ready func()) bool

	// Publish sends what a client says to the outside's members of room, but
	// not to the socket whose id is except.
	Publish(room, except string, m *codec.Message)
}

// A Cluster is the other nodes. None of its methods blocks. Occupied, Counted
// and Vacated are called in the order in which they happen to a room, on event
// loops, with the room's part of the occupancy table locked: they must not
// call back into the hub.
type Cluster interface {
	// Occupied tells that a shard has its first member in room, a socket of
	// user; "" for nobody. The other nodes are told in turns of the users.
	Occupied(room, user string)

	// Vacated tells that no shard has a member in room any more.
	Vacated(room string)

	// Counted tells how many members room has now, if that is a room which
	// clients join; like Occupied, and behind it.
	Counted(room string, members int)

	// Members returns how many members room, which this node holds, has on the
	// other nodes. The number is up to about a second old, and in large rooms
	// it may be off by 1/8.
	Members(room string) int

	// Elsewhere reports whether another node may hold room.
	Elsewhere(room string) bool

	// Publish sends m, which a client has said to room, to the other nodes
	// that hold the room, at most once. What one goroutine publishes to one
	// room keeps its order.
	Publish(room string, m *codec.Message)
}
