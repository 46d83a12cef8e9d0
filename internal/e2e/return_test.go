package e2e

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/hometrip/gateway/internal/gatewaytest"
)

// pythonMembers runs py/member.py. kind is "threads" or "asyncio".
func (g *gateway) pythonMembers(t *testing.T, transport, kind string, count int) *crowd {
	t.Helper()
	needPython(t)
	cmd := exec.Command(debianPython, "member.py", kind, strconv.Itoa(count), "home-"+kind+"-"+transport)
	cmd.Dir = absolute(t, "py")
	cmd.Env = append(os.Environ(), "GATEWAY_URL="+g.URL, "TRANSPORT="+transport,
		"PYTHONDONTWRITEBYTECODE=1", "TOKEN="+gatewaytest.Token(t, "py-"+kind))
	return g.watch(t, cmd)
}

// javaClient reads a WebSocket as socket.io-client-java with okhttp does. It reads
// until a close frame, does not answer that, and reads nothing more: lost is closed
// then. If the connection ends before a close frame, the client notices at once: ended
// is closed then.
type javaClient struct{ ended, lost chan struct{} }

func (r *raw) javaClient() *javaClient {
	client := &javaClient{make(chan struct{}), make(chan struct{})}
	r.conn.SetReadDeadline(time.Time{})
	go func() {
		for {
			switch op, _, err := r.next(); {
			case err != nil:
				close(client.ended)
				return
			case op == ws.OpClose:
				close(client.lost)
				return
			}
		}
	}()
	return client
}

// The gateway drains while another process starts on its port. All clients must be
// back before their ping timeout, 85 s: those that only notice the end of the
// connection, and those that take a close packet as final. The Python clients emit all
// the time, so that some requests cross the end of their session.
func TestEveryClientReturnsAfterADrain(t *testing.T) {
	t.Parallel()
	const each, period = 6, time.Second
	g := start(t, "CORS_ORIGIN=*", "EVENT_LOOPS=2", "DRAIN_PERIOD="+strconv.FormatInt(period.Milliseconds(), 10))
	crowds := map[string]*crowd{}
	for _, transport := range transportSettings {
		crowds["JavaScript/"+transport] = g.crowd(t, transport, "member.mjs", strconv.Itoa(each), "home")
		for _, kind := range []string{"threads", "asyncio"} {
			crowds["Python, "+kind+"/"+transport] = g.pythonMembers(t, transport, kind, each)
		}
	}
	for _, c := range crowds {
		c.joined(each)
	}
	client := g.connected(t, "java").javaClient()
	next := &gateway{Gateway: g.Successor(), t: t}
	next.Launch()
	from := time.Now()
	g.Signal(syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	for name, c := range crowds {
		gone, back := 0, 0
		var last time.Time
		for back < each && ctx.Err() == nil {
			select {
			case s := <-c.steps:
				switch s.Step {
				case "disconnect":
					gone++
				case "joined":
					back++
					last = time.UnixMilli(s.At)
				case "connect":
				default:
					t.Fatalf("%s: unexpected step %+v", name, s)
				}
			case <-ctx.Done():
			}
		}
		t.Logf("%s: %d disconnected, %d back, the last %v after the signal", name, gone, back, last.Sub(from).Round(time.Millisecond))
		// A client may come back on a kept connection to the old process, and is then
		// disconnected once more.
		if gone < each || back < each {
			t.Errorf("%s: %d were disconnected and %d came back, want at least %d", name, gone, back, each)
		}
	}
	select {
	case <-client.ended:
	case <-client.lost:
		t.Error("the Java client got a close frame, want the end of the connection: it would wait for its ping timeout")
	case <-time.After(patience):
		t.Error("the connection of the Java client has not ended")
	}
	if code := g.Wait(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// A burst with more packets than python-engineio accepts in one polling response
// reaches the client completely.
func TestPythonGetsABurstByPolling(t *testing.T) {
	t.Parallel()
	g := start(t, "CORS_ORIGIN=*")
	const burst = 150
	for _, kind := range []string{"threads", "asyncio"} {
		needPython(t)
		cmd := exec.Command(debianPython, "burst.py", kind, strconv.Itoa(burst))
		cmd.Dir = absolute(t, "py")
		cmd.Env = append(os.Environ(), "GATEWAY_URL="+g.URL, "PYTHONDONTWRITEBYTECODE=1", "TOKEN="+gatewaytest.Token(t, "burst-"+kind))
		cmd.Stderr = g.Out
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ready := make([]byte, len("ready\n"))
		if _, err := io.ReadFull(out, ready); err != nil {
			t.Fatalf("%s: the client did not connect: %v", kind, err)
		}
		publish := post("/events/notification.created", `{"userId":"burst-`+kind+`","notificationId":"1"}`, "Authorization: Bearer "+gatewaytest.PublishToken)
		r := g.raw(t)
		r.send(strings.Repeat(publish, burst))
		for range burst {
			r.wantStatus(http.StatusAccepted)
		}
		rest, _ := io.ReadAll(out)
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v %s", kind, err, rest)
		}
	}
}
