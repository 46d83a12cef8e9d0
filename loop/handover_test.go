package loop

import (
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hometrip/gateway/internal/testkit"
)

// predecessor listens on a port, and sets a filter by which the kernel gives
// all connections to one listener, like an earlier process with fewer loops.
func predecessor(t *testing.T, number int) *net.TCPListener {
	t.Helper()
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		_ = c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
		return err
	}}
	config.SetMultipathTCP(false) // multipath TCP has no filters
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := (&listenerGroup{mine: []int{int(file.Fd())}}).chooseFrom(number, 1); err != nil {
		t.Fatal(err)
	}
	return l.(*net.TCPListener)
}

// A server shares a port with a predecessor whose filter gives all connections
// to one listener. When the predecessor has closed, all loops must get
// connections.
func TestKernelDistributesConnectionsOverAllLoops(t *testing.T) {
	t.Parallel()
	p := predecessor(t, 1)
	s := newServer(t, func(c *Config) { c.Address, c.Loops, c.SharePort = p.Addr().String(), 2, true })
	p.Close()
	for range 40 { // they are all on one loop with a probability of 1 in 2^39
		dial(t, s).do("GET", "/nothing", "")
	}
	for i, w := range s.workers {
		if w.stats.Accepted.Load() == 0 {
			t.Errorf("loop %d has accepted none of 40 connections", i)
		}
	}
}

// Connections of sessions must stay open during a drain: a poll on a new
// connection would reach the next process, which does not know the session.
func TestDrainKeepsConnectionsOfSessionsOpen(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.DrainPeriod = time.Hour })
	var polls []*pollSession
	for range 20 { // so many that most are not drained soon
		polls = append(polls, connectPolling(t, s, "ann"))
	}
	ctx, cancel := cancelableContext(t)
	drained := make(chan struct{})
	go func() { defer close(drained); _ = s.Drain(ctx) }()
	testkit.Await(t, "the drain to begin", s.Draining)
	kept := 0
	for _, p := range polls {
		p.post.send(requestText("POST", p.target(), `42["nothing"]`))
		// An error is the end of the connection: this session has been drained.
		if r, err := p.post.tryReceive("POST"); err == nil && r.status == 200 && !r.close {
			kept++
		}
	}
	if kept < len(polls)/2 {
		t.Errorf("the connections of %d of %d POSTs stayed open, want half at least", kept, len(polls))
	}
	cancel()
	<-drained
}

// A server that takes over from another process accepts connections before it
// serves them. A client must get no answer before Begin.
func TestSuccessorServesNoConnectionBeforeBegin(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.Successor = true })
	c := dial(t, s)
	c.send(requestText("GET", enginePoll, ""))
	testkit.Await(t, "the connection to be accepted", func() bool {
		s.early.mu.Lock()
		defer s.early.mu.Unlock()
		return len(s.early.fds) == 1
	})
	if n := s.Stats().Accepted; n != 0 {
		t.Errorf("%d connections are served before Begin, want none", n)
	}
	s.Begin()
	parseOpen(t, c.receive().body)
	dial(t, s).do("GET", "/nothing", "")
	if n := s.Stats().Accepted; n != 2 {
		t.Errorf("%d connections are served after Begin, want 2", n)
	}
}
