package fleet

import (
	"net"
	"sync"
	"testing"
)

// A line is a proxy between a client and the gateways whose connections can be
// ended in several ways. It is safe for concurrent use.
type line struct {
	url      string
	listener net.Listener

	mu     sync.Mutex // guards the following
	target string     // host:port of a gateway
	pairs  map[*pair]struct{}
}

// A pair is a client's connection and the one to the gateway.
type pair struct {
	near, far *net.TCPConn
	mu        sync.Mutex // guards the following
	silent    bool       // nothing is forwarded, and the gateway's connection stays open
	half      bool       // half of the next read is forwarded, then both are reset
}

func newLine(t *testing.T) *line {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &line{url: "http://" + l.Addr().String(), listener: l, pairs: make(map[*pair]struct{})}
	t.Cleanup(func() { l.Close(); w.cut(closed) })
	go w.accept()
	return w
}

func (w *line) accept() {
	for {
		near, err := w.listener.Accept()
		if err != nil {
			return
		}
		w.mu.Lock()
		target := w.target
		w.mu.Unlock()
		far, err := net.Dial("tcp", target)
		if err != nil {
			near.Close()
			continue
		}
		p := &pair{near: near.(*net.TCPConn), far: far.(*net.TCPConn)}
		w.mu.Lock()
		w.pairs[p] = struct{}{}
		w.mu.Unlock()
		go w.forward(p, p.near, p.far)
		go w.forward(p, p.far, p.near)
	}
}

// setTarget sets the gateway for new connections.
func (w *line) setTarget(target string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.target = target
}

func (w *line) forward(p *pair, from, to *net.TCPConn) {
	b := make([]byte, 16<<10)
	for {
		n, err := from.Read(b)
		p.mu.Lock()
		silent, half := p.silent, p.half
		p.mu.Unlock()
		switch {
		case err != nil && silent:
			return
		case err != nil:
			p.end(false)
		case silent:
			continue
		case half:
			_, _ = to.Write(b[:n/2])
			p.end(true)
			return
		default:
			if _, err = to.Write(b[:n]); err != nil {
				p.end(false)
			}
		}
		if err != nil {
			w.mu.Lock()
			delete(w.pairs, p)
			w.mu.Unlock()
			return
		}
	}
}

func (p *pair) end(reset bool) {
	for _, c := range []*net.TCPConn{p.near, p.far} {
		if reset {
			_ = c.SetLinger(0)
		}
		c.Close()
	}
}

// A cutKind is a way to end the connections of a line.
type cutKind int

const (
	closed cutKind = iota // both ends are closed
	reset                 // both ends are reset
	half                  // both ends are reset after half of the next read
	silent                // the client's end is closed, and the gateway's stays open
	cutKinds
)

func (w *line) cut(kind cutKind) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for p := range w.pairs {
		p.mu.Lock()
		already := p.silent
		p.silent, p.half = already || kind == silent, kind == half
		p.mu.Unlock()
		switch {
		case kind == silent:
			p.near.Close()
		case kind == half:
		case !already || kind == closed:
			p.end(kind == reset)
		}
	}
}
