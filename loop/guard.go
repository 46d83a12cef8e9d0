package loop

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/internal/handover/form"
	"github.com/hometrip/gateway/rooms"
)

// guardStripes spreads the lock on what is known of addresses.
const guardStripes = 64

// sweepInterval is how often addresses are forgotten that nothing is held for.
const sweepInterval = 10 * time.Second

// A source is where a client comes from: an IPv4 address, or the /64 of an
// IPv6 address, of which a home has 2^64. The zero source is nobody's.
type source uint64

func sourceOf(a netip.Addr) source {
	switch a = a.Unmap(); {
	case a.Is4():
		b := a.As4()
		return 1<<32 | source(binary.BigEndian.Uint32(b[:])) // in ::/64, which is nobody's
	case a.Is6():
		b := a.As16()
		return source(binary.BigEndian.Uint64(b[:8]))
	}
	return 0
}

// A guard knows how much comes from which address, and lets nobody have more
// than the limits. Safe for concurrent use; the locks are held for a map
// access.
type guard struct {
	trusted       []netip.Prefix // proxies that say whom they speak for
	proxyProtocol bool
	limits        atomic.Pointer[guardLimits]

	mu      sync.Mutex
	node    rooms.Throttle // guarded by mu
	stripes [guardStripes]guardStripe
}

// guardLimits are how much may come. Immutable.
type guardLimits struct {
	perSource int        // connections, and polling sessions, of a source; 0: any number
	rate      rooms.Rate // of handshakes of a source
	nodeRate  rooms.Rate // of all
}

// limit takes new limits. Whether there is one for the connections of a source
// must not change: what is not counted when it comes cannot be when it goes.
func (g *guard) limit(c *Config) {
	g.limits.Store(&guardLimits{perSource: c.MaxPerAddress, rate: c.HandshakesPerAddress, nodeRate: c.Handshakes})
}

type guardStripe struct {
	mu      sync.Mutex
	tallies map[source]tally
}

// A tally is what comes from one source.
type tally struct {
	conns, polls int32
	handshakes   rooms.Throttle
}

func newGuard(c *Config) *guard {
	g := &guard{trusted: c.TrustedProxies, proxyProtocol: c.ProxyProtocol}
	g.limit(c)
	for i := range g.stripes {
		g.stripes[i].tallies = make(map[source]tally)
	}
	return g
}

// trusts reports whether a is one of the proxies that may say whom they speak
// for.
func (g *guard) trusts(a netip.Addr) bool {
	for _, p := range g.trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func (g *guard) stripe(o source) *guardStripe {
	return &g.stripes[(uint64(o)*0x9e3779b97f4a7c15)>>58] // Fibonacci hashing; 64 = 2^6
}

// enter takes a place for one connection or polling session of a source, and
// reports false when it has as many as it may. The zero source needs none.
func (g *guard) enter(o source, poll bool) bool {
	most := g.limits.Load().perSource
	if most == 0 || o == 0 {
		return true
	}
	s := g.stripe(o)
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tallies[o]
	count := t.count(poll)
	if int(*count) >= most {
		return false
	}
	*count++
	s.tallies[o] = t
	return true
}

// leave gives a place back.
func (g *guard) leave(o source, poll bool) {
	l := g.limits.Load()
	if l.perSource == 0 || o == 0 {
		return
	}
	s := g.stripe(o)
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tallies[o]
	*t.count(poll)--
	if t.conns == 0 && t.polls == 0 && l.rate.PerSecond == 0 {
		delete(s.tallies, o)
		return
	}
	s.tallies[o] = t // its rate is forgotten by sweep
}

func (t *tally) count(poll bool) *int32 {
	if poll {
		return &t.polls
	}
	return &t.conns
}

// handshake reports whether a source may open a session now.
func (g *guard) handshake(o source, now time.Time) bool {
	l := g.limits.Load()
	if l.rate.PerSecond > 0 && o != 0 {
		s := g.stripe(o)
		s.mu.Lock()
		t := s.tallies[o]
		ahead := t.handshakes.Take(l.rate, 1, now)
		s.tallies[o] = t
		s.mu.Unlock()
		if ahead > 1 {
			return false
		}
	}
	if l.nodeRate.PerSecond == 0 {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.node.Take(l.nodeRate, 1, now) <= 1
}

// sweep forgets sources that hold no place and have kept to their rate for
// long.
func (g *guard) sweep(now time.Time) {
	for i := range g.stripes {
		s := &g.stripes[i]
		s.mu.Lock()
		for o, t := range s.tallies {
			if t.conns == 0 && t.polls == 0 && t.handshakes.Rested(now) {
				delete(s.tallies, o)
			}
		}
		s.mu.Unlock()
	}
}

// A caller is whom an HTTP connection is from, as far as that is known. Owned
// by its connection.
type caller struct {
	addr     netip.Addr // zero when it is not known
	place    source     // that the connection holds a place of
	relayed  bool       // a trusted proxy: requests say whom they are from
	heralded bool       // that may put a PROXY header before the first
}

// callerOf returns whom a new connection is from.
func (g *guard) callerOf(remote net.Addr) (c caller) {
	if tcp, ok := remote.(*net.TCPAddr); ok {
		c.addr = tcp.AddrPort().Addr().Unmap()
	}
	c.relayed = g.trusts(c.addr)
	c.heralded = c.relayed && g.proxyProtocol
	if !c.relayed {
		c.place = sourceOf(c.addr)
	}
	return c
}

// source returns where the sender of a request is.
func (g *guard) source(c *caller, head *codec.Head) source {
	if c.relayed {
		return sourceOf(g.clientOf(head))
	}
	return sourceOf(c.addr)
}

// maxHops is how many proxies a request may have come through.
const maxHops = 16

// clientOf returns whom a request of a trusted proxy is from: going back
// through X-Forwarded-For, the first who is not a trusted proxy. What stands
// before that may be made up. It is the zero address when nobody is named.
func (g *guard) clientOf(head *codec.Head) (client netip.Addr) {
	var hops [maxHops]netip.Addr
	n := 0
	head.Fields("x-forwarded-for", func(value []byte) {
		for len(value) > 0 {
			var item []byte
			item, value = codec.NextItem(value)
			hops[n%maxHops] = parseHop(item)
			n++
		}
	})
	for i := n - 1; i >= max(n-maxHops, 0); i-- {
		hop := hops[i%maxHops]
		if !hop.IsValid() {
			break
		}
		if client = hop; !g.trusts(hop) {
			break
		}
	}
	return client
}

// parseHop reads an address, perhaps with a port.
func parseHop(item []byte) netip.Addr {
	text := string(item)
	if a, err := netip.ParseAddr(text); err == nil {
		return a.Unmap()
	}
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return ap.Addr().Unmap()
	}
	return netip.Addr{}
}

// Rates returns how far addresses are ahead of their rate of handshakes.
func (s *Server) Rates(now time.Time) (all []form.Rate) {
	for i := range s.guard.stripes {
		stripe := &s.guard.stripes[i]
		stripe.mu.Lock()
		for o, t := range stripe.tallies {
			if ahead := t.handshakes.Ahead(now); ahead > 0 {
				all = append(all, form.Rate{Source: uint64(o), Ahead: ahead})
			}
		}
		stripe.mu.Unlock()
	}
	return all
}

// TakeRates takes over what Rates of another process returned.
func (s *Server) TakeRates(all []form.Rate, now time.Time) {
	for _, r := range all {
		stripe := s.guard.stripe(source(r.Source))
		stripe.mu.Lock()
		t := stripe.tallies[source(r.Source)]
		t.handshakes = rooms.ThrottleAhead(r.Ahead, now)
		stripe.tallies[source(r.Source)] = t
		stripe.mu.Unlock()
	}
}
