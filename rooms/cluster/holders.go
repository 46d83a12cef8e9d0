package cluster

import (
	"context"
	"slices"

	"github.com/hometrip/gateway/rooms/cluster/wire"
)

// holdersBatch is how many rooms are looked up at once.
const holdersBatch = 128

// HeldElsewhere reports whether another node holds one of some rooms, or has
// held it within the linger time. This node need not hold the rooms. known is
// false if Redis does not answer before ctx is over.
func (c *Cluster) HeldElsewhere(ctx context.Context, rooms []string) (yes, known bool) {
	c.mu.Lock()
	alone, connected, cs := c.node.Alone(), c.node.IsConnected(), c.conns
	c.mu.Unlock()
	if alone || !connected {
		return false, alone
	}
	type answer struct{ yes, known bool }
	done := make(chan answer, 1)
	go func() {
		yes, known := c.lookUp(ctx, cs, rooms)
		done <- answer{yes, known}
	}()
	select {
	case a := <-done:
		return a.yes, a.known
	case <-ctx.Done():
		return false, false
	}
}

func (c *Cluster) lookUp(ctx context.Context, cs *conns, rooms []string) (yes, known bool) {
	for some := range slices.Chunk(rooms, holdersBatch) {
		b := wire.Batch{Kind: wire.Tracked}
		for _, room := range some {
			b.Commands = append(b.Commands, wire.Command{Name: "SMEMBERS", Keys: []string{c.names.Room(room)}})
		}
		replies := cs.do(b)
		if wire.FirstError(replies) != nil || ctx.Err() != nil {
			return false, false
		}
		for _, r := range replies {
			c.mu.Lock()
			yes = yes || c.node.OfOthers(r.List)
			c.mu.Unlock()
		}
		if yes {
			return true, true
		}
	}
	return false, true
}
