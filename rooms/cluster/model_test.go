package cluster

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/rooms/cluster/clustertest"
)

// TestClusterAgreesWithAModel has nodes and clients come and go at random.
func TestClusterAgreesWithAModel(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			w := newOwnWorld(t)
			m := clustertest.Model{Log: t.Logf, Start: func() (clustertest.Node, error) {
				return modelNode{w.node(func(c *Config) { c.Linger = 20 * time.Millisecond })}, nil
			}}
			if seed%2 == 1 {
				m.Fault = func(*rand.Rand) error { w.cli("FLUSHALL"); return nil }
			}
			if err := m.Run(seed, 400); err != nil {
				t.Fatal(err, w.stats())
			}
			w.awaitRight()
		})
	}
}

type modelNode struct{ n *node }

func (m modelNode) Connect(user string) (clustertest.Client, error) {
	return &modelClient{client: m.n.connect(user)}, nil
}

func (m modelNode) Publish(room, text string) error {
	body := codec.NewText(fmt.Appendf(nil, `42["new_message",{"userId":%q}]`, text))
	_, err := m.n.cluster.Deliver(m.n.w.t.Context(), rooms.Broadcast{Room: room, Message: body})
	return err
}

func (m modelNode) Sent() error {
	await(m.n.w.t, "an empty queue", func() bool { return m.n.cluster.Stats().Queued == 0 })
	m.n.sync()
	return nil
}

// Received sends something to the node itself that it counts, behind all that
// others have sent it.
func (m modelNode) Received() error {
	malformed := func() int64 { return m.n.cluster.Stats().Dropped[DropMalformed] }
	before := malformed()
	await(m.n.w.t, "the node's channel", func() bool {
		v := m.n.cluster.view.Load()
		if v == nil || !m.n.cluster.Connected() {
			return false
		}
		got, err := v.client.Do(m.n.w.t.Context(), m.n.cluster.lanes[0].publishing(v, parcel{node: m.n.cluster.node})).AsInt64()
		return err == nil && got == 1
	})
	await(m.n.w.t, "the end of the node's channel", func() bool { return malformed() > before })
	m.n.sync()
	return nil
}

func (m modelNode) Kill() { m.n.halt() }

// modelClient keeps events that come before an ack.
type modelClient struct {
	*client
	before []string
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
		m.before = append(m.before, packet)
	}
}

func (m *modelClient) Next(time.Duration) (string, error) {
	if len(m.before) == 0 {
		m.before = append(m.before, m.next())
	}
	packet := m.before[0]
	m.before = m.before[1:]
	var parts []json.RawMessage
	var name string
	var body presence
	if err := json.Unmarshal([]byte(strings.TrimPrefix(packet, "42")), &parts); err != nil || len(parts) != 2 {
		return "", fmt.Errorf("packet %s: %v", packet, err)
	}
	if err := json.Unmarshal(parts[0], &name); err != nil {
		return "", err
	}
	err := json.Unmarshal(parts[1], &body)
	return name + " " + body.UserID, err
}

func (m *modelClient) Pending() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.before) + len(m.inbox)
}

func (m *modelClient) Close() { m.hangUp() }
