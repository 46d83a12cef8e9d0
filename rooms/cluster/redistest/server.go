// Package redistest starts Redis for tests: servers of their own, with their
// own ports and directories, which can be killed, paused and started again and
// are gone when the tests are.
package redistest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hometrip/gateway/internal/freeport"
	"github.com/hometrip/gateway/internal/testkit"
)

const (
	startTimeout = 20 * time.Second // on a busy machine
	pollInterval = 10 * time.Millisecond
)

// A Server is a redis-server. Owned by one goroutine, but for CLI.
type Server struct {
	Addr string // host:port
	Port int

	dir  string
	args []string
	cli  []string // arguments redis-cli needs beside the port
	cmd  *exec.Cmd
	log  *logBuffer
}

// Start starts a server with these arguments beside the defaults, and waits
// until it answers; in them {port} and {dir} stand for what has been chosen.
// cli is what redis-cli needs to be let in.
func Start(cli []string, args ...string) (*Server, error) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		return nil, testkit.Missing("redis-server")
	}
	port, err := freeport.Find()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "gateway-redis-")
	if err != nil {
		return nil, err
	}
	s := &Server{Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Port: port, dir: dir, cli: cli}
	s.args = []string{
		"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir,
		"--save", "", "--appendonly", "no",
	}
	for _, arg := range args {
		arg = strings.ReplaceAll(arg, "{port}", strconv.Itoa(port))
		s.args = append(s.args, strings.ReplaceAll(arg, "{dir}", dir))
	}
	if err := s.Launch(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Launch starts the server again after its end, empty.
func (s *Server) Launch() error {
	s.log = &logBuffer{}
	s.cmd = exec.Command("redis-server", s.args...)
	s.cmd.Dir = s.dir
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	cmd := s.cmd
	go func() { _ = cmd.Wait(); close(ended) }()
	deadline := time.Now().Add(startTimeout)
	for time.Now().Before(deadline) {
		if out, err := s.CLI("PING"); err == nil && out == "PONG" {
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("redis-server ended at its start:\n%s", s.log)
		case <-time.After(pollInterval):
		}
	}
	s.Kill()
	return fmt.Errorf("redis-server does not serve after %v:\n%s", startTimeout, s.log)
}

// CLI runs redis-cli on the server and returns what it prints.
func (s *Server) CLI(args ...string) (string, error) {
	all := append([]string{"-e", "-p", strconv.Itoa(s.Port)}, s.cli...)
	out, err := exec.Command("redis-cli", append(all, args...)...).CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		return "", fmt.Errorf("redis-cli %s: %w: %s", strings.Join(args, " "), err, text)
	}
	return text, nil
}

// Calls returns how often each command was called, from info commandstats.
func (s *Server) Calls() (map[string]int, error) {
	text, err := s.CLI("INFO", "commandstats")
	if err != nil {
		return nil, err
	}
	calls := make(map[string]int)
	for line := range strings.Lines(text) {
		name, rest, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "cmdstat_"), ":calls=")
		if !ok {
			continue
		}
		number, _, _ := strings.Cut(rest, ",")
		if calls[name], err = strconv.Atoi(number); err != nil {
			return nil, err
		}
	}
	return calls, nil
}

// Kill ends the server at once.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

// Shutdown has the server end as it does when it is restarted.
func (s *Server) Shutdown() { s.end(syscall.SIGTERM) }

func (s *Server) end(signal syscall.Signal) {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	_ = s.cmd.Process.Signal(signal)
	for s.cmd.Process.Signal(syscall.Signal(0)) == nil {
		time.Sleep(pollInterval)
	}
	s.cmd = nil
}

// Pause suspends the server's process. Connections stay open.
func (s *Server) Pause() error { return s.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume ends Pause.
func (s *Server) Resume() error { return s.cmd.Process.Signal(syscall.SIGCONT) }

// Close ends the server and removes its directory.
func (s *Server) Close() {
	s.Kill()
	_ = os.RemoveAll(s.dir)
}

// logBuffer collects what a server prints.
type logBuffer struct {
	mu sync.Mutex // guards the following
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
