package presence

import (
	"hash/fnv"
	"strconv"

	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

func bit(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// The keys in Redis.

func (n *Core) key(partition int, what, name string) string {
	return n.c.Names.Presence(strconv.Itoa(partition), what) + name
}

func partitionOf(room string) int {
	h := fnv.New32a()
	h.Write([]byte(room))
	return int(h.Sum32() % partitions)
}

func (n *Core) roomKey(room string) string     { return n.key(partitionOf(room), "of:", room) }
func (n *Core) untoldKey(partition int) string { return n.key(partition, "untold", "") }
func (n *Core) hasKey(partition int, session string) string {
	return n.key(partition, "has:", session)
}
func (n *Core) goneKey(partition int, session string) string {
	return n.key(partition, "gone:", session)
}
func (n *Core) sessionsKey() string { return n.c.Names.Presence("s", "sessions") }
func (n *Core) lockKey() string     { return n.c.Names.Presence("s", "sweeper") }

func (n *Core) script(s Script, keys []string, args ...string) Command {
	return Command{Script: s, Command: wire.Command{Keys: keys, Args: args}}
}

func (n *Core) command(name, key string, args ...string) Command {
	return Command{Command: wire.Command{Name: name, Keys: []string{key}, Args: args}}
}

// keep returns how long Redis keeps the time at which a user was last online, in
// ms.
func (n *Core) keep(room string) string {
	if rooms.OfUser(room) {
		return wire.Decimal(n.c.LastSeen.Milliseconds())
	}
	return "0"
}
