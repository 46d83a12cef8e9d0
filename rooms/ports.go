package rooms

import (
	"errors"
	"time"

	"github.com/hometrip/gateway/codec"
)

// A Sink is the output to one client: its Engine.IO session. Only its event
// loop calls it.
type Sink interface {
	// Send queues m after everything sent before. It never blocks and never
	// calls back: if the transport has failed, Socket.Closed is called later.
	Send(m *codec.Message)

	// Close ends the session after what is queued was written. Socket.Closed is
	// called after Close has returned.
	Close(reason Reason)

	// Wake asks the session to read Socket.Deadline again.
	Wake()

	// Source identifies the client's address; 0: unknown.
	Source() uint64
}

// A Replayer is a Sink that accepts a larger backlog than usual while a client
// is sent what it missed.
type Replayer interface {
	Sink

	// Replay says that what is sent from now on is what the client missed.
	Replay()
}

// Identity is the content of a verified token.
type Identity struct {
	UserID  string    // never empty for a verified token; "": no user
	Email   string    // "" when the token has none
	Role    string    // "" when the token has none
	Expires time.Time // zero: never
	Rooms   []string  // rooms and patterns the token names; nil when it names none
	TokenID string    // "" when the token has none
	Issued  time.Time // whole seconds, rounded down; zero when the token does not say
}

// Size returns roughly how many bytes of memory the identity refers to.
func (id *Identity) Size() int {
	n := len(id.UserID) + len(id.Email) + len(id.Role) + len(id.TokenID)
	for _, room := range id.Rooms {
		n += len(room)
	}
	return n
}

// A Presenter is the user and the address that a token comes from. The capacity
// for verifications is shared fairly between presenters.
type Presenter struct {
	User    string // "" for a socket that has not connected: its token is not verified
	Address uint64 // Sink.Source; 0: not known
}

// ErrBusy is the error of an Authenticator that could not verify a token now,
// because too many wait or the issuer's keys cannot be fetched.
var ErrBusy = errors.New("authentication is busy, try again")

// An Authenticator verifies tokens.
type Authenticator interface {
	// Authenticate verifies token as of now and calls done once; a second call
	// may count for another client's token. It never blocks: it calls done
	// before it returns, or later from another goroutine. token is valid until
	// it returns. Clients are sent the error's text after "Authentication
	// error: ". The error is, or wraps, ErrBusy if the token could not be
	// verified.
	Authenticate(token []byte, from Presenter, now time.Time, done func(Identity, error))
}

// An Authorizer decides who may be in which room.
type Authorizer interface {
	// Authorize decides whether who may be in room, such as "conversation:42",
	// and calls done once. It never blocks, and may call done before it returns
	// or later from another goroutine. Clients are sent the error's text. The
	// error is, or wraps, ErrNotAllowed if the answer is no; any other error
	// means that there was no answer.
	Authorize(who Identity, room string, done func(error))
}

// A Revoker revokes tokens.
type Revoker interface {
	// Revoke revokes an order's tokens until the order ends. It never blocks,
	// and may be called with the same order again.
	Revoke(Order)

	// Check returns an error if the token of an identity, which was valid, has
	// been revoked or has expired since. It never blocks. Clients are sent the
	// error's text, as with Authenticate.
	Check(id Identity, now time.Time) error
}

// Outside is servers of another kind that share the rooms, such as Socket.IO
// servers on Node.js. None of its methods blocks. Occupied and Vacated are
// called like those of Cluster: in order, with a lock held.
type Outside interface {
	// Occupied is called when this node has its first member in room, Vacated
	// when its last one has left.
	Occupied(room string)
	Vacated(room string)

	// Await calls ready once, from any goroutine, when messages that other
	// servers send to room reach this node. If they already do, or cannot,
	// Await returns true and does not call ready.
	Await(room string, ready func()) bool

	// Publish sends a client's message to the members of room on other servers,
	// except the socket with the id except.
	Publish(room, except string, m *codec.Message)
}

// A Cluster is the other nodes. None of its methods blocks. Occupied, Counted
// and Vacated are called in the order in which things happen to a room, on
// event loops, with the room's part of the occupancy table locked: they must
// not call the hub.
type Cluster interface {
	// Occupied is called when a shard has its first member in room: a socket of
	// user, "" for none. Changes of different users are sent to the other nodes
	// in turn.
	Occupied(room, user string)

	// Vacated is called when no shard has a member in room any more.
	Vacated(room string)

	// Counted is called with the number of members of room if clients can join
	// it; after Occupied, under the same lock.
	Counted(room string, members int)

	// Members returns how many members room, which this node holds, has on the
	// other nodes. The number is up to about a second old, and in large rooms
	// it may be off by 1/8.
	Members(room string) int

	// Elsewhere reports whether another node may hold room.
	Elsewhere(room string) bool

	// Publish sends a client's message m to the other nodes that hold the room,
	// at most once. Messages that one goroutine publishes to one room keep
	// their order.
	Publish(room string, m *codec.Message)
}

// Presence receives the number of sockets that this node has in a room that is
// a user's own or that clients join. Counted never blocks. It is called like
// Cluster's methods: in order, with a lock held.
type Presence interface {
	Counted(room string, sockets int)
}
