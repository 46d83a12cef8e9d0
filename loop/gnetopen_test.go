package loop

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hometrip/gateway/internal/testkit"
)

// register calls unexported functions of gnet, and the linker does not check their parameters. When the version
// of gnet changes, newStreamConn, SetContext and register0 must be compared with gnetopen.go, and then this test
// must be changed.
func TestGnetVersionMatchesTheLinkedFunctions(t *testing.T) {
	const version = "github.com/panjf2000/gnet/v2 v2.10.0"
	mod, err := os.ReadFile("../go.mod")
	if err != nil || !strings.Contains(string(mod), version) {
		t.Errorf("go.mod does not require %q (%v): see gnetopen.go", version, err)
	}
}

// listenerOf must find the listener of each loop in gnet's structs.
func TestListenerOfEachLoopIsFound(t *testing.T) {
	s := newServer(t, nil)
	seen := make(map[int]bool)
	s.onAll(func(w *worker, _ time.Time) {
		fd := listenerOf(w.loop)
		listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		addr, _ := unix.Getsockname(fd)
		if err != nil || listening != 1 || portOf(addr) != s.port || seen[fd] {
			t.Errorf("loop %d: descriptor %d, listening %d (%v), address %v, known %t", w.index, fd, listening, err, addr, seen[fd])
		}
		seen[fd] = true
	})
}

// Clients connect while the only loop is busy. A turn must accept as many as a batch has, and the rest in later turns.
func TestBurstOfConnectionsIsAcceptedInBatches(t *testing.T) {
	const clients = acceptBatch + 8
	s := newServer(t, func(c *Config) { c.Loops = 1 })
	var dialled []net.Conn
	s.on(0, func(w *worker, _ time.Time) {
		for range clients {
			c, err := net.Dial("tcp", s.Addr())
			if err != nil {
				t.Error(err)
				return
			}
			dialled = append(dialled, c)
		}
		w.acceptMore()
		if n := s.conns.Load(); n != acceptBatch {
			t.Errorf("%d connections accepted in one turn, want %d", n, acceptBatch)
		}
	})
	for i, c := range dialled {
		defer c.Close()
		fmt.Fprint(c, "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n\r\n")
		answer := make([]byte, 12)
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if n, err := c.Read(answer); err != nil || string(answer[:n]) != "HTTP/1.1 200" {
			t.Fatalf("client %d: %q, %v", i, answer[:n], err)
		}
	}
}

// More clients than MaxConnections connect at once. Those beyond the limit must be refused with 503 in the same turn.
func TestBurstOfConnectionsBeyondTheLimitIsRefused(t *testing.T) {
	const most, clients = 5, 12
	s := newServer(t, func(c *Config) { c.Loops, c.MaxConnections = 1, most })
	var dialled []net.Conn
	s.on(0, func(w *worker, _ time.Time) {
		for range clients {
			c, err := net.Dial("tcp", s.Addr())
			if err != nil {
				t.Error(err)
				return
			}
			dialled = append(dialled, c)
		}
		w.acceptMore()
		if n := s.conns.Load(); n != most {
			t.Errorf("%d connections accepted, want %d", n, most)
		}
	})
	for i, c := range dialled {
		defer c.Close()
		if i < most {
			continue
		}
		answer := make([]byte, 12)
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if n, err := c.Read(answer); err != nil || string(answer[:n]) != "HTTP/1.1 503" {
			t.Errorf("client %d: %q, %v; want 503", i, answer[:n], err)
		}
	}
	if got := s.Stats().RefusedFull; got != clients-most {
		t.Errorf("%d counted as refused, want %d", got, clients-most)
	}
}

// An accepted connection must have the client's address in the same form as with gnet's own accept.
func TestAcceptedConnectionHasTheAddressOfItsClient(t *testing.T) {
	for _, c := range []struct{ listen, dial string }{
		{"127.0.0.1:0", "127.0.0.1"},
		{"[::1]:0", "::1"},
		{"[::]:0", "127.0.0.1"}, // mapped into IPv6
	} {
		l, err := net.Listen("tcp", c.listen)
		if err != nil {
			t.Logf("%s: %v", c.listen, err) // a machine without IPv6
			continue
		}
		defer l.Close()
		client, err := net.Dial("tcp", net.JoinHostPort(c.dial, fmt.Sprint(l.Addr().(*net.TCPAddr).Port)))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		raw, err := l.(*net.TCPListener).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		_ = raw.Control(func(listener uintptr) {
			b := backlog{fd: int(listener)}
			var fd int
			var peer *net.TCPAddr
			testkit.Await(t, "the connection", func() bool { fd, peer = b.accept(); return peer != nil })
			defer unix.Close(fd)
			if peer.String() != client.LocalAddr().String() {
				t.Errorf("%s: address %v, want %v", c.listen, peer, client.LocalAddr())
			}
			if _, none := b.accept(); none != nil {
				t.Errorf("%s: a second connection, of %v, was accepted, want none", c.listen, none)
			}
		})
	}
}
