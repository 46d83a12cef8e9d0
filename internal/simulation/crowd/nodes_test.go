package crowd

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/internal/simulation/redismodel"
	"github.com/hometrip/gateway/rooms/cluster/core"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

const (
	epoch     = time.Duration(1767323045) * time.Second // wall clock at the beginning, as Unix time
	leaseTime = 5 * time.Second
	redial    = 100 * time.Millisecond
	tick      = 500 * time.Millisecond
)

var (
	names = wire.NewNames("ws:", 1)
	zero  = time.Unix(0, 0)
)

// A crowd is the nodes of one cluster and their Redis. It belongs to its test.
type crowd struct {
	schedule
	redis *redis
	nodes []*node
}

// A node drives a core.Node with the model of Redis, as package cluster drives
// one with a real Redis.
type node struct {
	c      *crowd
	number uint32
	core   *core.Node
	dead   bool

	directory, prompt, subscriber *link // as in package cluster: roomsPerNode; renewals and messages; SUBSCRIBE

	turn       []func() // batches that wait for the prompt connection, which has one at a time
	busy       bool     // the prompt connection has a batch
	publishing bool     // a batch of messages is under way
	waking     bool     // act is scheduled

	lost int // sessions that have ended
}

func newCrowd(nodes int, cost time.Duration) *crowd {
	c := &crowd{}
	c.redis = newRedis(&c.schedule, cost)
	for i := range nodes {
		c.start(uint32(i + 1))
	}
	return c
}

func (c *crowd) start(number uint32) *node {
	n := &node{c: c, number: number, core: core.New(core.Config{
		Names: names, Node: number, Lease: leaseTime, Linger: 10 * time.Second,
		Answer: answer * 2 / 5, Messages: 1 << 16, Bytes: 64 << 20,
	})}
	c.nodes = append(c.nodes, n)
	// Nodes do not begin at the same instant.
	c.after(time.Duration(number)*17*time.Millisecond, n.connect)
	c.after(tick, n.tick)
	return n
}

func (n *node) now() time.Time { return zero.Add(n.c.now) }

func (n *node) connect() {
	if n.dead {
		return
	}
	n.openDirectory()
	n.openPrompt()
	n.core.Connected(false, n.now())
	n.subscribe()
	n.wake()
}

func (n *node) openDirectory() {
	var l *link
	l = n.c.redis.dial(func(r redismodel.Reply) {
		for _, key := range r.Elems[1].Elems {
			n.core.Changed(key.Text)
		}
		n.wake()
	}, func() {
		if n.directory == l {
			n.core.Lost("the connection was lost", n.now())
			n.directory = nil
			n.wake()
		}
	})
	n.directory = l
	l.send([][]string{{"CLIENT", "TRACKING", "ON", "OPTIN"}}, func([]redismodel.Reply, error) {})
}

func (n *node) openPrompt() {
	var l *link
	l = n.c.redis.dial(func(redismodel.Reply) {}, func() {
		if n.prompt == l {
			n.prompt = nil
		}
	})
	n.prompt = l
}

func (n *node) subscribe() {
	l := n.c.redis.dial(func(r redismodel.Reply) {
		switch r.Elems[0].Text {
		case "subscribe":
			n.core.Subscribed(true, n.now())
		case "message":
			n.core.Message([]byte(r.Elems[2].Text), nil, n.now())
		}
		n.wake()
	}, func() {
		n.core.Subscribed(false, n.now())
		n.c.after(redial, n.subscribe)
		n.wake()
	})
	n.subscriber = l
	l.send([][]string{{"SUBSCRIBE", names.Channel(n.number)}}, func([]redismodel.Reply, error) {})
}

// kill stops the node and closes its connections, as kill -9 does.
func (n *node) kill() {
	n.dead = true
	for _, l := range []*link{n.directory, n.prompt, n.subscriber} {
		if l != nil {
			l.dead = true
			l.conn.Close()
			l.in = nil
		}
	}
}

func (n *node) tick() {
	n.wake()
	n.c.after(tick, n.tick)
}

// wake schedules act.
func (n *node) wake() {
	if !n.waking && !n.dead {
		n.waking = true
		n.c.after(0, n.act)
	}
}

func (n *node) act() {
	n.waking = false
	if n.dead {
		return
	}
	n.core.Tell(0)
	n.core.Tick(n.now())
	for {
		b, ok := n.core.Take(n.now())
		if !ok {
			break
		}
		n.execute(b)
	}
	for _, line := range n.core.Lines() {
		if strings.HasPrefix(line.Text, "redis session lost") {
			n.lost++
		}
		if *trace {
			fmt.Println(n.c.now, n.number, line.Text, line.Error)
		}
	}
	n.core.Obey()
	n.core.Redial()
	if !n.publishing {
		if b, ok := n.core.TakeMessages(); ok {
			n.publishing = true
			n.execute(b)
		}
	}
	if at := n.core.Next(); !at.IsZero() {
		n.c.after(max(at.Sub(n.now()), time.Millisecond), n.wake)
	}
}

// execute sends a batch of commands, and passes the replies to the node.
func (n *node) execute(b wire.Batch) {
	reply := func(list []redismodel.Reply, err error) {
		replies := make([]wire.Reply, len(b.Commands))
		for i := range replies {
			switch {
			case err != nil:
				replies[i].Err = err
			case b.Kind == wire.Tracked:
				replies[i] = replyOf(list[5*i+4].Elems[1])
			default:
				replies[i] = replyOf(list[i])
			}
			if name := b.Commands[i].Name; err == nil && (name == "SCAN" || name == "ZSCAN") {
				replies[i] = wire.Reply{Next: list[i].Elems[0].Text, List: list[i].Elems[1].Strings()}
			}
		}
		if b.Kind == wire.Publish {
			n.publishing = false
		}
		n.core.Reply(b.ID, replies, n.now())
		n.wake()
	}
	var commands [][]string
	for _, c := range b.Commands {
		words := append(append([]string{c.Name}, c.Keys...), c.Args...)
		if b.Kind == wire.Tracked {
			commands = append(commands, []string{"CLIENT", "CACHING", "YES"}, []string{"MULTI"}, []string{"PTTL", c.Keys[0]}, words, []string{"EXEC"})
			continue
		}
		commands = append(commands, words)
	}
	switch {
	case b.Kind == wire.Scan && b.Shard > 0:
		n.c.after(0, func() { n.core.Reply(b.ID, []wire.Reply{{Nil: true}}, n.now()); n.wake() })
	case b.Kind == wire.Renewal || b.Kind == wire.Publish:
		n.turn = append(n.turn, func() {
			if n.prompt == nil {
				n.openPrompt()
			}
			n.prompt.send(commands, func(list []redismodel.Reply, err error) {
				n.busy = false
				reply(list, err)
				n.next()
			})
		})
		n.next()
	default:
		if n.directory == nil {
			n.openDirectory()
		}
		n.directory.send(commands, reply)
	}
}

// next sends the next batch on the prompt connection, if that is free.
func (n *node) next() {
	if n.busy || len(n.turn) == 0 || n.dead {
		return
	}
	n.busy = true
	do := n.turn[0]
	n.turn = n.turn[1:]
	do()
}

func replyOf(r redismodel.Reply) wire.Reply {
	switch r.Kind {
	case redismodel.Fault:
		return wire.Reply{Err: r.Err()}
	case redismodel.Null:
		return wire.Reply{Nil: true}
	case redismodel.Int:
		return wire.Reply{Int: r.Int}
	case redismodel.Array, redismodel.Set:
		return wire.Reply{List: r.Strings()}
	}
	return wire.Reply{Text: r.Text}
}

// group is how many nodes share a shared room.
const group = 8

// occupy has each node get rooms: own ones that no other node has, and shared
// ones that the other nodes of its group have as well.
func (c *crowd) occupy(own, shared int) {
	for i, n := range c.nodes {
		for k := range own {
			n.core.Occupied(fmt.Sprintf("user:%d-%d", i, k), strconv.Itoa(k))
		}
		for k := range shared {
			n.core.Occupied(sharedRoom(i, k), strconv.Itoa(k))
		}
		n.wake()
	}
}

// publish has each node publish one message to each of its shared rooms.
func (c *crowd) publish(shared int) {
	m := codec.NewText([]byte(`42["user_joined"]`))
	for i, n := range c.nodes {
		for k := range shared {
			n.core.Publish(sharedRoom(i, k), m)
		}
		n.wake()
	}
}

func sharedRoom(node, k int) string { return fmt.Sprintf("conversation:%d-%d", node/group, k) }
