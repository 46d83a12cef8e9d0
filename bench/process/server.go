package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A Server is one running process that listens on a port of 127.0.0.1.
type Server struct {
	Addr string // host:port

	cmd  *exec.Cmd
	log  *os.File
	done chan error // receives the exit once
}

// Launch says how a server is to run.
type Launch struct {
	Argv  []string
	Env   []string // beyond this process's
	Dir   string   // working directory; where it may write
	Port  int
	Ready string        // path to ask until it says 200
	Limit time.Duration // for being ready
	Core  int           // that it is bound to; < 0: none
}

// Start runs a server and returns when it is ready.
func Start(l Launch) (*Server, error) {
	if err := os.MkdirAll(l.Dir, 0o755); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(l.Dir, "output.log"))
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(l.Argv[0], l.Argv[1:]...)
	cmd.Env = append(os.Environ(), l.Env...)
	cmd.Dir = l.Dir
	cmd.Stdout, cmd.Stderr = log, log
	if err := StartOn(l.Core, cmd, cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", l.Argv[0], err)
	}
	s := &Server{cmd: cmd, log: log, done: make(chan error, 1)}
	s.Addr = "127.0.0.1:" + strconv.Itoa(l.Port)
	go func() { s.done <- cmd.Wait() }()
	if err := s.awaitReady(l.Ready, l.Limit); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

func (s *Server) awaitReady(path string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	answer := "nothing"
	for {
		select {
		case err := <-s.done:
			s.done <- err
			return fmt.Errorf("server ended at start: %v; its output: %s", err, s.Output())
		case <-ctx.Done():
			return &NotReady{Limit: limit, Answer: answer, output: s.Output()}
		case <-time.After(20 * time.Millisecond):
			resp, err := http.Get("http://" + s.Addr + path)
			if err != nil {
				continue
			}
			body, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
			_ = resp.Body.Close()
			answer = resp.Status + " " + strings.TrimSpace(string(body))
			if resp.StatusCode == http.StatusOK {
				http.DefaultClient.CloseIdleConnections()
				return nil
			}
		}
	}
}

// A NotReady is the error of a server that runs but does not want to serve.
type NotReady struct {
	Limit  time.Duration
	Answer string // the last one to the question
	output string
}

// Error implements error.
func (e *NotReady) Error() string {
	return fmt.Sprintf("server not ready after %v, it answers %s; its output: %s", e.Limit, e.Answer, e.output)
}

// Output is the end of what the server printed.
func (s *Server) Output() string {
	const most = 2000
	b, _ := os.ReadFile(s.log.Name())
	return string(b[max(0, len(b)-most):])
}

// PID is its process id.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Alive returns an error if the server has ended.
func (s *Server) Alive() error {
	select {
	case err := <-s.done:
		s.done <- err
		return errors.New("server ended: " + fmt.Sprint(err) + "; its output: " + s.Output())
	default:
		return nil
	}
}

// Stop kills it and waits for its end.
func (s *Server) Stop() {
	_ = s.cmd.Process.Kill()
	err := <-s.done
	s.done <- err
	_ = s.log.Close()
}
