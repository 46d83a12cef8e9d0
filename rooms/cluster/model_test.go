package cluster

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/rooms/cluster/clustertest"
	"github.com/hometrip/gateway/rooms/cluster/lease"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

// Nodes and clients start, act and stop at random, several at a time, and what
// clients get is compared with a model. In some seeds the database is flushed,
// and in some the connections to Redis have lag.
func TestClusterAgreesWithAModel(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			w := newOwnWorld(t)
			m := clustertest.Model{Log: t.Logf}
			var lag time.Duration
			if seed%2 == 1 {
				m.Fault = func() error { w.cli("FLUSHALL"); return nil }
			}
			if seed >= 2 {
				lag = time.Millisecond
			}
			m.Start = func() (clustertest.Node, error) { return w.modelNode(lag), nil }
			if err := m.Run(seed, 70); err != nil {
				t.Fatal(err, w.stats())
			}
			w.awaitRight()
		})
	}
}

// modelNode starts a node and waits until the others know it.
func (w *world) modelNode(lag time.Duration) modelNode {
	w.t.Helper()
	n := w.node(func(c *Config) {
		c.Linger = 20 * time.Millisecond
		if lag > 0 {
			proxy := newProxy(w.t, w.redis)
			proxy.Lag(lag)
			viaProxy(proxy)(c)
		}
	})
	for _, other := range w.nodes {
		if other != n && !other.halted {
			testkit.Await(w.t, other.name+" to know "+n.name, func() bool { return other.knows(n) })
		}
	}
	return modelNode{n}
}

func (n *node) knows(other *node) bool {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	return slices.ContainsFunc(n.cluster.node.Stats().Peers, func(p lease.Peer) bool { return p.Node == other.cluster.number })
}

type modelNode struct{ n *node }

func (m modelNode) Connect(user string) (clustertest.Client, error) {
	return &modelClient{client: m.n.connect(user)}, nil
}

// Publish delivers an event to all nodes, in the same order, as the log does.
func (m modelNode) Publish(room, text string) error {
	body := codec.NewText(fmt.Appendf(nil, `42["new_message",{"text":%q}]`, text))
	m.n.w.logging.Lock()
	defer m.n.w.logging.Unlock()
	for _, n := range m.n.w.nodes {
		n.hub.Receive(rooms.Broadcast{Room: room, Message: body})
	}
	return nil
}

func (m modelNode) Sent() error {
	m.n.fence()
	m.n.drained()
	return nil
}

func (m modelNode) Received() error {
	m.n.received()
	return nil
}

// drained waits until the mailboxes are empty and the clients have the messages.
func (n *node) drained() {
	for n.hub.Stats().MailboxWaiting > 0 {
		time.Sleep(time.Millisecond)
	}
	for i := range n.hub.Shards() { // a task runs after the messages that were taken out of the mailbox
		done := make(chan struct{})
		n.hub.Shard(i).Post(func(time.Time) { close(done) })
		<-done
	}
}

// received waits until the node's clients have what other nodes have published.
// It publishes a malformed message on the node's channel, and waits until the
// node has counted it.
func (n *node) received() {
	n.w.t.Helper()
	malformed := func() int64 { return n.cluster.Stats().Dropped[DropMalformed] }
	before := malformed()
	testkit.Await(n.w.t, "the node's channel", func() bool {
		cs, command := n.cluster.connections(), "PUBLISH"
		if cs != nil && cs.sharded {
			command = "SPUBLISH"
		}
		r := cs.do(wire.Batch{Kind: wire.Publish, Commands: []wire.Command{
			{Name: command, Keys: []string{n.cluster.names.Channel(n.cluster.number)}, Args: []string{"?"}}}})[0]
		return r.Err == nil && r.Int == 1
	})
	testkit.Await(n.w.t, "the end of the node's channel", func() bool { return malformed() > before })
	n.fence()
	n.drained()
}

func (m modelNode) Kill() { m.n.halt() }

// A modelClient keeps the events it has received.
type modelClient struct {
	*client
	log []string
}

func (m *modelClient) Do(event, room string) error {
	prefix := "43" + m.send(event, room) + "["
	for {
		packet := m.next()
		if rest, ok := strings.CutPrefix(packet, prefix); ok {
			if !strings.HasPrefix(rest, `{"success":true`) {
				return fmt.Errorf("%s %s: %s", event, room, packet)
			}
			return nil
		}
		m.record(packet)
	}
}

func (m *modelClient) record(packet string) {
	var parts []json.RawMessage
	var name string
	var body struct{ Text, UserID, Room string }
	if json.Unmarshal([]byte(strings.TrimPrefix(packet, "42")), &parts) == nil && len(parts) == 2 &&
		json.Unmarshal(parts[0], &name) == nil && json.Unmarshal(parts[1], &body) == nil {
		packet = clustertest.Format(name, body.Text, body.UserID, body.Room)
	}
	m.log = append(m.log, packet)
}

func (m *modelClient) Heard() []string {
	for _, packet := range m.all() {
		m.record(packet)
	}
	return m.log
}

func (m *modelClient) Settle() {} // Received has done it
func (m *modelClient) Close()  { m.hangUp() }
