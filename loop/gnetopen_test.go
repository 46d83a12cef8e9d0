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

// register calls functions of gnet that are not exported. The linker finds them
// by name and does not see that their parameters have changed: whoever takes
// another version compares newStreamConn, SetContext and register0 with
// gnetopen.go, and then changes this test.
func TestGnetIsTheVersionWhoseFunctionsAreCalled(t *testing.T) {
	const version = "github.com/panjf2000/gnet/v2 v2.10.0"
	mod, err := os.ReadFile("../go.mod")
	if err != nil || !strings.Contains(string(mod), version) {
		t.Errorf("go.mod does not require %q (%v): see gnetopen.go", version, err)
	}
}

// TestEachLoopKnowsItsListener holds where gnet keeps it.
func TestEachLoopKnowsItsListener(t *testing.T) {
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

// TestABurstOfClientsIsAcceptedInOneTurn dials while the only loop is busy. A
// turn then accepts as many as a batch has, and the rest comes by itself.
func TestABurstOfClientsIsAcceptedInOneTurn(t *testing.T) {
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

// TestABurstIsAcceptedUpToTheLimits: what is beyond MaxConnections is refused
// in the same turn.
func TestABurstIsAcceptedUpToTheLimits(t *testing.T) {
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

// TestAnAcceptedConnectionHasTheAddressOfItsClient, as gnet's own do.
func TestAnAcceptedConnectionHasTheAddressOfItsClient(t *testing.T) {
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
				t.Errorf("%s: a connection of %v that nobody has opened", c.listen, none)
			}
		})
	}
}
