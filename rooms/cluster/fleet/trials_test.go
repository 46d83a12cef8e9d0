package fleet

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/internal/testkit/brokertest"
)

// A trial is two gateways, each with its own proxy to Redis and a recorder, and
// a service. The first gateway is the one that handles dead letters.
type trial struct {
	*fleet
	service   *service
	ways      []*testkit.Proxy
	nodes     []*gateway
	recorders []*recorder
}

func newTrial(t *testing.T, name string, settings ...string) *trial {
	t.Helper()
	tr := &trial{fleet: newFleet(t)}
	tr.service = tr.fleet.service(name)
	for i := range 2 {
		way, err := testkit.NewProxy(tr.redis.Addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(way.Close)
		_, port, _ := strings.Cut(way.Addr, ":")
		node := tr.start(append(settings, "REDIS_PORT="+port)...)
		if i == 0 {
			gatewaytest.Await(t, "the first gateway to handle the dead letters", func() bool {
				return strings.Contains(node.Out.String(), `"for":"dead letters"`)
			})
		}
		tr.ways, tr.nodes = append(tr.ways, way), append(tr.nodes, node)
		tr.recorders = append(tr.recorders, node.recorder(fmt.Sprint("the client of gateway ", i)))
	}
	return tr
}

// progress waits until all recorders have got the given number of new events.
func (tr *trial) progress(events int) {
	tr.t.Helper()
	from := int(tr.service.opened.Load())
	for _, w := range tr.recorders {
		w.await(tr.t, from+events)
	}
}

func (tr *trial) wantAll(events int) {
	tr.t.Helper()
	for _, w := range tr.recorders {
		w.wantAll(tr.t, events)
	}
}

// awaitNodes waits until a gateway counts n gateways, itself included.
func (g *gateway) awaitNodes(n int) {
	g.t.Helper()
	gatewaytest.Await(g.t, fmt.Sprint(n, " gateways"), func() bool { return g.figures().Cluster.Nodes == n })
}

// Redis is silent for one gateway for longer than its lease, and then its
// connections are reset. The gateway must deliver all events and execute
// orders, which do not need Redis.
func TestGatewayDeliversEventsWhileRedisIsSilent(t *testing.T) {
	t.Parallel()
	tr := newTrial(t, "silent")
	stop := tr.service.flow(t)
	carl := connect(t, tr.nodes[1], "carl")
	tr.ways[1].Hold()
	tr.nodes[0].awaitNodes(1)
	tr.progress(300)
	if status, answer, err := tr.nodes[0].Post("user.disconnect", `{"userId":"carl"}`); err != nil || status != 202 {
		t.Fatalf("%d %s %v", status, answer, err)
	}
	if event, err := carl.next(patience); err != nil || !strings.HasPrefix(event, "session_ended") {
		t.Errorf("got %q, %v, want session_ended", event, err)
	}
	tr.ways[1].Cut()
	tr.progress(100)
	tr.ways[1].Heal()
	for _, n := range tr.nodes {
		n.awaitNodes(2)
	}
	tr.wantAll(stop())
}

// One gateway is stopped with SIGSTOP while 30 MB are published. The other one
// must not be delayed, and the stopped one must deliver all events when it runs
// again.
func TestStoppedGatewayDelaysNoOtherAndLosesNoEvent(t *testing.T) {
	t.Parallel()
	const events = 1_000
	tr := newTrial(t, "stopped", unread)
	tr.service.pad = strings.Repeat("x", 30_000)
	tr.nodes[1].Signal(syscall.SIGSTOP)
	defer tr.nodes[1].Signal(syscall.SIGCONT)
	published := tr.service.publish(0, events)
	tr.recorders[0].wantAll(t, events)
	if err := <-published; err != nil {
		t.Fatal(err)
	}
	if _, next, _, _ := tr.recorders[1].saw(); next > 0 {
		t.Errorf("a stopped gateway has delivered %d events", next)
	}
	tr.nodes[1].Signal(syscall.SIGCONT)
	tr.wantAll(events)
}

// The gateways' subscriptions in Redis are killed 25 times. No event may be lost.
func TestNoEventIsLostWhenSubscriptionsAreKilled(t *testing.T) {
	t.Parallel()
	tr := newTrial(t, "subscriptions")
	stop := tr.service.flow(t)
	for range 25 {
		gatewaytest.Await(t, "both gateways to be subscribed", func() bool {
			out, err := tr.redis.CLI("CLIENT", "LIST", "TYPE", "pubsub")
			return err == nil && strings.Count(out, "id=") >= len(tr.nodes)
		})
		out, err := tr.redis.CLI("CLIENT", "KILL", "TYPE", "pubsub")
		if n, _ := strconv.Atoi(out); err != nil || n < len(tr.nodes) {
			t.Fatalf("killed %s, %v", out, err)
		}
		tr.progress(20)
	}
	tr.wantAll(stop())
}

// A gateway is cut off from Redis for several leases, while Redis is flushed,
// or the other gateway reconnects or restarts. No event may be lost.
func TestGatewayThatIsCutOffFromRedisLosesNoEvent(t *testing.T) {
	t.Parallel()
	for name, happens := range map[string]func(tr *trial) error{
		"redis-flushed": func(tr *trial) error { _, err := tr.redis.CLI("FLUSHALL"); return err },
		"another-reconnects": func(tr *trial) error {
			tr.ways[0].Cut()
			tr.ways[0].Heal()
			return nil
		},
		"another-restarts": func(tr *trial) error {
			tr.nodes[0].Kill()
			w := tr.recorders[0]
			<-w.ended
			if first, next, repeats, _ := w.saw(); first > w.due || repeats > 0 {
				return fmt.Errorf("%s got events %d to %d with %d repeats, want none", w.name, first, next, repeats)
			}
			tr.nodes[0].Launch()
			tr.nodes[0].AwaitReady()
			tr.recorders[0] = tr.nodes[0].recorder("the client after the restart")
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := newTrial(t, name)
			stop := tr.service.flow(t)
			tr.ways[1].Cut()
			tr.progress(50)
			if err := happens(tr); err != nil {
				t.Fatal(err)
			}
			tr.nodes[0].AwaitReady()
			tr.nodes[0].awaitNodes(1)
			tr.progress(1_000)
			tr.ways[1].Heal()
			for _, n := range tr.nodes {
				n.awaitNodes(2)
			}
			tr.progress(50)
			tr.wantAll(stop())
		})
	}
}

// The gateway that handles dead letters is cut off from Redis. It must not be
// ready, its clients and those of the other one must get all events, and dead
// letters must still be stored.
func TestGatewayWithDeadLettersAndWithoutRedisDelaysNoEvent(t *testing.T) {
	t.Parallel()
	tr := newTrial(t, "first")
	stop := tr.service.flow(t)
	tr.ways[0].Cut()
	gatewaytest.Await(t, "a gateway that is not ready", func() bool { _, ready := tr.nodes[0].redisOf(); return ready == 503 })
	tr.nodes[1].awaitNodes(1)
	tr.progress(500)
	total := stop()
	tr.wantAll(total)
	if err := tr.service.publisher.Publish(tr.service.name, "message.sent", amqp.Publishing{Body: []byte("[]")}); err != nil {
		t.Fatal(err)
	}
	tr.awaitDeadLetters(1)
}

// awaitDeadLetters waits until n dead letters are in the queue.
func (tr *trial) awaitDeadLetters(n int) {
	tr.t.Helper()
	gatewaytest.Await(tr.t, fmt.Sprint(n, " dead letters"), func() bool {
		q, err := tr.service.publisher.Channel.QueueDeclarePassive(tr.service.name+".dead-letter", true, false, false, false, nil)
		return err == nil && q.Messages == n
	})
}

// Mailboxes of 1024 messages are too small for the published events. No event
// may be lost.
func TestSmallMailboxesLoseNoEvent(t *testing.T) {
	t.Parallel()
	const events = 6_000
	tr := newTrial(t, "mailbox", "MAX_MAILBOX=1024", unread)
	tr.service.pad = strings.Repeat("x", 1000)
	if err := <-tr.service.publish(0, events); err != nil {
		t.Fatal(err)
	}
	tr.wantAll(events)
}

// A dead letter cannot be written: first its headers are too large, then the
// queue refuses it. Events must be delivered meanwhile.
func TestDeadLetterThatCannotBeWrittenDelaysNoEvent(t *testing.T) {
	t.Parallel()
	tr := newTrial(t, "letters")
	poison := func(headers amqp.Table) {
		t.Helper()
		err := tr.service.publisher.Publish(tr.service.name, "message.sent", amqp.Publishing{Body: []byte("[]"), Headers: headers})
		if err != nil {
			t.Fatal(err)
		}
	}
	stop := tr.service.flow(t)
	tr.progress(50)
	stop()
	poison(amqp.Table{"large": strings.Repeat("x", 130_700)})
	tr.awaitDeadLetters(1)
	broker := brokertest.Shared(t)
	if out, err := broker.Ctl("set_policy", "letters", `^letters\.dead-letter$`,
		`{"max-length":1,"overflow":"reject-publish"}`, "--apply-to", "queues"); err != nil {
		t.Fatal(out, err)
	}
	gatewaytest.Await(t, "the queue to refuse messages", func() bool {
		err := tr.service.publisher.Publish("", "letters.dead-letter", amqp.Publishing{Body: []byte("another")})
		return err != nil
	})
	poison(nil)
	stop = tr.service.flow(t)
	tr.progress(400)
	total := stop()
	tr.wantAll(total)
	if out, err := broker.Ctl("clear_policy", "letters"); err != nil {
		t.Fatal(out, err)
	}
}

// Each key of the directory is deleted once. Messages of clients must reach the
// other gateway again, and the key of a room must be written again.
func TestDeletedKeysOfTheDirectoryAreReplaced(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	_, ann, bob := f.pair()
	out, err := f.redis.CLI("-n", "1", "KEYS", keyPrefix+"*")
	if err != nil {
		t.Fatal(err)
	}
	keys := strings.Fields(out)
	if len(keys) < 5 { // a room, two users, two leases
		t.Fatalf("keys %q", keys)
	}
	for _, key := range keys {
		if n, err := f.redis.CLI("-n", "1", "DEL", key); err != nil || n != "1" {
			t.Logf("%s: %s %v", key, n, err) // the key has expired meanwhile
			continue
		}
		for _, way := range []struct{ from, to *client }{{ann, bob}, {bob, ann}} {
			gatewaytest.Await(t, "a message to reach the other gateway without "+key, func() bool {
				if err := way.from.do("stop_typing", "1"); err != nil {
					t.Fatal(err)
				}
				event, err := way.to.next(patience / 100)
				return err == nil && strings.HasPrefix(event, "user_stop_typing")
			})
		}
		gatewaytest.Await(t, "the key of the room to be written again: "+key, func() bool {
			n, err := f.redis.CLI("-n", "1", "EXISTS", key)
			return err == nil && n == "1" || !strings.Contains(key, ":in:") // the key of a session is not written again
		})
		for _, c := range []*client{ann, bob} {
			for event := "some"; event != ""; {
				event, _ = c.next(patience / 100)
			}
		}
	}
}

// One user joins tens of thousands of rooms on 50 sockets, which wait for the
// directory. Other users of the gateway must still be able to join, to get
// events of services, and to exchange messages with clients of the other
// gateway.
func TestJoinsOfOneUserDoNotDelayOtherUsers(t *testing.T) {
	t.Parallel()
	const sockets, roomsEach, said = 50, 940, 20
	// With this lag the directory takes fewer rooms a second than a slow
	// machine joins. Renewals are slower as well.
	const lag = 150 * time.Millisecond
	tr := newTrial(t, "burst", "MAX_ROOMS_PER_USER=0", "NODE_LEASE=20000")
	ann, bob := connect(t, tr.nodes[0], "ann"), connect(t, tr.nodes[1], "bob")
	if err := bob.do("join_room", "2"); err != nil {
		t.Fatal(err)
	}
	tr.nodes[1].AwaitListed()
	tr.ways[0].Lag(lag)
	defer tr.nodes[0].Kill() // it would take long to remove all these rooms
	for i := range sockets {
		c := connect(t, tr.nodes[0], "mallory")
		room := func(n int) string { return fmt.Sprint("burst ", i, " ", n) }
		for n := range roomsEach - 1 {
			if err := c.Emit("join_room", map[string]string{"roomType": "conversation", "roomId": room(n)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.do("join_room", room(roomsEach)); err != nil {
			t.Fatal(err)
		}
	}
	waiting := func(what string) {
		t.Helper()
		n := tr.nodes[0].Metric("gateway_cluster_directory_waiting")
		t.Logf("%s: %.0f rooms wait", what, n)
		if n < roomsEach {
			t.Errorf("%s: %.0f rooms of the burst wait, want that they still wait", what, n)
		}
	}
	waiting("all are joined")
	if err := ann.do("join_room", "2"); err != nil {
		t.Fatal(err)
	}
	want(t, bob, "user_joined ann 2")
	for range said {
		if err := ann.do("stop_typing", "2"); err != nil {
			t.Fatal(err)
		}
	}
	for range said {
		want(t, bob, "user_stop_typing ann 2")
	}
	got := ""
	gatewaytest.Await(t, "bob's gateway to know that ann's gateway holds the room", func() bool {
		if err := bob.do("stop_typing", "2"); err != nil {
			t.Fatal(err)
		}
		got, _ = ann.next(200 * time.Millisecond)
		return got == "user_stop_typing bob 2"
	})
	if err := tr.nodes[0].publish("2", "hi"); err != nil {
		t.Fatal(err)
	}
	for got == "user_stop_typing bob 2" {
		var err error
		if got, err = ann.next(patience); err != nil {
			t.Fatal(err)
		}
	}
	if got != "new_message hi" {
		t.Errorf("ann got %s, want new_message hi", got)
	}
	want(t, bob, "new_message hi")
	waiting("others have joined and talked")
}

// A gateway drains. Its clients must get all events until they are disconnected.
func TestDrainingGatewayDeliversEvents(t *testing.T) {
	t.Parallel()
	tr := newTrial(t, "drains", "DRAIN_PERIOD=25000")
	for i := range 40 { // the last clients to connect are disconnected first
		connect(t, tr.nodes[1], fmt.Sprint("other ", i))
	}
	stop := tr.service.flow(t)
	tr.progress(50)
	tr.nodes[1].Signal(syscall.SIGTERM)
	gatewaytest.Await(t, "the drain", func() bool {
		return strings.Contains(tr.nodes[1].Out.String(), `"draining"`)
	})
	tr.progress(100)
	tr.wantAll(stop())
	tr.nodes[1].Kill()
}
