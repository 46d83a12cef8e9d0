package e2e

import (
	"bufio"
	"encoding/json"
	"os/exec"
	"slices"
	"testing"
	"time"
)

// step is one JSON line that a script of js/ prints about one of its clients.
type step struct {
	Member  int
	Step    string
	Reason  string // of a disconnect
	At      int64  // Unix ms
	Letters string // stream.mjs: the steps that the client saw; explain.mjs: its socket id
	Before  int    // stream.mjs: how many letters came before the upgrade; explain.mjs: 1 if recovered
	Event   string // see listen.mjs
	Args    string // of the event, as JSON text
	Error   string
}

// crowd is a process with clients in it, written in Node or Python.
type crowd struct {
	t     *testing.T
	cmd   *exec.Cmd
	steps chan step // closed when the process has ended
}

func (g *gateway) crowd(t *testing.T, transport string, args ...string) *crowd {
	t.Helper()
	return g.watch(t, script(t, g, transport, args...))
}

// watch runs a program that prints steps on its standard output.
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

// next returns the next step.
func (c *crowd) next() step {
	c.t.Helper()
	select {
	case s, ok := <-c.steps:
		if !ok || s.Error != "" {
			c.t.Fatalf("the clients have ended or failed: %+v", s)
		}
		return s
	case <-time.After(6 * patience):
		c.t.Fatal("the clients have printed nothing")
		return step{}
	}
}

// want returns the next n steps, which must be of this kind.
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

// joined waits until n clients have joined their room.
func (c *crowd) joined(n int) {
	c.t.Helper()
	for got := 0; got < n; {
		switch s := c.next(); s.Step {
		case "joined":
			got++
		case "connect":
		default:
			c.t.Fatalf("step %+v, want connect or joined", s)
		}
	}
}
