package redistest

import (
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// A Proxy stands between one gateway and a server, so that the way can be cut
// for that gateway alone. Safe for concurrent use.
type Proxy struct {
	Addr string // host:port

	listener net.Listener

	mu     sync.Mutex // guards the following
	target string
	cut    bool
	held   *sync.Cond // told when hold changes
	hold   bool
	lag    time.Duration
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
	p.cut, p.hold = cut, hold
	p.held.Broadcast()
	if cut {
		for c := range p.conns {
			c.Close()
		}
		clear(p.conns)
	}
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
		go p.forward(from, to)
		go p.forward(to, from)
	}
}

func (p *Proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		if !p.cut {
			p.conns[c] = struct{}{}
		}
	}
	return !p.cut
}

func (p *Proxy) forward(from, to net.Conn) {
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
		lag := p.lag
		p.mu.Unlock()
		if lag > 0 {
			if rand.N(8) == 0 {
				lag *= 8
			}
			time.Sleep(rand.N(lag))
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}
