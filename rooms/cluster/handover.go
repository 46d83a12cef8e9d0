package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/hometrip/gateway/internal/handover/form"
	"github.com/hometrip/gateway/rooms/cluster/core"
	"github.com/hometrip/gateway/rooms/cluster/cut"
	"github.com/hometrip/gateway/rooms/cluster/directory"
	"github.com/hometrip/gateway/rooms/cluster/members"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

// A Place identifies a node for the process that takes it over.
type Place struct {
	Number    uint32
	Name      string // under which it is asked for sessions
	Session   int64  // the current one, or the last
	Connected bool   // to Redis
}

// Place returns the place of this node.
func (c *Cluster) Place() Place {
	c.mu.Lock()
	p := Place{Number: c.number, Session: c.node.LastSession(), Connected: c.node.IsConnected()}
	c.mu.Unlock()
	if c.sessions != nil {
		p.Name = c.sessions.Node()
	}
	return p
}

// Hold divides the messages for this node: what is published from here on is
// kept, for the next process or for Release. An error says that Redis does not
// answer in time.
func (c *Cluster) Hold(ctx context.Context) error {
	c.mu.Lock()
	c.mark = ""
	cs := c.conns
	if c.node.IsConnected() {
		c.mark = cut.MarkPrefix + rand.Text()
	}
	mark := c.mark
	c.mu.Unlock()
	channels := []string{c.names.Channel(c.number)}
	waits := []<-chan struct{}{c.cut.End(mark)}
	if c.sessions != nil {
		channels = append(channels, c.sessions.channel())
		waits = append(waits, c.sessions.cut.End(mark))
	}
	if mark == "" {
		return nil
	}
	go publishMark(cs, channels, mark)
	for _, reached := range waits {
		select {
		case <-reached:
		case <-ctx.Done():
			return errors.New("redis does not answer in time")
		}
	}
	return nil
}

func publishMark(cs *conns, channels []string, mark string) {
	b := wire.Batch{Kind: wire.Publish}
	for _, channel := range channels {
		command := wire.Command{Name: "PUBLISH", Keys: []string{channel}, Args: []string{mark}}
		if cs.sharded {
			command.Name = "SPUBLISH"
		}
		b.Commands = append(b.Commands, command)
	}
	_ = cs.do(b) // that it failed is met when the mark does not come
}

// Rest stops changes of the directory, and describes what is still under way;
// "" is nothing. It is called between Hold and Release.
func (c *Cluster) Rest() string {
	c.mu.Lock()
	why := c.node.Rest()
	connected := c.node.IsConnected()
	c.mu.Unlock()
	offer(c.work)
	offer(c.messages)
	if why == "" && connected && c.sessions != nil && !c.sessions.idle() {
		return "records of sessions being written"
	}
	return why
}

// Release undoes Hold and Rest.
func (c *Cluster) Release() {
	c.mu.Lock()
	c.node.Work()
	c.mu.Unlock()
	offer(c.work)
	c.cut.GoOn()
	if c.sessions != nil {
		c.sessions.cut.GoOn()
	}
}

// Abandon ends this process's part in the cluster without notifying anybody:
// the node continues in another process.
func (c *Cluster) Abandon() {
	c.mu.Lock()
	c.node.Silence()
	c.mu.Unlock()
	c.stop()
}

// Identity describes the node, between Hold and Release.
func (c *Cluster) Identity(now time.Time) form.Cluster {
	c.mu.Lock()
	id := c.node.Identity(now)
	mark := c.mark
	c.mu.Unlock()
	f := form.Cluster{
		Member: true, Session: id.Session, Former: id.Former, Live: id.Live, Mark: mark, Orders: id.Orders,
	}
	for _, v := range id.Vacant {
		f.Vacant = append(f.Vacant, form.Vacancy{Room: v.Room, User: v.By, Left: v.Left})
	}
	for _, list := range [][]members.Tally{id.Tallies, id.Told} {
		for _, t := range list {
			f.Tallies = append(f.Tallies, form.Tally{Room: t.Room, Node: t.Node, Members: uint32(t.Members)})
		}
	}
	return f
}

func identityOf(f *form.Cluster) core.Identity {
	id := core.Identity{Session: f.Session, Former: f.Former, Live: f.Live, Orders: f.Orders}
	for _, v := range f.Vacant {
		id.Vacant = append(id.Vacant, directory.Vacancy{Room: v.Room, By: v.User, Left: v.Left})
	}
	for _, t := range f.Tallies {
		tally := members.Tally{Room: t.Room, Node: t.Node, Members: int(t.Members)}
		if t.Node == 0 {
			id.Told = append(id.Told, tally)
		} else {
			id.Tallies = append(id.Tallies, tally)
		}
	}
	return id
}

// AwaitSubscribed waits, after Start, until this process receives what is
// published to the node. The error is ctx's.
func (c *Cluster) AwaitSubscribed(ctx context.Context) error {
	return c.await(ctx, "redis: not subscribed", func(n *core.Node) bool {
		return n.IsSubscribed() && (c.sessions == nil || c.sessions.subscribed.Load())
	})
}

// Assume makes this process the node. The node holds no room yet.
func (c *Cluster) Assume(f *form.Cluster) {
	id := identityOf(f)
	c.with(func(n *core.Node, now time.Time) { n.Assume(&id, now) })
}

// sessionsSince is how many sessions a node that has died may have begun since
// it described itself to its successor.
const sessionsSince = 16

// AssumeDead makes this process the node in place of one that has died: with
// the next session, because what Redis has of earlier sessions belongs to the
// dead process. Clients can recover the sessions they had there.
func (c *Cluster) AssumeDead() {
	if c.sessions != nil {
		c.sessions.replaceDead()
	}
	last := c.config.Takes.Session
	f := form.Cluster{Member: true, Session: last + sessionsSince}
	for s := last; s < f.Session; s++ {
		f.Former = append(f.Former, s)
	}
	c.Assume(&f)
	c.Begin(&f)
}

// Begin makes this process handle what is published to the node. It is called
// when the process has joined the node's rooms.
func (c *Cluster) Begin(f *form.Cluster) {
	id := identityOf(f)
	c.with(func(n *core.Node, now time.Time) { n.Inherit(&id, now) })
	c.cut.Begin(f.Mark, time.Now())
	if c.sessions != nil {
		c.sessions.cut.Begin(f.Mark, time.Now())
	}
}
