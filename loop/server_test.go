package loop

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/rooms"
)

const patience = testkit.Patience

// origin is the origin that the servers of these tests allow.
const origin = "http://localhost:3000"

// userTokens accepts a token as the id of its user; "!why" is refused.
type userTokens struct{}

func (userTokens) Authenticate(token []byte, _ rooms.Presenter, _ time.Time, done func(rooms.Identity, error)) {
	if why, bad := strings.CutPrefix(string(token), "!"); bad {
		done(rooms.Identity{}, errors.New(why))
		return
	}
	done(rooms.Identity{UserID: string(token)}, nil)
}

// testConfigs returns the configuration of most tests. It has one event in
// addition to the contract: "boom", whose handler panics.
func testConfigs() (Config, rooms.Config) {
	handlers := rooms.ClientEvents()
	handlers["boom"] = func(*rooms.Call) { panic("boom") }
	return Config{
			Address:        "127.0.0.1:0",
			Loops:          2,
			Log:            slog.New(slog.DiscardHandler),
			PingInterval:   25 * time.Second,
			PingTimeout:    20 * time.Second,
			HeadTimeout:    10 * time.Second,
			KeepAlive:      time.Minute,
			DrainPeriod:    time.Second,
			MaxHead:        8 << 10,
			MaxPayload:     1_000_000,
			MaxPending:     4 << 20,
			MaxConnections: 10_000,
			Origins:        NewOrigins(origin),
		}, rooms.Config{
			Auth:           userTokens{},
			ConnectTimeout: 45 * time.Second,
			MaxPacket:      1_000_000,
			MaxMailbox:     100_000,
			Handlers:       handlers,
		}
}

func newHub(shards int) (*rooms.Hub, error) {
	_, r := testConfigs()
	r.Shards = shards
	return rooms.New(r)
}

// newServer starts a server that stops at the end of the test.
func newServer(t testing.TB, mutate func(*Config)) *Server {
	return newServerOf(t, func(c *Config, _ *rooms.Config) {
		if mutate != nil {
			mutate(c)
		}
	})
}

// newServerOf is newServer with a changed configuration of the rooms as well.
func newServerOf(t testing.TB, mutate func(*Config, *rooms.Config)) *Server {
	t.Helper()
	c, r := testConfigs()
	mutate(&c, &r)
	r.Shards = c.Loops
	var err error
	if c.Hub, err = rooms.New(r); err != nil {
		t.Fatal(err)
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Errorf("Stop: %v", err)
		}
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	select {
	case <-s.Ready():
	case err := <-ended:
		ended <- err
		t.Fatalf("server ended: %v", err)
	case <-time.After(patience):
		t.Fatal("server is not ready")
	}
	return s
}

// on runs fn on an event loop, and waits for it.
func (s *Server) on(i int, fn func(w *worker, now time.Time)) {
	done := make(chan struct{})
	w := s.workers[i]
	w.shard.Post(func(now time.Time) {
		defer close(done)
		fn(w, now)
	})
	<-done
}

// onAll runs fn on each loop, one after the other.
func (s *Server) onAll(fn func(w *worker, now time.Time)) {
	for i := range s.workers {
		s.on(i, fn)
	}
}

// elapse advances the wheels of all loops by d. Timers that are armed
// afterwards expire that much late.
func (s *Server) elapse(d time.Duration) {
	s.onAll(func(w *worker, now time.Time) { w.wheel.Advance(now.Add(d)) })
}

// deliver delivers a packet to a room, and waits until the sessions have it.
func deliver(t testing.TB, s *Server, room string, packet string) {
	t.Helper()
	b := rooms.Broadcast{Room: room, Message: codec.NewText([]byte(packet))}
	if s.config.Hub.Deliver(b) == 0 {
		t.Fatalf("delivered %.40q to no loop", packet)
	}
	s.sync(t)
}

// sync waits until the loops have handled all earlier broadcasts.
func (s *Server) sync(t testing.TB) {
	t.Helper()
	hub := s.config.Hub
	for hub.Stats().MailboxWaiting > 0 {
		time.Sleep(time.Millisecond)
	}
	for i := range hub.Shards() { // a task runs after the messages that were taken out of the mailbox
		done := make(chan struct{})
		hub.Shard(i).Post(func(time.Time) { close(done) })
		<-done
	}
}

func TestConfigIsChecked(t *testing.T) {
	hub, err := newHub(2)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Config){
		"no hub":          func(c *Config) { c.Hub = nil },
		"no log":          func(c *Config) { c.Log = nil },
		"no loops":        func(c *Config) { c.Loops = 0 },
		"too many loops":  func(c *Config) { c.Loops = rooms.MaxShards + 1 },
		"ping interval":   func(c *Config) { c.PingInterval = 0 },
		"ping timeout":    func(c *Config) { c.PingTimeout = -1 },
		"head timeout":    func(c *Config) { c.HeadTimeout = 0 },
		"keep-alive":      func(c *Config) { c.KeepAlive = 0 },
		"head size":       func(c *Config) { c.MaxHead = 0 },
		"payload size":    func(c *Config) { c.MaxPayload = -1 },
		"pending bytes":   func(c *Config) { c.MaxPending = 0 },
		"connections":     func(c *Config) { c.MaxConnections = 0 },
		"no port":         func(c *Config) { c.Address = "localhost" },
		"port by name":    func(c *Config) { c.Address = "localhost:http" },
		"port too large":  func(c *Config) { c.Address = "localhost:65536" },
		"port negative":   func(c *Config) { c.Address = "localhost:-1" },
		"foreign address": func(c *Config) { c.Address = "192.0.2.1:0" },
	} {
		c, _ := testConfigs()
		c.Hub = hub
		if err := c.check(); err != nil {
			t.Fatalf("the valid configuration: %v", err)
		}
		spoil(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted, want an error", name)
		}
	}
}

// New must refuse a hub with fewer shards than loops: the first client of the
// last loop would be a panic.
func TestConfigNeedsAShardForEachLoop(t *testing.T) {
	hub, err := newHub(1)
	if err != nil {
		t.Fatal(err)
	}
	c, _ := testConfigs()
	c.Hub = hub
	defer func() {
		if r := recover(); r != nil {
			t.Errorf("New panicked: %v", r)
		}
	}()
	if _, err := New(c); err == nil {
		t.Error("2 loops on a hub with 1 shard were accepted")
	}
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, _ := testConfigs()
	c.Address = l.Addr().String()
	if c.Hub, err = newHub(c.Loops); err != nil {
		t.Fatal(err)
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(); err == nil || !strings.Contains(err.Error(), c.Address) {
		t.Errorf("Run on a port in use: %v, want an error that names %s", err, c.Address)
	}
}

func TestStopEndsEverything(t *testing.T) {
	c, r := testConfigs()
	r.Shards = c.Loops
	var err error
	if c.Hub, err = rooms.New(r); err != nil {
		t.Fatal(err)
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run() }()
	<-s.Ready()
	ann := connectWS(t, s, "ann")
	poll := openPolling(t, s)
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("Run returned %v", err)
	}
	if _, err := io.Copy(io.Discard, ann.in); err != nil && !isReset(err) {
		t.Errorf("the WebSocket was not closed: %v", err)
	}
	if _, err := io.Copy(io.Discard, poll.get.in); err != nil && !isReset(err) {
		t.Errorf("the polling connection was not closed: %v", err)
	}
	if conn, err := net.Dial("tcp", s.Addr()); err == nil {
		conn.Close()
		t.Error("connections are still accepted")
	}
}

func TestTurnAge(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	before := time.Now()
	testkit.Await(t, "a turn of every loop", func() bool { return s.TurnAge(before) <= 0 })
	release := make(chan struct{})
	s.workers[1].shard.Post(func(time.Time) { <-release }) // a loop that hangs
	testkit.Await(t, "the stuck loop to show", func() bool { return s.TurnAge(time.Now()) > 300*time.Millisecond })
	close(release)
	testkit.Await(t, "the loop to go on", func() bool { return s.TurnAge(time.Now()) < 300*time.Millisecond })
}
