package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/sioclient"
)

// successor starts another gateway with the same settings on the same port. It returns
// when the new one accepts connections, too.
func (g *gateway) successor(t *testing.T) *gateway {
	t.Helper()
	s := newSystemd(t)
	next := &gateway{Gateway: g.Successor("NOTIFY_SOCKET=" + s.path), t: t}
	next.Launch()
	s.await(t, "READY=1") // an answer on the port may still come from the old process
	return next
}

// steadyClient is a client that joins a room, emits typing events, and reconnects when it
// is disconnected.
type steadyClient struct {
	name    string
	polling bool
	returns int
}

// run runs the client until ctx ends. It returns an error if the client is refused or
// gets a wrong answer.
func (r *steadyClient) run(ctx context.Context, t *testing.T, g *gateway, in *atomic.Int64) error {
	for ctx.Err() == nil {
		c, err := sioclient.Connect(ctx, g.URL, sioclient.Options{Polling: r.polling, Token: gatewaytest.Token(t, r.name)})
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s, reconnect %d: %w", r.name, r.returns, err)
		}
		in.Add(1)
		if err := r.emitUntilClosed(ctx, c); err != nil {
			return fmt.Errorf("%s, reconnect %d: %w", r.name, r.returns, err)
		}
		in.Add(-1)
		if ctx.Err() == nil {
			r.returns++
		}
	}
	return nil
}

// emitUntilClosed emits events for as long as the connection lasts.
func (r *steadyClient) emitUntilClosed(ctx context.Context, c *sioclient.Client) error {
	defer c.Close()
	home := map[string]string{"roomType": "conversation", "roomId": r.name}
	for event := "join_room"; ; event = "typing" {
		answer, err := c.EmitAck(ctx, event, home)
		if _, unknownSession := errors.AsType[*sioclient.HandshakeError](err); unknownSession && r.polling {
			return nil // the request used a new TCP connection, which the successor accepted; it does not know the session
		}
		if errors.Is(err, io.EOF) && r.polling {
			return nil // a request that crosses the end of its session gets no response: see docs/clients.md
		}
		if errors.Is(err, syscall.EPIPE) { // the connection has ended, but its reader has not noticed yet
			select {
			case <-c.Done():
			case <-ctx.Done():
			}
		}
		if c.Err() != nil || ctx.Err() != nil {
			return nil
		}
		if err != nil || string(answer) == `{"error":"Not in room"}` {
			return fmt.Errorf("%s: %s, %v", event, answer, err)
		}
		select {
		case <-c.Done():
			return nil
		case <-ctx.Done():
			return nil
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// A second process shares the port (SHARE_PORT) and the first one drains. Neither new
// nor reconnecting clients may be refused, and each connected client is disconnected
// exactly once. The drain must take at least half of DRAIN_PERIOD.
func TestHandOver(t *testing.T) {
	t.Parallel()
	notOnReference(t, "its port cannot be shared")
	const (
		clientCount    = 80
		handshakeLoops = 4
		period         = 4 * time.Second
	)
	old := start(t, "SERVICE_HOST=::", "SHARE_PORT=true", "MAX_HANDSHAKES_PER_SECOND=1000000", "DRAIN_PERIOD="+strconv.Itoa(int(period.Milliseconds())), fmt.Sprint("ADMIN_ADDR=127.0.0.1:", gatewaytest.FreePort(t)))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var connected, handshakes atomic.Int64
	var all sync.WaitGroup
	clients := make([]*steadyClient, clientCount)
	for i := range clients {
		clients[i] = &steadyClient{name: fmt.Sprint("resident", i), polling: i%4 == 0}
		all.Go(func() {
			if err := clients[i].run(ctx, t, old, &connected); err != nil {
				t.Error(err)
			}
		})
	}
	gatewaytest.Await(t, "all clients to connect", func() bool { return connected.Load() == clientCount })
	for range handshakeLoops {
		all.Go(func() {
			for ctx.Err() == nil {
				if err := handshakeOnce(old.Addr); err != nil {
					t.Errorf("handshake %d of a new client: %v", handshakes.Load(), err)
					return
				}
				handshakes.Add(1)
			}
		})
	}

	next := old.successor(t)
	old.Signal(syscall.SIGTERM)
	if code := old.Wait(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	gatewaytest.Await(t, "all clients to reconnect", func() bool { return connected.Load() == clientCount || t.Failed() })
	before := handshakes.Load()
	gatewaytest.Await(t, "new handshakes with the successor", func() bool { return handshakes.Load() > before+handshakeLoops || t.Failed() })
	if n := next.connectedSockets(); n != clientCount {
		t.Errorf("%d sockets on the successor, want %d", n, clientCount)
	}
	cancel()
	all.Wait()
	for _, r := range clients {
		if r.returns != 1 {
			t.Errorf("%s reconnected %d times, want once", r.name, r.returns)
		}
	}
	old.wantDrained(t, period)
}

// handshakeOnce makes a WebSocket handshake on a new connection, as a client does that
// connects for the first time.
func handshakeOnce(addr string) error {
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(conn, "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: gateway\r\n"+
		"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	answer := make([]byte, 512)
	n, err := conn.Read(answer)
	if err == nil && string(answer[:min(n, 12)]) != "HTTP/1.1 101" {
		err = fmt.Errorf("answer %.80q, want 101", answer[:n])
	}
	return err
}
