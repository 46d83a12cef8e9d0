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

// handoverSocket returns a setting with a path whose folder is nobody else's.
func handoverSocket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gateway-handover-") // mode 0700, and short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return "HANDOVER_SOCKET=" + filepath.Join(dir, "s")
}

// succeed starts a successor and waits until it has taken over from g.
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

// A witness is a client in a room that gets numbered events, and has its own
// events answered, without end.
type witness struct {
	c         *sioclient.Client
	room      string
	last      atomic.Int64 // number of the last event; they begin at 1
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

// watch wants each event of the room once and in order.
func (w *witness) watch(ctx context.Context) error {
	for {
		e, err := w.c.Next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s in %s, behind event %d: %w", w.transport, w.room, w.last.Load(), err)
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
			return fmt.Errorf("%s in %s: event %d behind %d", w.transport, w.room, n, last)
		}
		w.last.Store(n)
	}
}

// talk has an answer for each of its events, whoever serves.
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

// publish sends a room numbered events until ctx is over, and returns how many.
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

// Clients under load notice nothing of one process taking another's place, and
// again, and again: each event comes once and in order, each of their own is
// answered, no connection ends. Others that come meanwhile are all served.
func TestClientsNoticeNothingOfAHandOver(t *testing.T) {
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

// visitInBursts has clients come at once, again and again: each is served,
// whichever process its connection comes to.
func visitInBursts(ctx context.Context, t *testing.T, addr string) {
	const burst = 40
	for ctx.Err() == nil && !t.Failed() {
		var all sync.WaitGroup
		for range burst {
			all.Go(func() {
				if err := visit(addr); err != nil {
					t.Errorf("a client that comes in a burst: %v", err)
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
	all.Go(func() { visitInBursts(ctx, t, g.Addr) })
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

// Where sessions cannot be handed over, the old process drains, as without a
// hand-over, and says why; the new one serves from then on.
func TestWhereNothingCanBeHandedOverTheOldProcessDrains(t *testing.T) {
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
			t.Errorf("%s does not say why:\n%s", who, out)
		}
	}
}

// While Redis and RabbitMQ cannot be reached, connections are handed over all the
// same.
func TestConnectionsAreHandedOverWhileRedisIsAway(t *testing.T) {
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

// A successor that cannot start leaves the running gateway alone, and ends with
// an error.
func TestASuccessorThatCannotStartLeavesTheGatewayAlone(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it does not hand over")
	g := start(t, handoverSocket(t))
	c := g.dial(t, "1", false)
	if out, err := g.Successor("ROUTES_FILE=/nowhere").Run("serve"); err == nil {
		t.Errorf("a successor without its routes ended well:\n%s", out)
	}
	if out, err := g.Successor("PORT=1").Run("serve"); err == nil || !strings.Contains(out, "refuses") {
		t.Errorf("a successor for another port: %v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := c.EmitAck(ctx, "typing", map[string]string{"roomType": "conversation", "roomId": "1"}); err != nil {
		t.Errorf("the client of the running gateway: %v", err)
	}
}
