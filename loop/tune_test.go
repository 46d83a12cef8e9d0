package loop

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/rooms"
)

func TestTunedLimitsApplyToNewConnections(t *testing.T) {
	t.Parallel()
	c, _ := testConfigs()
	s := newServer(t, func(c *Config) { c.MaxPerAddress = 5 })
	first := dialFrom(t, s, "127.0.0.1")
	if status := first.upgrade(); status != 101 {
		t.Fatalf("a handshake before Tune: status %d, want 101", status)
	}
	c.Hub, c.MaxPerAddress, c.Handshakes = s.config.Hub, 1, rooms.Rate{PerSecond: 1, Burst: 1}
	if err := s.Tune(c); err != nil {
		t.Fatal(err)
	}
	second := dialFrom(t, s, "127.0.0.1")
	if status := second.receive().status; status != 503 {
		t.Errorf("a second connection of the same address: status %d, want 503", status)
	}
	if status := dialFrom(t, s, "127.0.0.2").upgrade(); status != 101 {
		t.Errorf("another address: status %d, want 101", status)
	}
	if status := dialFrom(t, s, "127.0.0.3").upgrade(); status != 503 {
		t.Errorf("the second handshake in a second: status %d, want 503", status)
	}
	first.conn.Close() // connections counted before Tune are still counted down
}

func TestInvalidTuningChangesNothing(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	before := s.live()
	for want, change := range map[string]func(*Config){
		"MaxPending":     func(c *Config) { c.MaxPending = 0 },
		"burst":          func(c *Config) { c.Bytes = rooms.Rate{PerSecond: 1, Burst: 1} },
		"from the start": func(c *Config) { c.MaxPerAddress = 1 },
	} {
		c := *before
		change(&c)
		if err := s.Tune(c); err == nil || !strings.Contains(err.Error(), want) || s.live() != before {
			t.Errorf("Tune with a wrong %s: %v, want an error and no change", want, err)
		}
	}
}

// Another process begins to listen after the check whether the port is free.
// Run must return ErrPortTaken.
func TestPortTakenDuringTheStart(t *testing.T) {
	t.Parallel()
	const python = "/usr/bin/python3"
	testkit.NeedProgram(t, python)
	other := exec.Command(python, "-c", `import socket, sys
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
s.bind(("127.0.0.1", 0))
s.listen()
print(s.getsockname()[1], flush=True)
sys.stdin.read()`)
	stdin, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { stdin.Close(); _ = other.Wait() }()
	var port int
	if _, err := fmt.Fscan(stdout, &port); err != nil {
		t.Fatal(err)
	}
	c, r := testConfigs()
	r.Shards = c.Loops
	if c.Hub, err = rooms.New(r); err != nil {
		t.Fatal(err)
	}
	c.Address = fmt.Sprint("127.0.0.1:", port)
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(); err != ErrPortTaken {
		t.Errorf("got %v, want ErrPortTaken", err)
	}
}
