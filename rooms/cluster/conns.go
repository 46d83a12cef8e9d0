package cluster

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/hometrip/gateway/rooms/cluster/wire"
)

// cacheTTL is how long rueidis may cache what it has read. Redis sends
// invalidations, so this only limits the memory spent on rooms in which nobody
// speaks.
const cacheTTL = time.Hour

var errDisconnected = errors.New("redis: not connected")

// conns are this node's connections to Redis. They reconnect by themselves. To
// leave a server that has become a replica, all are closed.
type conns struct {
	ctx        context.Context // done when they are to be closed
	cancel     context.CancelFunc
	directory  rueidis.Client // with client-side caching; its database is the cluster's
	subscriber rueidis.Client // channels know no database
	sharded    bool           // Redis Cluster

	// prompt is for renewals of the lease, which must not wait behind thousands
	// of rooms, and for messages: one batch at a time.
	prompt     rueidis.Client
	promptTurn sync.Mutex
}

// dial connects.
func (c *Cluster) dial(ctx context.Context) (*conns, error) {
	cs := &conns{}
	cs.ctx, cs.cancel = context.WithCancel(ctx)
	server := c.config.Server
	var err error
	cs.directory, err = server.Open(c.config.DB, func(keys []rueidis.RedisMessage) { c.invalidated(cs, keys) })
	if err == nil {
		cs.prompt, err = server.openSerial(c.config.DB)
	}
	if err == nil {
		cs.subscriber, err = server.Open(0, nil)
	}
	if err != nil {
		cs.close()
		return nil, err
	}
	cs.sharded = cs.directory.Mode() == rueidis.ClientModeCluster
	return cs, nil
}

func (cs *conns) close() {
	cs.cancel()
	for _, client := range []rueidis.Client{cs.directory, cs.prompt, cs.subscriber} {
		if client != nil {
			client.Close()
		}
	}
}

// subscription returns the command that subscribes to a channel.
func (cs *conns) subscription(channel string) rueidis.Completed {
	if cs.sharded {
		return cs.subscriber.B().Ssubscribe().Channel(channel).Build()
	}
	return cs.subscriber.B().Subscribe().Channel(channel).Build()
}

// unsubscribe ends a subscription. On an error the connection is lost, and with
// it the subscription.
func (cs *conns) unsubscribe(channel string) {
	command := cs.subscriber.B().Unsubscribe().Channel(channel).Build()
	if cs.sharded {
		command = cs.subscriber.B().Sunsubscribe().Channel(channel).Build()
	}
	_ = cs.subscriber.Do(cs.ctx, command).Error()
}

// do executes a batch. Its only deadline is that of the connection.
func (cs *conns) do(b wire.Batch) []wire.Reply {
	if cs == nil {
		return failed(b, errDisconnected)
	}
	client := cs.directory
	ctx := context.Background()
	var results []rueidis.RedisResult
	kind := b.Kind
	if kind == wire.Publish && !cs.sharded {
		kind = wire.Renewal // in a Redis Cluster the directory's connections know first that a slot has moved
	}
	switch kind {
	case wire.Tracked:
		commands := make([]rueidis.CacheableTTL, len(b.Commands))
		for i, c := range b.Commands {
			commands[i] = rueidis.CT(client.B().Smembers().Key(c.Keys[0]).Cache(), cacheTTL)
		}
		results = client.DoMultiCache(ctx, commands...)
	case wire.Scan:
		server, ok := cs.server(b.Shard)
		if !ok {
			return []wire.Reply{{Nil: true}}
		}
		results = server.DoMulti(ctx, completed(server, b.Commands)...)
	case wire.Renewal:
		cs.promptTurn.Lock()
		results = cs.prompt.DoMulti(ctx, completed(cs.prompt, b.Commands)...)
		cs.promptTurn.Unlock()
	default:
		results = client.DoMulti(ctx, completed(client, b.Commands)...)
	}
	replies := make([]wire.Reply, len(results))
	for i, r := range results {
		replies[i] = reply(b.Commands[i].Name, r)
	}
	return replies
}

// server returns the nth server that has keys, in the order of their addresses.
func (cs *conns) server(n int) (rueidis.Client, bool) {
	servers := cs.directory.Nodes()
	addresses := make([]string, 0, len(servers))
	for address := range servers {
		addresses = append(addresses, address)
	}
	slices.Sort(addresses)
	if n >= len(addresses) {
		return nil, false
	}
	return servers[addresses[n]], true
}

func completed(client rueidis.Client, commands []wire.Command) []rueidis.Completed {
	list := make([]rueidis.Completed, len(commands))
	for i, c := range commands {
		b := client.B().Arbitrary(c.Name)
		if c.Script != "" {
			b = b.Args(c.Script, strconv.Itoa(len(c.Keys)))
		}
		list[i] = b.Keys(c.Keys...).Args(c.Args...).Build()
	}
	return list
}

func failed(b wire.Batch, err error) []wire.Reply {
	replies := make([]wire.Reply, len(b.Commands))
	for i := range replies {
		replies[i].Err = err
	}
	return replies
}

// reply converts a result into a plain value.
func reply(command string, r rueidis.RedisResult) wire.Reply {
	if command == "SCAN" || command == "ZSCAN" {
		page, err := r.AsScanEntry()
		return wire.Reply{Err: err, List: page.Elements, Next: strconv.FormatUint(page.Cursor, 10)}
	}
	m, err := r.ToMessage()
	switch {
	case rueidis.IsRedisNil(err):
		return wire.Reply{Nil: true}
	case err != nil:
		return wire.Reply{Err: err}
	case m.IsInt64():
		n, err := m.AsInt64()
		return wire.Reply{Err: err, Int: n}
	case m.IsString():
		text, err := m.ToString()
		return wire.Reply{Err: err, Text: text}
	}
	elements, err := m.ToArray()
	list := make([]string, len(elements))
	for i := range elements {
		list[i], _ = elements[i].ToString() // nil: none
	}
	return wire.Reply{Err: err, List: list}
}
