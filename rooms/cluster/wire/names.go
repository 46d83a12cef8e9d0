package wire

import (
	"strconv"
	"strings"
)

// A session's id is the node's number and a count of the node's sessions, in
// generationBits. At one session a second they last for half a year.
const generationBits = 24

// NodeOf returns the number of the node that a session belongs to.
func NodeOf(session int64) uint32 { return uint32(session >> generationBits) }

// Session returns the id of a node's nth session.
func Session(node uint32, n int64) int64 { return int64(node)<<generationBits | n }

// Decimal returns a number as decimal text.
func Decimal(n int64) string { return strconv.FormatInt(n, 10) }

// Names are the keys and channels of one cluster of nodes. The braces put the
// keys of one command into one slot of Redis Cluster.
type Names struct{ base string }

// NewNames returns the names of the cluster with this KEY_PREFIX and database.
// Channels are not separated by database, so its number is in every name.
func NewNames(prefix string, db int) Names { return Names{prefix + strconv.Itoa(db) + ":"} }

const roomPart = "in:"

// Room is the key of the set of sessions that hold a room.
func (n Names) Room(room string) string { return n.base + roomPart + room }

// RoomOf returns the room that a key belongs to.
func (n Names) RoomOf(key string) (room string, ok bool) {
	return strings.CutPrefix(key, n.base+roomPart)
}

// Nodes is the key of the set of all sessions.
func (n Names) Nodes() string { return n.base + "{fleet}" }

// Lease is the key of a session's lease.
func (n Names) Lease(session int64) string { return n.base + "{fleet}:" + Decimal(session) }

// SweepLock is the key of the lock that a node holds while it removes dead
// sessions.
func (n Names) SweepLock() string { return n.base + "{fleet}:sweep" }

// Orders is the key of the sorted set of lasting orders, by the second at which
// they end.
func (n Names) Orders() string { return n.base + "orders" }

// Channel is the channel to which a node subscribes.
func (n Names) Channel(node uint32) string { return n.base + "to:" + Decimal(int64(node)) }

// SessionRecord is the key of the record of a client's session.
func (n Names) SessionRecord(pid string) string { return n.base + "session:" + pid }

// SessionLock is the key that names the node which wanted a session of a dead
// node first.
func (n Names) SessionLock(pid, dead string) string {
	return n.base + "sessionlock:" + pid + ":" + dead
}

// SessionPattern matches the keys of all records of sessions.
func (n Names) SessionPattern() string { return globEscaper.Replace(n.base) + "session:*" }

// Questions is the channel on which a node asks all others.
func (n Names) Questions() string { return n.base + "questions" }

// Answers is the channel on which a node awaits the answers to a question.
func (n Names) Answers(question string) string { return n.base + "answers:" + question }

// Presence is a key of package presence in a partition.
func (n Names) Presence(partition, what string) string {
	return n.base + "presence:{" + partition + "}:" + what
}

// SessionChannel is the channel on which a node is asked for its sessions. Each
// process uses another one.
func (n Names) SessionChannel(node string) string { return n.base + "sessions:" + node }

// RoomPattern matches the keys of all rooms.
func (n Names) RoomPattern() string { return globEscaper.Replace(n.base) + roomPart + "*" }

var globEscaper = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`)
