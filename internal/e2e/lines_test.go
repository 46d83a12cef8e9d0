package e2e

import (
	"bufio"
	"encoding/json"
	"os/exec"
	"slices"
	"testing"
	"time"
)

// A step is what a script of js/ tells about one of its clients.
type step struct {
	Member  int
	Step    string
	Reason  string // of a disconnect
	At      int64  // Unix ms
	Letters string // see stream.mjs
	Before  int    // how many of the letters came before the upgrade
	Event   string // see listen.mjs
	Args    string // of the event, as JSON text
	Error   string
}

// A crowd is a Node process with clients in it.
type crowd struct {
	t     *testing.T
	cmd   *exec.Cmd
	steps chan step // closed when the process has ended
}

func (g *gateway) crowd(t *testing.T, transport string, args ...string) *crowd {
	t.Helper()
	return g.watch(t, script(t, g, transport, args...))
}

// watch runs a program whose standard output is steps.
func (g *gateway) watch(t *testing.T, cmd *exec.Cmd) *crowd {
	t.Helper()
	cmd.Stderr = g.Out
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &crowd{t, cmd, make(chan step, 10_000)}
	go func() {
		defer close(c.steps)
		for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
			var s step
			if err := json.Unmarshal(scanner.Bytes(), &s); err != nil {
				s.Error = err.Error() + ": " + scanner.Text()
			}
			c.steps <- s
		}
	}()
	t.Cleanup(c.stop)
	return c
}

func (c *crowd) stop() {
	c.cmd.Process.Kill()
	for range c.steps {
	}
	c.cmd.Wait()
}

// next returns the crowd's next step.
func (c *crowd) next() step {
	c.t.Helper()
	select {
	case s, ok := <-c.steps:
		if !ok || s.Error != "" {
			c.t.Fatalf("the clients: %+v", s)
		}
		return s
	case <-time.After(6 * patience):
		c.t.Fatal("the clients are silent")
		return step{}
	}
}

// want returns n steps of one kind, which must be the next ones.
func (c *crowd) want(kind string, n int) []step {
	c.t.Helper()
	var found []step
	for range n {
		found = append(found, c.oneOf(kind))
	}
	return found
}

// oneOf returns the next step, which must be of one of these kinds.
func (c *crowd) oneOf(kinds ...string) step {
	c.t.Helper()
	s := c.next()
	if !slices.Contains(kinds, s.Step) {
		c.t.Fatalf("step %+v, want %v", s, kinds)
	}
	return s
}

// joined waits until all n clients are in their room.
func (c *crowd) joined(n int) {
	c.t.Helper()
	for got := 0; got < n; {
		switch s := c.next(); s.Step {
		case "joined":
			got++
		case "connect":
		default:
			c.t.Fatalf("step %+v while joining", s)
		}
	}
}
