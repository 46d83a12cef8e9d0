package cluster

import (
	"context"
	"strconv"
	"strings"

	"github.com/redis/rueidis"
)

// A lease is what a node tells the others by being there: "1", whether the
// directory has all its rooms, and its sockets and rooms.
type lease struct {
	registered     bool
	sockets, rooms int64
}

const leaseVersion = "1"

func (l lease) String() string {
	return strings.Join([]string{leaseVersion, strconv.FormatBool(l.registered), decimal(l.sockets), decimal(l.rooms)}, " ")
}

// parseLease reads a lease. Of another version it knows only that the node is
// there; such a one gets everything.
func parseLease(text string) (l lease, ok bool) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return l, false
	}
	if len(words) == 4 && words[0] == leaseVersion {
		l.registered, _ = strconv.ParseBool(words[1])
		l.sockets, _ = strconv.ParseInt(words[2], 10, 64)
		l.rooms, _ = strconv.ParseInt(words[3], 10, 64)
	}
	return l, true
}

// renew writes the lease and returns all sessions there are. A lease that is
// there already must not have ended: others may have acted on that.
func (k *keeper) renew(ctx context.Context, session int64, held, registered bool) ([]int64, error) {
	c, b := k.c, k.client.B()
	value := lease{registered: registered, sockets: c.config.Sockets(), rooms: c.heldRooms()}.String()
	set := b.Set().Key(c.names.lease(session)).Value(value).Px(c.config.Lease).Build()
	if held {
		set = b.Set().Key(c.names.lease(session)).Value(value).Xx().Px(c.config.Lease).Build()
	}
	results := k.client.DoMulti(ctx, set,
		b.Sadd().Key(c.names.nodes()).Member(decimal(session)).Build())
	if err := results[0].Error(); rueidis.IsRedisNil(err) {
		k.lose("the lease has ended")
		return nil, errLeaseLost
	} else if err != nil {
		return nil, err
	}
	if err := results[1].Error(); err != nil {
		return nil, err
	}
	// Cached, so that Redis tells at once when a node comes: the keeper then
	// does not wait for its time.
	return k.client.DoCache(ctx, b.Smembers().Key(c.names.nodes()).Cache(), cacheTTL).AsIntSlice()
}

// leases returns what the leases of the other sessions say, "" for those that
// have none; suspects are among them.
func (k *keeper) leases(ctx context.Context, own int64, sessions []int64) (map[int64]string, error) {
	found := make(map[int64]string, len(sessions))
	for _, s := range sessions {
		found[s] = ""
	}
	k.mu.Lock()
	for s := range k.suspects {
		found[s] = ""
	}
	k.mu.Unlock()
	delete(found, own)
	if len(found) == 0 {
		return found, nil
	}
	order := make([]int64, 0, len(found))
	keys := make([]string, 0, len(found))
	for s := range found {
		order = append(order, s)
		keys = append(keys, k.c.names.lease(s))
	}
	values, err := k.client.Do(ctx, k.client.B().Mget().Key(keys...).Build()).ToArray()
	if err != nil {
		return nil, err
	}
	for i := range values {
		found[order[i]], _ = values[i].ToString() // nil: none
	}
	return found, nil
}

// heldRooms is how many rooms the directory has for this node.
func (c *Cluster) heldRooms() (n int64) {
	for _, l := range c.lanes {
		_, rooms := l.len()
		n += rooms
	}
	return n
}
