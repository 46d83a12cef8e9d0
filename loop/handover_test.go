package loop

import (
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hometrip/gateway/internal/testkit"
)

// predecessor listens on the port of a server that is to come, and has the
// kernel choose the listener with one number only.
func predecessor(t *testing.T, number int) *net.TCPListener {
	t.Helper()
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		_ = c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
		return err
	}}
	config.SetMultipathTCP(false) // which takes no filter
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

// Without that a predecessor's filter would give all connections to one loop.
func TestNewServerHasTheKernelChooseFromAllLoops(t *testing.T) {
	t.Parallel()
	p := predecessor(t, 1)
	s := newServer(t, func(c *Config) { c.Address, c.Loops, c.SharePort = p.Addr().String(), 2, true })
	p.Close()
	for range 40 { // the odds of them all on one loop are 1 in 2^39
		dial(t, s).do("GET", "/nothing", "")
	}
	for i, w := range s.workers {
		if w.stats.Accepted.Load() == 0 {
			t.Errorf("loop %d has accepted none of 40 connections", i)
		}
	}
}

// A poll that came over a new connection would reach the successor, which does
// not know the session.
func TestDrainLeavesPollsTheirConnection(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.DrainPeriod = time.Hour })
	var polls []*pollSession
	for range 20 { // so many that one at least stays for long
		polls = append(polls, connectPolling(t, s, "ann"))
	}
	ctx, cancel := contextThatEnds(t)
	drained := make(chan struct{})
	go func() { defer close(drained); _ = s.Drain(ctx) }()
	testkit.Await(t, "the drain to begin", s.Draining)
	kept := 0
	for _, p := range polls {
		p.post.send(requestText("POST", p.target(), `42["nothing"]`))
		// The end of the connection: the drain has begun with this session.
		if r, err := p.post.tryReceive("POST"); err == nil && r.status == 200 && !r.close {
			kept++
		}
	}
	if kept < len(polls)/2 {
		t.Errorf("%d of %d POSTs were left their connection", kept, len(polls))
	}
	cancel()
	<-drained
}

// A successor serves nobody before it has what the process before had: a client
// of which it took something would lose that.
func TestASuccessorServesNobodyBeforeItBegins(t *testing.T) {
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
		t.Errorf("%d connections are served", n)
	}
	s.Begin()
	parseOpen(t, c.receive().body)
	dial(t, s).do("GET", "/nothing", "")
	if n := s.Stats().Accepted; n != 2 {
		t.Errorf("%d connections were accepted, want 2", n)
	}
}
