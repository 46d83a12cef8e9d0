package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/gatewaytest"
)

// A systemd stands in for the service manager: what the gateway tells it.
type systemd struct {
	conn *net.UnixConn
	path string
}

func newSystemd(t *testing.T) *systemd {
	t.Helper()
	dir, err := os.MkdirTemp("", "gateway-notify-") // a test's own may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &systemd{conn, path}
}

// next returns what the gateway says next.
func (s *systemd) next(t *testing.T) string {
	t.Helper()
	s.conn.SetReadDeadline(time.Now().Add(gatewaytest.Patience))
	buf := make([]byte, 1024)
	n, err := s.conn.Read(buf)
	if err != nil {
		t.Fatalf("waiting for word to systemd: %v", err)
	}
	return string(buf[:n])
}

// await waits for a word, past signs of life.
func (s *systemd) await(t *testing.T, word string) {
	t.Helper()
	for {
		switch got := s.next(t); got {
		case word:
			return
		case "WATCHDOG=1":
		default:
			t.Fatalf("systemd is told %q, want %s", got, word)
		}
	}
}

func TestSystemdIsTold(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it tells nobody")
	s := newSystemd(t)
	g := start(t, "NOTIFY_SOCKET="+s.path, "WATCHDOG_USEC=400000")
	if got := s.next(t); got != "READY=1" {
		t.Fatalf("first word %q, want READY=1", got)
	}
	for range 3 {
		if got := s.next(t); got != "WATCHDOG=1" {
			t.Errorf("told %q, want WATCHDOG=1", got)
		}
	}
	g.dial(t, "ann", false)
	g.Signal(syscall.SIGTERM)
	s.await(t, "STOPPING=1")
	if code := g.Wait(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if out := g.Out.String(); strings.Contains(out, "systemd could not be notified") {
		t.Error(out)
	}
}
