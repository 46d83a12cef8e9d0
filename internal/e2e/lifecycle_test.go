package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/gatewaytest"
)

// quickHeartbeat makes a missed heartbeat end within the time of a test, with a
// timeout long enough for a busy machine.
var quickHeartbeat = []string{"PING_INTERVAL=200", "PING_TIMEOUT=5000"}

func TestHeartbeatKeepsClients(t *testing.T) {
	t.Parallel()
	clients(t, start(t, quickHeartbeat...), "heartbeat.mjs")
}

// The process of a client is stopped or killed. The other members of its room must get
// user_left for each of its sockets.
func TestClientVanishes(t *testing.T) {
	t.Parallel()
	g := start(t, quickHeartbeat...)
	for _, end := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} {
		for _, transport := range transportSettings {
			t.Run(fmt.Sprintf("%v/%s", end, transport), func(t *testing.T) {
				t.Parallel()
				room := fmt.Sprintf("%d-%s", end, transport)
				ann := g.dial(t, "ann", false)
				ann.do("join_room", room)
				crowd := g.crowd(t, transport, "member.mjs", "2", room)
				crowd.joined(2)
				ids := map[string]bool{ann.want("user_joined").SocketID: true, ann.want("user_joined").SocketID: true}
				if err := crowd.cmd.Process.Signal(end); err != nil {
					t.Fatal(err)
				}
				for range 2 {
					left := ann.want("user_left")
					if !ids[left.SocketID] || left.Room != "conversation:"+room {
						t.Errorf("user_left %+v, want one of the sockets of the process, in the room", left)
					}
					delete(ids, left.SocketID)
				}
				ann.do("typing", room)
			})
		}
	}
}

// After a restart of the gateway all clients reconnect and join their room again.
func TestClientsReturnAfterRestart(t *testing.T) {
	t.Parallel()
	g := start(t)
	var crowds []*crowd
	for _, transport := range transportSettings {
		c := g.crowd(t, transport, "member.mjs", "3", "home")
		c.joined(3)
		crowds = append(crowds, c)
	}
	g.Signal(syscall.SIGTERM)
	if code := g.Wait(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	g.Launch()
	for i, c := range crowds {
		for _, s := range c.want("disconnect", 3) {
			wantReturn(t, transportSettings[i], s)
		}
		c.joined(3)
	}
	g.awaitSockets(9)
}

// wantReturn checks the reason of a disconnect: after these reasons socket.io-client
// reconnects by itself. A client that polls on a new connection each time may find the
// port closed before it gets the close packet.
func wantReturn(t *testing.T, transport string, s step) {
	t.Helper()
	if s.Reason == "transport close" || transport == "polling" && s.Reason == "transport error" {
		return
	}
	t.Errorf("%s client %d: disconnect reason %q, want transport close", transport, s.Member, s.Reason)
}

// prober has keep-alive connections, as a load balancer has. A gateway that drains
// accepts no new connections and may close each of these after its response.
type prober struct{ conns []net.Conn }

// prober opens the connections and makes one request on each: the kernel resets
// connections that the gateway has not accepted when it begins to drain.

func (g *gateway) prober(t *testing.T) *prober {
	t.Helper()
	p := &prober{}
	for range 4 {
		conn, err := net.Dial("tcp", g.Addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if _, err := ask(conn, "/health"); err != nil {
			t.Fatal(err)
		}
		p.conns = append(p.conns, conn)
	}
	return p
}

// ask makes a request and returns the status of the response.
func ask(conn net.Conn, path string) (status int, err error) {
	conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: gateway\r\n\r\n", path)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, err
}

// status makes a request on the first connection that still works and returns the
// status.
func (p *prober) status(t *testing.T, path string) int {
	t.Helper()
	for ; len(p.conns) > 0; p.conns = p.conns[1:] {
		if status, err := ask(p.conns[0], path); err == nil {
			return status
		}
	}
	t.Fatalf("%s: all connections were closed before a response", path)
	return 0
}

// awaitUnready waits until /ready returns 503.
func (p *prober) awaitUnready(t *testing.T) {
	t.Helper()
	gatewaytest.Await(t, "/ready to return 503", func() bool { return p.status(t, "/ready") == http.StatusServiceUnavailable })
}

// On SIGTERM /ready and /health return 503, all clients are disconnected in a way that
// makes them reconnect, spread over DRAIN_PERIOD, and the process exits with 0.
func TestGracefulShutdown(t *testing.T) {
	t.Parallel()
	const (
		each   = 10 // clients of each transport
		period = 2 * time.Second
	)
	g := start(t, fmt.Sprint("DRAIN_PERIOD=", period.Milliseconds()))
	var crowds []*crowd
	for _, transport := range transportSettings {
		c := g.crowd(t, transport, "member.mjs", fmt.Sprint(each), "home")
		c.joined(each)
		crowds = append(crowds, c)
	}
	ready, health := g.prober(t), g.prober(t)
	if status := ready.status(t, "/ready"); status != http.StatusOK {
		t.Fatalf("/ready before the signal: %d, want 200", status)
	}
	health.status(t, "/health")
	g.Signal(syscall.SIGTERM)
	ready.awaitUnready(t)
	if status := health.status(t, "/health"); status != http.StatusServiceUnavailable {
		t.Errorf("/health while draining: %d, want 503", status)
	}

	for i, c := range crowds {
		for _, s := range c.want("disconnect", each) {
			wantReturn(t, transportSettings[i], s)
		}
	}
	if code := g.Wait(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	g.wantDrained(t, period)
}

var stoppedAfter = regexp.MustCompile(`"msg":"stopped","afterMs":(\d+)`)

// wantDrained checks that disconnecting all clients took at least half of the period:
// the last one is disconnected at its end. A test of loop with a fake clock covers how
// the clients are spread over the period.
func (g *gateway) wantDrained(t *testing.T, period time.Duration) {
	t.Helper()
	found := stoppedAfter.FindStringSubmatch(g.Out.String())
	if found == nil {
		t.Fatalf("the log has no line with the time the gateway took to stop:\n%s", g.Out)
	}
	if ms, _ := strconv.ParseInt(found[1], 10, 64); ms < period.Milliseconds()/2 {
		t.Errorf("all clients were disconnected within %d ms, want at least half of %v", ms, period)
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	g := start(t, "DRAIN_PERIOD=600000", "SHUTDOWN_TIMEOUT=900000")
	for i := range 10 {
		g.dial(t, fmt.Sprint("user-", i), false)
	}
	ready := g.prober(t)
	g.Signal(syscall.SIGTERM)
	ready.awaitUnready(t)
	g.Signal(syscall.SIGTERM)
	g.Wait() // fails if it takes longer than the default SHUTDOWN_TIMEOUT
}

func TestInterruptExitsCleanly(t *testing.T) {
	t.Parallel()
	g := start(t)
	g.dial(t, "ann", false)
	g.dial(t, "ben", true)
	g.Signal(syscall.SIGINT)
	if code := g.Wait(); code != 0 {
		t.Errorf("exit code %d after SIGINT, want 0", code)
	}
}
