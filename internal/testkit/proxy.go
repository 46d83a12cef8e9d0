package testkit

import (
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// A Proxy stands between a client and a server, so that the way can be cut for
// that client alone. Safe for concurrent use.
type Proxy struct {
	Addr string // host:port

	listener net.Listener

	mu     sync.Mutex // guards the following
	target string
	cut    bool
	refuse bool       // connections that are new
	reset  bool       // connections in the middle of what they carry
	held   *sync.Cond // told when hold changes
	hold   bool
	lag    time.Duration
	limit  int64 // bytes from the server before a connection is cut; 0: no limit
	cuts   int   // connections that were cut by it
	mute   int   // connections to come that say no more after limit bytes, instead of a cut
	conns  map[net.Conn]struct{}
}

// NewProxy listens on a free port and forwards to target.
func NewProxy(target string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{Addr: l.Addr().String(), target: target, listener: l, conns: make(map[net.Conn]struct{})}
	p.held = sync.NewCond(&p.mu)
	go p.accept()
	return p, nil
}

// Cut ends all connections and takes no more until Heal.
func (p *Proxy) Cut() { p.set(true, false) }

// Reset ends each connection in the middle of what it carries next, and takes
// no more until Heal.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse, p.reset = true, true
}

// Hold keeps the connections and passes nothing on until Heal: what is sent
// meanwhile comes late.
func (p *Proxy) Hold() { p.set(false, true) }

// Lag has what passes take up to usual longer, and now and then much longer,
// each connection by itself: what the server says on one comes before or after
// what it says on another.
func (p *Proxy) Lag(usual time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lag = usual
}

// Limit ends all connections, and each new one after so many bytes from the
// server, in the middle of what they are. 0: no limit.
func (p *Proxy) Limit(bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limit = bytes
	p.drop()
}

// Cuts returns how many connections Limit has ended.
func (p *Proxy) Cuts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cuts
}

// Mute has the next connections stay open, and pass nothing on from the server
// after so many bytes.
func (p *Proxy) Mute(connections int, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mute, p.limit = connections, bytes
}

// Retarget has new connections lead to another server. Those that are there
// stay.
func (p *Proxy) Retarget(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// Heal opens the way again.
func (p *Proxy) Heal() { p.set(false, false) }

// Close ends it all.
func (p *Proxy) Close() {
	p.listener.Close()
	p.Cut()
}

func (p *Proxy) set(cut, hold bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut, p.hold, p.refuse, p.reset = cut, hold, cut, false
	p.held.Broadcast()
	if cut {
		p.drop()
	}
}

// drop ends all connections. p.mu is held.
func (p *Proxy) drop() {
	for c := range p.conns {
		c.Close()
	}
	clear(p.conns)
}

func (p *Proxy) accept() {
	for {
		from, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		target := p.target
		p.mu.Unlock()
		to, err := net.Dial("tcp", target)
		if err != nil || !p.keep(from, to) {
			from.Close()
			if to != nil {
				to.Close()
			}
			continue
		}
		go p.forward(from, to, nil)
		go p.forward(to, from, p.bound())
	}
}

// A bound is what a connection may pass on from the server.
type bound struct {
	left int64
	mute bool // it stays open behind that
}

// bound returns the bound of a connection that is new; nil: there is none.
func (p *Proxy) bound() *bound {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.limit == 0 {
		return nil
	}
	b := &bound{left: p.limit, mute: p.mute > 0}
	if b.mute {
		if p.mute--; p.mute == 0 {
			p.limit = 0
		}
	}
	return b
}

// pass returns how much of n bytes the connection may pass on, and whether it
// ends behind that.
func (b *bound) pass(n int) (pass int, end bool) {
	if b == nil {
		return n, false
	}
	pass = int(min(int64(n), b.left))
	b.left -= int64(pass)
	return pass, b.left == 0 && !b.mute
}

func (p *Proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		if !p.refuse {
			p.conns[c] = struct{}{}
		}
	}
	return !p.refuse
}

func (p *Proxy) forward(from, to net.Conn, most *bound) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		p.mu.Lock()
		for p.hold {
			p.held.Wait()
		}
		lag, reset := p.lag, p.reset
		p.mu.Unlock()
		if reset {
			_, _ = to.Write(b[:n/2])
			return
		}
		if lag > 0 {
			if rand.N(8) == 0 {
				lag *= 8
			}
			time.Sleep(rand.N(lag))
		}
		n, end := most.pass(n)
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
		if end {
			p.mu.Lock()
			p.cuts++
			p.mu.Unlock()
			return
		}
	}
}
