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

// systemd stands in for the service manager: it receives the notifications of the
// gateway. It reads all the time, because the kernel queues about ten datagrams, and a
// full queue would block the gateway's start.
type systemd struct {
	path  string
	words chan string // notifications; closed when the test has ended
}

// notificationCapacity is the capacity for notifications that a test does not read, mostly
// watchdog messages.
const notificationCapacity = 100_000

func newSystemd(t *testing.T) *systemd {
	t.Helper()
	dir, err := os.MkdirTemp("", "gateway-notify-") // the path of t.TempDir may be too long for a socket
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
	s := &systemd{path, make(chan string, notificationCapacity)}
	go s.listen(conn)
	return s
}

func (s *systemd) listen(conn *net.UnixConn) {
	defer close(s.words)
	buf := make([]byte, 1024)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		s.words <- string(buf[:n])
	}
}

// next returns the next notification.
func (s *systemd) next(t *testing.T) string {
	t.Helper()
	select {
	case word, open := <-s.words:
		if !open {
			t.Fatal("the notification socket is closed")
		}
		return word
	case <-time.After(gatewaytest.Patience):
		t.Fatal("no notification arrived")
		return ""
	}
}

// await waits for a notification and skips watchdog messages.
func (s *systemd) await(t *testing.T, word string) {
	t.Helper()
	for {
		switch got := s.next(t); got {
		case word:
			return
		case "WATCHDOG=1":
		default:
			t.Fatalf("systemd got %q, want %s", got, word)
		}
	}
}

func TestSystemdNotifications(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it tells nobody")
	s := newSystemd(t)
	g := start(t, "NOTIFY_SOCKET="+s.path, "WATCHDOG_USEC=400000")
	if got := s.next(t); got != "READY=1" {
		t.Fatalf("first notification %q, want READY=1", got)
	}
	for range 3 {
		if got := s.next(t); got != "WATCHDOG=1" {
			t.Errorf("notification %q, want WATCHDOG=1", got)
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
