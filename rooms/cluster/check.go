package cluster

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/hometrip/gateway/rooms/cluster/directory"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

const scanCount = 512

// A Difference says what is wrong about this node in the directory.
type Difference = directory.Difference

// Check compares the directory with the rooms of this node. Rooms whose change
// is on its way to Redis are not counted as wrong. It reads the keys of all
// rooms, so it is for tests and operators only.
func (c *Cluster) Check(ctx context.Context) (d Difference, err error) {
	claimed := make(map[string]bool)
	cs := c.connections()
	for shard := 0; ; shard++ {
		more, err := c.claimed(cs, shard, claimed)
		if err != nil || ctx.Err() != nil {
			return d, fmt.Errorf("read the directory: %w", err)
		}
		if !more {
			break
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.node.Compare(claimed), nil
}

func (c *Cluster) connections() *conns {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conns
}

// claimed adds the rooms for which one server has this node.
func (c *Cluster) claimed(cs *conns, shard int, rooms map[string]bool) (more bool, err error) {
	for cursor := "0"; ; {
		page := cs.do(wire.Batch{Kind: wire.Scan, Shard: shard, Commands: []wire.Command{
			{Name: "SCAN", Args: []string{cursor, "MATCH", c.names.RoomPattern(), "COUNT", strconv.Itoa(scanCount)}}}})[0]
		if page.Err != nil || page.Nil {
			return false, page.Err
		}
		var b wire.Batch
		for _, key := range page.List {
			b.Commands = append(b.Commands, wire.Command{Name: "SMEMBERS", Keys: []string{key}})
		}
		if len(b.Commands) > 0 {
			for i, r := range cs.do(b) {
				if r.Err != nil {
					return false, r.Err
				}
				if room, ok := c.names.RoomOf(page.List[i]); ok && slices.ContainsFunc(r.List, c.mine) {
					rooms[room] = true
				}
			}
		}
		if cursor = page.Next; cursor == "0" {
			return true, nil
		}
	}
}

func (c *Cluster) mine(text string) bool {
	session, err := strconv.ParseInt(text, 10, 64)
	return err == nil && wire.NodeOf(session) == c.number
}
