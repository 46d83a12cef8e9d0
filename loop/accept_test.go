package loop

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hometrip/gateway/internal/testkit"
)

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

// A waiter is a client whose connection is in the listener's queue.
type waiter struct {
	t testing.TB
	net.Conn
}

// dialWaiting connects clients from the only loop, so that no connection is
// accepted. When all are in the listener's queue it calls do, on that loop.
func dialWaiting(t testing.TB, s *Server, clients int, do func(*worker, []waiter)) (all []waiter) {
	t.Helper()
	s.on(0, func(w *worker, _ time.Time) {
		for range clients {
			c, err := net.Dial("tcp", s.Addr())
			if err != nil {
				t.Errorf("dial: %v", err)
				return
			}
			all = append(all, waiter{t, c})
		}
		awaitOnLoop(t, "the clients at the listener", func() bool {
			queue, err := unix.GetsockoptTCPInfo(listenerOf(w.loop), unix.IPPROTO_TCP, unix.TCP_INFO)
			return err == nil && int(queue.Unacked) >= clients
		})
		do(w, all)
	})
	t.Cleanup(func() {
		for _, c := range all {
			c.Close()
		}
	})
	return all
}

// awaitOnLoop is testkit.Await for an event loop, on which a test must not call
// Fatal.
func awaitOnLoop(t testing.TB, what string, is func() bool) {
	for until := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Errorf("waited %v for %s", patience, what)
			return
		}
	}
}

// reset closes the connection with a reset.
func (c waiter) reset() {
	_ = c.Conn.(*net.TCPConn).SetLinger(0)
	c.Close()
}

// wantServed has clients send a handshake each and checks that it is answered.
// They are the first, first+1 … client of the test.
func wantServed(t *testing.T, first int, clients []waiter) {
	t.Helper()
	for i, c := range clients {
		if got := c.ask(); got != "200" {
			t.Errorf("client %d: status %q, want 200", first+i, got)
		}
	}
}

// ask sends a handshake and returns the status of the answer, "" if the
// connection ends without one.
func (c waiter) ask() (status string) {
	fmt.Fprint(c, "GET "+enginePoll+" HTTP/1.1\r\nHost: a\r\n\r\n")
	return c.status()
}

func (c waiter) status() string {
	answer := make([]byte, len("HTTP/1.1 200"))
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(c, answer); err != nil {
		return ""
	}
	return strings.TrimPrefix(string(answer), "HTTP/1.1 ")
}

// oneLoop is a configuration with one event loop.
func oneLoop(c *Config) { c.Loops = 1 }

// More clients connect than a batch has while the only loop is busy. A turn
// must accept one batch; the rest must be accepted in later turns.
func TestBurstOfConnectionsIsAcceptedInBatches(t *testing.T) {
	s := newServer(t, oneLoop)
	all := dialWaiting(t, s, acceptBatch+8, func(w *worker, _ []waiter) {
		w.acceptMore()
		if n := s.conns.Load(); n != acceptBatch {
			t.Errorf("%d connections accepted in one turn, want %d", n, acceptBatch)
		}
	})
	wantServed(t, 0, all)
}

// More clients than MaxConnections connect at once. Those beyond the limit must
// be refused with 503 in the same turn.
func TestBurstOfConnectionsBeyondTheLimitIsRefused(t *testing.T) {
	const most, clients = 5, 12
	s := newServer(t, func(c *Config) { c.Loops, c.MaxConnections = 1, most })
	all := dialWaiting(t, s, clients, func(w *worker, _ []waiter) {
		w.acceptMore()
		if n := s.conns.Load(); n != most {
			t.Errorf("%d connections accepted, want %d", n, most)
		}
	})
	for i, c := range all[most:] {
		if got := c.status(); got != "503" {
			t.Errorf("client %d: status %q, want 503", most+i, got)
		}
	}
	if got := s.Stats().RefusedFull; got != clients-most {
		t.Errorf("%d counted as refused, want %d", got, clients-most)
	}
}

// Half of the connections are reset in the listener's queue. They must not be
// counted, and the others must be served.
func TestBurstOfConnectionsWithResets(t *testing.T) {
	const clients = acceptBatch
	s := newServer(t, func(c *Config) { c.Loops, c.MaxConnections, c.MaxPerAddress = 1, clients, clients })
	all := dialWaiting(t, s, clients, func(w *worker, all []waiter) {
		for i := 0; i < clients; i += 2 {
			all[i].reset()
		}
		w.acceptMore()
	})
	testkit.Await(t, "the other connections to be counted", func() bool { return s.conns.Load() == clients/2 })
	for i := 1; i < clients; i += 2 {
		wantServed(t, i, all[i:i+1])
	}
	all = append(all, dialWaiting(t, s, clients/2, func(*worker, []waiter) {})...)
	wantServed(t, clients, all[clients:])
}

// Accepting a connection panics. It must be closed and not be counted, and the
// loop must accept the next connections.
func TestPanicDuringAcceptEndsThatConnectionOnly(t *testing.T) {
	const clients = 3
	s := newServer(t, oneLoop)
	broken := dialWaiting(t, s, clients, func(w *worker, _ []waiter) {
		wheel := w.wheel
		w.wheel = nil // arming a timer panics
		w.acceptMore()
		w.wheel = wheel
		if n, places := s.Stats().Panics, s.conns.Load(); n < clients || places != 0 {
			t.Errorf("%d panics, want at least %d; %d connections are counted, want none", n, clients, places)
		}
	})
	for i, c := range broken {
		if got := c.status(); got != "" {
			t.Errorf("client %d: status %q, want the connection closed", i, got)
		}
	}
	all := dialWaiting(t, s, clients, func(w *worker, _ []waiter) {
		w.acceptMore()
		if n := s.conns.Load(); n != clients {
			t.Errorf("%d connections accepted in one turn after the panic, want %d", n, clients)
		}
	})
	wantServed(t, 0, all)
}

// Registering a connection of another process must not accept a batch of
// connections, because a loop registers many in one turn.
func TestRegisterAcceptsNoOtherConnections(t *testing.T) {
	s := newServer(t, oneLoop)
	all := dialWaiting(t, s, 4, func(w *worker, _ []waiter) {
		fd, peer := (&backlog{fd: listenerOf(w.loop)}).accept()
		if peer == nil || !w.register(fd, peer, nil) {
			t.Error("no connection to register")
		}
		if n := s.conns.Load(); n != 1 {
			t.Errorf("%d connections after one was registered, want 1", n)
		}
	})
	wantServed(t, 0, all)
}

// Some connections are accepted before a hand-over, and some are in the
// listener's queue during it. The next process must serve all of them.
func TestBurstOfConnectionsIsHandedOver(t *testing.T) {
	const before, during = acceptBatch, acceptBatch + 8
	from, to := newServer(t, oneLoop), newServer(t, nil)
	all := dialWaiting(t, from, before, func(w *worker, _ []waiter) { w.acceptMore() })
	f, err := from.Freeze(t.Context(), nothingElse)
	if err != nil {
		t.Fatal(err)
	}
	loops, err := described(f)
	if err != nil {
		t.Fatal(err)
	}
	for range during {
		c, err := net.Dial("tcp", from.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		all = append(all, waiter{t, c})
	}
	takeWith(t, f, loops, to, to.Fresh)
	wantServed(t, 0, all)
	if a, b := from.Stats(), to.Stats(); a.Connections != 0 || a.Accepted != before || b.Connections != before+during {
		t.Errorf("the old process has %d connections and has served %d, the new one has %d; want 0, %d and %d",
			a.Connections, a.Accepted, b.Connections, before, before+during)
	}
}

// A connection is reset before it is handed over, so it has no address, which
// the limits and the log need. It must not be served.
func TestResetConnectionIsNotTakenOver(t *testing.T) {
	s := newServer(t, oneLoop)
	dialWaiting(t, s, 1, func(w *worker, all []waiter) {
		fd, peer := (&backlog{fd: listenerOf(w.loop)}).accept()
		if peer == nil {
			t.Error("no connection to take over")
			return
		}
		all[0].reset()
		awaitOnLoop(t, "the reset", func() bool { return peerOf(fd).ask() == nil })
		s.Fresh(fd)
	})
	s.on(0, func(*worker, time.Time) {})
	if n := s.Stats().Accepted; n != 0 {
		t.Errorf("%d connections accepted, want none", n)
	}
}

// An accepted connection must have the client's address in the same form as
// with gnet's own accept.
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
