package fleet

import (
	"net"
	"sync"
	"testing"
)

// A line is a client's way to the gateways, which can be cut in more ways than
// a client can end a connection. Safe for concurrent use.
type line struct {
	url      string
	listener net.Listener

	mu     sync.Mutex // guards the following
	target string     // host:port of a gateway
	pairs  map[*pair]struct{}
}

// A pair is one connection and its other half.
type pair struct {
	near, far *net.TCPConn
	mu        sync.Mutex // guards the following
	silent    bool       // nothing gets through, and the gateway hears nothing of it
	half      bool       // half of what comes next gets through
}

func newLine(t *testing.T) *line {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &line{url: "http://" + l.Addr().String(), listener: l, pairs: make(map[*pair]struct{})}
	t.Cleanup(func() { l.Close(); w.cut(fin) })
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

// lead has new connections go to another gateway.
func (w *line) lead(target string) {
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

// A cutKind is a way in which a line is cut.
type cutKind int

const (
	fin    cutKind = iota // both ends are closed
	reset                 // both ends are reset
	half                  // in the middle of what comes next
	silent                // the client's end is closed, and the gateway hears nothing of it
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
		case !already || kind == fin:
			p.end(kind == reset)
		}
	}
}
