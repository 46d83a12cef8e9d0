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

// A heartbeat that ends within the patience of a test and does not fail on a
// busy machine.
var quickHeartbeat = []string{"PING_INTERVAL=200", "PING_TIMEOUT=5000"}

func TestHeartbeatKeepsClients(t *testing.T) {
	t.Parallel()
	clients(t, start(t, quickHeartbeat...), "heartbeat.mjs")
}

// A client whose process freezes or dies is gone for the others, too.
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
						t.Errorf("user_left %+v", left)
					}
					delete(ids, left.SocketID)
				}
				ann.do("typing", room)
			})
		}
	}
}

// Clients come back by themselves when the gateway does.
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

// wantReturn looks at why a client was sent away: for these reasons
// socket.io-client connects anew by itself. A client that polls on a new
// connection each time may find the door closed before it is told.
func wantReturn(t *testing.T, transport string, s step) {
	t.Helper()
	if s.Reason == "transport close" || transport == "polling" && s.Reason == "transport error" {
		return
	}
	t.Errorf("%s client %d: disconnect reason %q, want transport close", transport, s.Member, s.Reason)
}

// A prober has keep-alive connections, as a load balancer does. A gateway that
// drains accepts no new ones and may close each of these with its answer.
type prober struct{ conns []net.Conn }

// prober opens the connections, and has one request answered on each: the
// kernel resets a connection that the gateway has not accepted when it begins
// to drain.

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

// ask sends a request and returns the status of its answer.
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

// status asks for a path and returns the status.
func (p *prober) status(t *testing.T, path string) int {
	t.Helper()
	for ; len(p.conns) > 0; p.conns = p.conns[1:] {
		if status, err := ask(p.conns[0], path); err == nil {
			return status
		}
	}
	t.Fatalf("%s: no connection is left", path)
	return 0
}

// awaitUnready waits until /ready says 503.
func (p *prober) awaitUnready(t *testing.T) {
	t.Helper()
	gatewaytest.Await(t, "/ready to say 503", func() bool { return p.status(t, "/ready") == http.StatusServiceUnavailable })
}

// On SIGTERM the gateway says that it is not ready, sends its clients away one
// after the other in a way that makes them come back, and ends well.
func TestGracefulShutdown(t *testing.T) {
	t.Parallel()
	const (
		each   = 10 // clients of every transport
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
		t.Fatalf("/ready before the signal: %d", status)
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

// wantDrained wants a gateway that has ended to have taken the whole period for
// its clients: the last is sent away at its end. That they are spread over it is
// tested in loop, with a clock of the test's own.
func (g *gateway) wantDrained(t *testing.T, period time.Duration) {
	t.Helper()
	found := stoppedAfter.FindStringSubmatch(g.Out.String())
	if found == nil {
		t.Fatalf("the gateway does not say after what time it stopped:\n%s", g.Out)
	}
	if ms, _ := strconv.ParseInt(found[1], 10, 64); ms < period.Milliseconds()/2 {
		t.Errorf("all clients were sent away within %d ms, want %v", ms, period)
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
	g.Wait() // which fails when it takes SHUTDOWN_TIMEOUT's default
}

func TestInterruptEndsWell(t *testing.T) {
	t.Parallel()
	g := start(t)
	g.dial(t, "ann", false)
	g.dial(t, "ben", true)
	g.Signal(syscall.SIGINT)
	if code := g.Wait(); code != 0 {
		t.Errorf("exit code %d after SIGINT, want 0", code)
	}
}
