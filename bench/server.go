package main

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

const (
	jwtSecret    = "bench-secret-of-thirty-two-bytes"
	publishToken = "bench-publish-token"
	firstPort    = 12000 // below the ephemeral range
	lastPort     = 20000
	startTimeout = 10 * time.Second
	serverCore   = 0
	loadCore     = 1
)

// server is one running peer.
type server struct {
	cmd  *exec.Cmd
	addr string
	log  *os.File
	done chan error // receives the exit once
}

// launch says how a server is to run.
type launch struct {
	argv   []string
	env    []string
	dir    string // working directory; where it may write
	port   int
	ready  string        // path to ask until it says 200
	limit  time.Duration // for being ready
	pinned bool
}

func baseEnv(port int, pingInterval time.Duration) []string {
	return []string{
		"PORT=" + strconv.Itoa(port), "SERVICE_HOST=127.0.0.1", "NODE_ENV=production",
		"JWT_SECRET=" + jwtSecret, "PUBLISH_TOKEN=" + publishToken, "CORS_ORIGIN=*",
		"USE_REDIS=false", "USE_RABBITMQ=false", "LOG_LEVEL=warn", "LOG_DIR=logs",
		"PING_INTERVAL=" + strconv.FormatInt(pingInterval.Milliseconds(), 10),
	}
}

func startServer(l launch) (*server, error) {
	if err := os.MkdirAll(l.dir, 0o755); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(l.dir, "output.log"))
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(l.argv[0], l.argv[1:]...)
	cmd.Env = append(os.Environ(), l.env...)
	cmd.Dir = l.dir
	cmd.Stdout, cmd.Stderr = log, log
	core := -1
	if l.pinned {
		core = serverCore
	}
	if err := startPinned(cmd, core, cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", l.argv[0], err)
	}
	s := &server{cmd: cmd, log: log, done: make(chan error, 1)}
	s.addr = "127.0.0.1:" + strconv.Itoa(l.port)
	go func() { s.done <- cmd.Wait() }()
	if err := s.awaitReady(l.ready, l.limit); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

func (s *server) awaitReady(path string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	answer := "nothing"
	for {
		select {
		case err := <-s.done:
			s.done <- err
			return fmt.Errorf("server ended at start: %v; its output: %s", err, s.output())
		case <-ctx.Done():
			return &notReady{limit: limit, answer: answer, output: s.output()}
		case <-time.After(20 * time.Millisecond):
			resp, err := http.Get("http://" + s.addr + path)
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

// notReady is the error of a server that runs but does not want to serve.
type notReady struct {
	limit  time.Duration
	answer string // the last one to the question
	output string
}

func (e *notReady) Error() string {
	return fmt.Sprintf("server not ready after %v, it answers %s; its output: %s", e.limit, e.answer, e.output)
}

// output is the end of what the server printed.
func (s *server) output() string {
	const most = 2000
	b, _ := os.ReadFile(s.log.Name())
	return string(b[max(0, len(b)-most):])
}

func (s *server) pid() int { return s.cmd.Process.Pid }

// alive returns an error if the server has ended.
func (s *server) alive() error {
	select {
	case err := <-s.done:
		s.done <- err
		return errors.New("server ended: " + fmt.Sprint(err) + "; its output: " + s.output())
	default:
		return nil
	}
}

func (s *server) stop() {
	_ = s.cmd.Process.Kill()
	err := <-s.done
	s.done <- err
	_ = s.log.Close()
}

// heapOf asks a server that offers Prometheus metrics for its live Go heap;
// 0 if it does not.
func (s *server) heapOf() float64 {
	req, err := http.NewRequest(http.MethodGet, "http://"+s.addr+"/metrics", nil)
	if err != nil {
		return 0
	}
	req.Header.Set("Accept", "text/plain;version=0.0.4")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	defer func() { _ = resp.Body.Close() }()
	b, _ := io.ReadAll(resp.Body)
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "go_memstats_heap_inuse_bytes "); ok {
			v, _ := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			return v
		}
	}
	return 0
}
