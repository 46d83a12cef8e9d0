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

// A systemd stands in for the service manager: what the gateway tells it. It
// reads all the time. A queue that is full, after ten words, would block a
// gateway that starts.
type systemd struct {
	path  string
	words chan string // closed when the test has ended
}

// mostWords are those that a test does not take: signs of life, for the most part.
const mostWords = 100_000

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
	s := &systemd{path, make(chan string, mostWords)}
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

// next returns what the gateway says next.
func (s *systemd) next(t *testing.T) string {
	t.Helper()
	select {
	case word, open := <-s.words:
		if !open {
			t.Fatal("nothing more is told to systemd")
		}
		return word
	case <-time.After(gatewaytest.Patience):
		t.Fatal("nothing was told to systemd")
		return ""
	}
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
