package loop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"
	"github.com/panjf2000/gnet/v2/pkg/logging"
	"golang.org/x/sys/unix"

	"github.com/hometrip/gateway/loop/limits"
	"github.com/hometrip/gateway/rooms"
)

// A Server is a gnet engine and its workers, one for each event loop. Its
// exported methods are safe for concurrent use; gnet's callbacks run on the
// event loops, except OnBoot and OnTick.
type Server struct {
	gnet.BuiltinEventEngine

	config  Config                 // as passed to New
	tuned   atomic.Pointer[Config] // with what Tune has changed
	admin   *admin
	guard   *limits.Guard
	workers []*worker
	port    int
	listen  string          // the address passed to gnet
	ctx     context.Context // ends with the engine

	engine  gnet.Engine
	ready   chan struct{} // closed when every loop is up
	ended   chan struct{} // closed when Run returns
	waiting atomic.Int32  // connections of the loops' own that are not registered yet

	mu sync.Mutex // guards loop in each worker

	conns     atomic.Int64 // open TCP connections
	moving    atomic.Int64 // connections between two loops
	draining  atomic.Bool
	succeeded atomic.Bool // draining, and another process listens on the port
	stopping  atomic.Bool
	tight     atomic.Bool // memory is short: no new sessions
	answers   atomic.Pointer[answers]
	notices   notices
	bootErr   atomic.Pointer[error]

	redirectTo atomic.Pointer[func(fd int)] // gets accepted connections; nil: they are served here
	early      early                        // connections accepted before Begin, of a successor
	turn       atomic.Int64                 // the loop for the next connection, see Fresh
	held       listenerGroup                // as HoldPort found it; owned by who hands over
}

// New returns a server that does not listen yet; see Run.
func New(c Config) (*Server, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	host, port, err := resolvePort(c.Address)
	if err != nil {
		return nil, err
	}
	c.Address = net.JoinHostPort(host, strconv.Itoa(port))
	s := &Server{config: c, port: port, listen: listenAddress(host, port), admin: newAdmin(c.Handler, c.Log), guard: limits.New(c.TrustedProxies, c.ProxyProtocol, c.limits()), ready: make(chan struct{}), ended: make(chan struct{})}
	s.tuned.Store(&s.config)
	s.waiting.Store(int32(2 * c.Loops)) // an eventfd and a ticker each
	for i := range c.Loops {
		s.workers = append(s.workers, newWorker(s, i))
	}
	if c.Successor {
		s.keepEarly()
	}
	return s, nil
}

// resolvePort splits an address and replaces port 0 by a free one: the loops
// each open a listener, and all must be on the same port.
func resolvePort(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("listen address %q: %w", address, err)
	}
	if port, err = strconv.Atoi(text); err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("listen address %q: port must be 0 to 65535", address)
	}
	if port > 0 {
		return host, port, nil
	}
	l, err := net.Listen("tcp", listenAddress(host, 0))
	if err != nil {
		return "", 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return host, l.Addr().(*net.TCPAddr).Port, nil
}

// live returns the configuration in effect.
func (s *Server) live() *Config { return s.tuned.Load() }

// debug reports whether each session is logged.
func (s *Server) debug() bool { return s.config.Log.Enabled(context.Background(), slog.LevelDebug) }

// Tune changes the fields that may change while clients are served: Origins,
// Authorised, DrainPeriod, MaxPending, MaxConnections, MaxPerAddress,
// Handshakes, HandshakesPerAddress, Bytes and MaxHeld. Other fields of c are
// ignored. If it returns an error, nothing has changed.
func (s *Server) Tune(c Config) error {
	next := s.config
	next.Origins, next.Authorised, next.DrainPeriod = c.Origins, c.Authorised, c.DrainPeriod
	next.MaxPending, next.MaxConnections, next.MaxHeld, next.Bytes = c.MaxPending, c.MaxConnections, c.MaxHeld, c.Bytes
	next.MaxPerAddress, next.Handshakes, next.HandshakesPerAddress = c.MaxPerAddress, c.Handshakes, c.HandshakesPerAddress
	if err := next.check(); err != nil {
		return err
	}
	if (c.MaxPerAddress == 0) != (s.config.MaxPerAddress == 0) {
		return errors.New("loop: connections of an address are counted from the start or not at all")
	}
	s.tuned.Store(&next)
	s.guard.SetLimits(next.limits())
	return nil
}

// Addr is the address the server listens on, host:port.
func (s *Server) Addr() string { return s.config.Address }

// Ready is closed once every event loop is up.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Draining reports whether Drain has been called.
func (s *Server) Draining() bool { return s.draining.Load() }

// closed reports whether new sessions are refused because the node drains. If a
// successor listens, connections that were accepted here are still served;
// their next connection goes to the successor.
func (s *Server) closed() bool { return s.draining.Load() && !s.succeeded.Load() }

// ErrEngine is returned by Run when the engine ended without Stop.
var ErrEngine = errors.New("loop: the event engine stopped by itself")

// ErrPortTaken is returned by Run when another process began to listen on the
// port at the same time.
var ErrPortTaken = errors.New("loop: another process has just begun to listen on this port, and SHARE_PORT is not set")

// Run listens and serves until Stop. Any other end of the engine is an error:
// the process serves nobody then and should be restarted.
func (s *Server) Run() error {
	defer close(s.ended)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s.ctx = ctx
	err := gnet.Run(s, "tcp://"+s.listen,
		gnet.WithNumEventLoop(s.config.Loops),
		// One listener for each loop: with a single accepting loop, running out
		// of descriptors ends the engine before OnOpen can refuse.
		gnet.WithReusePort(true),
		gnet.WithReuseAddr(true),
		gnet.WithReadBufferCap(readBuffer),
		gnet.WithTicker(true),
		gnet.WithLogger(&gnetLogger{s.config.Log}),
		gnet.WithLogLevel(logging.WarnLevel),
	)
	if failed := s.bootErr.Load(); failed != nil {
		return *failed
	}
	if err == nil && !s.stopping.Load() {
		err = ErrEngine
	}
	if err != nil {
		return fmt.Errorf("serve on %s: %w", s.config.Address, err)
	}
	return nil
}

// Stop ends the engine and every connection that is still open, and waits until
// Run is about to return, or ctx is over. It must not be called before Ready.
func (s *Server) Stop(ctx context.Context) error {
	s.stopping.Store(true)
	for _, fd := range s.early.take() {
		unix.Close(fd)
	}
	// The engine's own Stop looks only every 500 ms whether it has ended. With a
	// context that is over it gives the order and does not wait.
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.engine.Stop(over); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	select {
	case <-s.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Tight sets whether memory is short. While it is, new sessions get 503.
func (s *Server) Tight(tight bool) { s.tight.Store(tight) }

// sessions returns the number of open Engine.IO sessions.
func (s *Server) sessions() (n int64) {
	for _, w := range s.workers {
		n += w.stats.Sessions.Load()
	}
	return n
}

// Stats returns the sum of the loops' counters.
func (s *Server) Stats() Totals {
	t := Totals{Closed: make(map[rooms.Reason]int64)}
	for _, w := range s.workers {
		t.add(&w.stats)
	}
	return t
}

// TurnAge returns how long ago the loop that lags most took its last turn, or
// was to wake up for it. A healthy loop takes one at least every tickerInterval,
// or sleeps.
func (s *Server) TurnAge(now time.Time) time.Duration {
	var oldest time.Duration
	for _, w := range s.workers {
		oldest = max(oldest, rooms.Monotonic(now)-time.Duration(w.lastTurn.Load()))
	}
	return oldest
}

// OnBoot is called before anything is accepted.
func (s *Server) OnBoot(e gnet.Engine) gnet.Action {
	s.engine = e
	return gnet.None
}

// OnTick runs once, in a goroutine of its own: it is the first callback after
// the loops were started.
func (s *Server) OnTick() (time.Duration, gnet.Action) {
	group, err := findListenerGroup(s.port)
	if err == nil && !s.config.Successor {
		group.chooseFromAll()
		if group.others > 0 && !s.config.SharePort {
			s.bootErr.Store(&ErrPortTaken)
			return math.MaxInt64, gnet.Shutdown
		}
	}
	if err := s.boot(); err != nil {
		s.bootErr.Store(&err)
		return math.MaxInt64, gnet.Shutdown
	}
	s.prepare()
	go s.keepPrepared()
	go s.sweep()
	return math.MaxInt64, gnet.None
}

// boot registers two connections with every loop: an eventfd, to continue
// unfinished work, and its ticker. gnet does not list its loops, but it deals
// registered connections out in turn, so this is also how each loop is found.
func (s *Server) boot() error {
	for range s.workers {
		if err := s.enroll(newWakeup()); err != nil {
			return err
		}
	}
	for range s.workers {
		if err := s.enroll(newTicker()); err != nil {
			return err
		}
	}
	return nil
}

// enroll registers a connection of a loop's own with gnet, if it could be
// created.
func (s *Server) enroll(own any, conn net.Conn, err error) error {
	if err == nil {
		_, err = s.engine.Register(gnet.NewContext(gnet.NewNetConnContext(s.ctx, conn), own))
	}
	if err != nil {
		return fmt.Errorf("an event loop's own connections: %w", err)
	}
	return nil
}

// started is called on a loop when one of its own two connections is open.
func (s *Server) started() {
	if s.waiting.Add(-1) == 0 {
		close(s.ready)
	}
}

// sweep calls the guard's sweep regularly, until the engine ends.
func (s *Server) sweep() {
	for every := time.NewTicker(limits.SweepInterval); ; {
		select {
		case now := <-every.C:
			s.guard.Sweep(now)
		case <-s.ctx.Done():
			every.Stop()
			return
		}
	}
}

// worker returns the worker of a loop. A loop that is seen for the first time,
// by its eventfd or by an early client, gets the next free worker.
func (s *Server) worker(loop gnet.EventLoop) *worker {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.workers {
		if w.loop == nil {
			w.loop = loop
			w.shard.Attach(w.postTurn)
		}
		if w.loop == loop {
			return w
		}
	}
	panic("loop: more event loops than workers")
}

// loopOf returns the loop of a worker, nil as long as it has none.
func (s *Server) loopOf(w *worker) gnet.EventLoop {
	s.mu.Lock()
	defer s.mu.Unlock()
	return w.loop
}

// OnOpen is called when a connection was accepted or registered: a client's,
// one of a loop's own, or one that was moved.
func (s *Server) OnOpen(c gnet.Conn) (out []byte, action gnet.Action) {
	w := s.worker(c.EventLoop())
	w.enter()
	defer w.settleHTTP() // for the request of one that has moved
	defer w.recoverTraffic(c, &action)
	switch m := c.Context().(type) {
	case *wakeup:
		m.w, w.wakeup = w, m
		s.started()
		return nil, gnet.None
	case *ticker:
		m.w, w.ticker = w, m
		s.started()
		return nil, gnet.None
	case *moved:
		s.open(c, w, m.from).arrive(m)
		return nil, gnet.None
	case *arrival:
		return nil, m.open(s, c, w, time.Now())
	}
	if next := s.redirectTo.Load(); next != nil {
		s.forward(*next, c)
		c.SetContext(nil)
		return nil, gnet.Close
	}
	from := s.guard.CallerOf(c.RemoteAddr())
	switch {
	case s.conns.Load() >= int64(s.live().MaxConnections):
		w.stats.RefusedFull.Add(1)
	case !s.guard.Reserve(from.Place, false):
		w.stats.RefusedAddress.Add(1)
	default:
		w.stats.Accepted.Add(1)
		s.open(c, w, from)
		w.acceptMore()
		return nil, gnet.None
	}
	w.forgetInput(c)
	return refusal, gnet.Close
}

// forgetInput discards what the client of a refused connection has sent:
// closing with unread input resets the connection, and the refusal would be
// lost.
func (w *worker) forgetInput(c gnet.Conn) {
	_, _ = unix.Read(c.Fd(), w.scratch[:]) // does not block; there may be nothing
}

func (s *Server) open(c gnet.Conn, w *worker, from limits.Caller) *httpConn {
	s.conns.Add(1)
	w.stats.Connections.Add(1)
	return newHTTPConn(w, c, from, time.Now())
}

// refusal is the answer to a connection over the limit.
var refusal = []byte("HTTP/1.1 " + strconv.Itoa(http.StatusServiceUnavailable) +
	" Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

// OnTraffic is called when bytes have arrived.
func (s *Server) OnTraffic(c gnet.Conn) (action gnet.Action) {
	switch conn := c.Context().(type) {
	case *wsConn:
		w := conn.worker()
		w.enter()
		defer w.settle()
		defer w.recoverTraffic(c, &action)
		return conn.traffic(time.Now())
	case *httpConn:
		conn.w.enter()
		defer conn.w.settleHTTP()
		defer conn.w.recoverTraffic(c, &action)
		return conn.traffic(time.Now())
	case *wakeup:
		return conn.traffic(c)
	case *ticker:
		return conn.traffic(c)
	}
	return gnet.Close
}

// OnClose is called once for each connection, whoever closed it. It may be
// called while one of our own calls to gnet is on the stack.
func (s *Server) OnClose(c gnet.Conn, err error) gnet.Action {
	reason := rooms.ReasonTransportClosed
	if err != nil && !errors.Is(err, io.EOF) {
		reason = rooms.ReasonTransportError
	}
	switch conn := c.Context().(type) {
	case *wsConn:
		s.gone(conn.worker(), func() { conn.closed(reason, time.Now()) })
	case *httpConn:
		s.gone(conn.w, func() { conn.closed(time.Now()) })
	case *wakeup:
		conn.close()
	case *ticker:
		conn.close()
	}
	return gnet.None
}

func (s *Server) gone(w *worker, closed func()) {
	s.conns.Add(-1)
	w.stats.Connections.Add(-1)
	w.enter()
	defer w.settle()
	defer w.recoverPanic("close")
	closed()
}
