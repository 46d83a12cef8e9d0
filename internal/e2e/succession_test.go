package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/sioclient"
)

// handoverSocket returns the setting HANDOVER_SOCKET with a path in a private
// directory.
func handoverSocket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gateway-handover-") // mode 0700, and a path short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return "HANDOVER_SOCKET=" + filepath.Join(dir, "s")
}

// succeed starts another process and waits until it has taken over from g.
func (g *gateway) succeed(t *testing.T, settings ...string) *gateway {
	t.Helper()
	next := &gateway{Gateway: g.Successor(settings...), t: t}
	next.Launch()
	if code := g.Wait(); code != 0 {
		t.Errorf("exit code %d of the process that has handed over, want 0", code)
	}
	next.AwaitReady()
	return next
}

// witness is a client in a room. It receives numbered events and continuously emits
// events that must be acknowledged.
type witness struct {
	c         *sioclient.Client
	room      string
	last      atomic.Int64 // number of the last event; the first is 1
	acks      atomic.Int64
	transport string
}

func (g *gateway) witness(t *testing.T, i, rooms int, polling bool) *witness {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	w := &witness{room: fmt.Sprint("room", i%rooms), transport: "websocket"}
	if polling {
		w.transport = "polling"
	}
	c, err := sioclient.Connect(ctx, g.URL, sioclient.Options{Token: gatewaytest.Token(t, fmt.Sprint("witness", i)), Polling: polling})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	w.c = c
	if _, err := c.EmitAck(ctx, "join_room", map[string]string{"roomType": "conversation", "roomId": w.room}); err != nil {
		t.Fatal(err)
	}
	return w
}

// watch receives events. Each event of the room must come once and in order.
func (w *witness) watch(ctx context.Context) error {
	for {
		e, err := w.c.Next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s in %s, after event %d: %w", w.transport, w.room, w.last.Load(), err)
		}
		if e.Name != "new_message" {
			continue
		}
		var body struct{ Message string }
		if err := e.Decode(&body); err != nil {
			return err
		}
		n, _ := strconv.ParseInt(body.Message, 10, 64)
		if last := w.last.Load(); n != last+1 {
			return fmt.Errorf("%s in %s: event %d after %d", w.transport, w.room, n, last)
		}
		w.last.Store(n)
	}
}

// talk emits events, each of which must be acknowledged.
func (w *witness) talk(ctx context.Context) error {
	home := map[string]string{"roomType": "conversation", "roomId": w.room}
	for ctx.Err() == nil {
		answer, err := w.c.EmitAck(ctx, "typing", home)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil || string(answer) != `{"success":true}` {
			return fmt.Errorf("%s in %s: typing answered %s, %v", w.transport, w.room, answer, err)
		}
		w.acks.Add(1)
		select {
		case <-ctx.Done():
		case <-time.After(2 * time.Millisecond):
		}
	}
	return nil
}

// publish sends numbered events to a room until ctx ends, and returns their number.
func (g *gateway) publish(ctx context.Context, room string) (n int64, err error) {
	for ctx.Err() == nil {
		n++
		status, answer, err := g.Post("message.sent", fmt.Sprintf(
			`{"conversationId":%q,"senderId":"1","recipientId":"2","message":"%d"}`, room, n))
		if err != nil || status/100 != 2 {
			return n, fmt.Errorf("event %d of %s: %d %s, %w", n, room, status, answer, err)
		}
	}
	return n, nil
}

// Two hand-overs happen under load. Each client must get each event once and in order,
// and an answer to each of its own events, and no connection may end. Clients that
// connect meanwhile must all be served.
func TestHandOverUnderLoadKeepsConnections(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it does not hand over")
	for name, loops := range map[string][]string{
		"as many event loops": {"2", "2", "2"},
		"other event loops":   {"2", "3", "1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			handOverUnderLoad(t, loops, 16, 8)
		})
	}
}

// handshakeInBursts makes bursts of handshakes until ctx ends. Each must succeed,
// whichever process accepts its connection.
func handshakeInBursts(ctx context.Context, t *testing.T, addr string) {
	const burst = 40
	for ctx.Err() == nil && !t.Failed() {
		var all sync.WaitGroup
		for range burst {
			all.Go(func() {
				if err := handshakeOnce(addr); err != nil {
					t.Errorf("a handshake in a burst: %v", err)
				}
			})
		}
		all.Wait()
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func handOverUnderLoad(t *testing.T, loops []string, webSockets, polling int) {
	const rooms = 4
	g := start(t, handoverSocket(t), "EVENT_LOOPS="+loops[0], "MAX_EVENTS_PER_SECOND=0", "MAX_HANDSHAKES_PER_SECOND=1000000")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var all sync.WaitGroup
	var witnesses []*witness
	for i := range webSockets + polling {
		witnesses = append(witnesses, g.witness(t, i, rooms, i >= webSockets))
	}
	for _, w := range witnesses {
		for _, do := range []func(context.Context) error{w.watch, w.talk} {
			all.Go(func() {
				if err := do(ctx); err != nil {
					t.Error(err)
				}
			})
		}
	}
	all.Go(func() { handshakeInBursts(ctx, t, g.Addr) })
	sending, enough := context.WithCancel(ctx)
	defer enough()
	var publishers sync.WaitGroup
	sent := make(map[string]int64)
	var mu sync.Mutex
	for i := range rooms {
		publishers.Go(func() {
			room := fmt.Sprint("room", i)
			n, err := g.publish(sending, room)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			sent[room] = n
		})
	}
	progress := func() {
		t.Helper()
		before := make([][2]int64, len(witnesses))
		for i, w := range witnesses {
			before[i] = [2]int64{w.last.Load(), w.acks.Load()}
		}
		gatewaytest.Await(t, "events and answers for everybody", func() bool {
			for i, w := range witnesses {
				if !t.Failed() && (w.last.Load() < before[i][0]+20 || w.acks.Load() < before[i][1]+20) {
					return false
				}
			}
			return true
		})
	}
	current := g
	progress()
	for _, n := range loops[1:] {
		current = current.succeed(t, "EVENT_LOOPS="+n)
		progress()
	}
	enough()
	publishers.Wait()
	gatewaytest.Await(t, "the last events", func() bool {
		for _, w := range witnesses {
			if !t.Failed() && w.last.Load() < sent[w.room] {
				return false
			}
		}
		return true
	})
	if n := current.connectedSockets(); n != webSockets+polling {
		t.Errorf("%d sockets, want %d", n, webSockets+polling)
	}
	cancel()
	all.Wait()
}

// SOCKETIO_ADAPTER_KEY makes a hand-over impossible. The old process must drain
// instead, both processes must log the reason, and the new one must serve.
func TestOldProcessDrainsWhenHandOverIsImpossible(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it does not hand over")
	g := start(t, handoverSocket(t), "SOCKETIO_ADAPTER_KEY=socket.io", "USE_REDIS=true", fmt.Sprint("REDIS_PORT=", gatewaytest.FreePort(t)), "REDIS_HOST=127.0.0.1")
	c := g.dial(t, "1", false)
	next := &gateway{Gateway: g.Successor(), t: t}
	next.Launch()
	if code := g.Wait(); code != 0 {
		t.Errorf("exit code %d of the process that drains, want 0", code)
	}
	<-c.Done()
	next.dial(t, "1", false)
	for who, out := range map[string]string{"the old process": g.Out.String(), "the new one": next.Out.String()} {
		if !strings.Contains(out, "SOCKETIO_ADAPTER_KEY") {
			t.Errorf("%s does not log the reason:\n%s", who, out)
		}
	}
}

// Connections are handed over although neither Redis nor RabbitMQ can be reached.
func TestHandOverWithoutRedisAndRabbitMQ(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it does not hand over")
	nowhere := gatewaytest.FreePort(t)
	for _, log := range []string{"redis", "rabbitmq"} {
		t.Run(log, func(t *testing.T) {
			t.Parallel()
			g := start(t, handoverSocket(t), "EVENT_LOG="+log, "USE_REDIS=true", fmt.Sprint("REDIS_PORT=", nowhere), "REDIS_HOST=127.0.0.1",
				"USE_RABBITMQ=true", fmt.Sprint("RABBITMQ_PORT=", nowhere), "RABBITMQ_HOST=127.0.0.1")
			c := g.dial(t, "1", false)
			c.do("join_room", "1")
			next := &gateway{Gateway: g.Successor(), t: t}
			next.Launch()
			if code := g.Wait(); code != 0 {
				t.Errorf("exit code %d of the process that has handed over, want 0", code)
			}
			c.do("leave_room", "1")
		})
	}
}

// A process that is to take over has an invalid setting or another port. It must exit
// with an error, and the running gateway must go on serving.
func TestFailedSuccessorLeavesTheGatewayRunning(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it does not hand over")
	g := start(t, handoverSocket(t))
	c := g.dial(t, "1", false)
	if out, err := g.Successor("ROUTES_FILE=/nowhere").Run("serve"); err == nil {
		t.Errorf("a process with a missing routes file took over, want an error:\n%s", out)
	}
	if out, err := g.Successor("PORT=1").Run("serve"); err == nil || !strings.Contains(out, "refuses") {
		t.Errorf("a process for another port: %v, want a refusal\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := c.EmitAck(ctx, "typing", map[string]string{"roomType": "conversation", "roomId": "1"}); err != nil {
		t.Errorf("the client of the running gateway: %v", err)
	}
}
