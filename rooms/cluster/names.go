package cluster

import (
	"strconv"
	"strings"
)

// generationBits is how much of a session's id counts the node's sessions. At
// one session a second they last for half a year.
const generationBits = 24

// nodeOf returns the number of the node that a session is of.
func nodeOf(session int64) uint32 { return uint32(session >> generationBits) }

func sessionID(node uint32, generation int64) int64 {
	return int64(node)<<generationBits | generation
}

// names are the keys and channels of one cluster of nodes. The braces keep
// what the keeper asks for together in one slot of Redis Cluster.
type names struct{ base string }

func newNames(prefix string, db int) names {
	return names{prefix + strconv.Itoa(db) + ":"}
}

const roomPart = "room:"

func (n names) room(room string) string          { return n.base + roomPart + room }
func (n names) nodes() string                    { return n.base + "{nodes}" }
func (n names) lease(session int64) string       { return n.base + "{nodes}:" + decimal(session) }
func (n names) sweepLock(session int64) string   { return n.base + "{nodes}:sweep:" + decimal(session) }
func (n names) orders() string                   { return n.base + "orders" }
func (n names) channel(node uint32) string       { return n.base + "node:" + decimal(int64(node)) }
func (n names) roomOf(key string) (string, bool) { return strings.CutPrefix(key, n.base+roomPart) }

// roomPattern matches the keys of all rooms.
func (n names) roomPattern() string { return globEscaper.Replace(n.base) + roomPart + "*" }

var globEscaper = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`)

func decimal(n int64) string { return strconv.FormatInt(n, 10) }
