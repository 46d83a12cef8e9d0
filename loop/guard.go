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

// guardStripes is the number of locks that the addresses are divided between.
const guardStripes = 64

// sweepInterval is how often addresses without a reservation are removed.
const sweepInterval = 10 * time.Second

// A source is the address of a client for limits: an IPv4 address, or the /64
// of an IPv6 address, of which a household has 2^64. The zero source is
// unknown.
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

// A guard counts connections, polling sessions and handshakes by address, and
// enforces their limits. Safe for concurrent use; the locks are held for a map
// access.
type guard struct {
	trusted       []netip.Prefix // proxies whose X-Forwarded-For is believed
	proxyProtocol bool
	limits        atomic.Pointer[guardLimits]

	mu      sync.Mutex
	node    rooms.Throttle // guarded by mu
	stripes [guardStripes]guardStripe
}

// guardLimits are the limits of a guard. Immutable.
type guardLimits struct {
	perSource int        // connections, and polling sessions, of a source; 0: any number
	rate      rooms.Rate // of handshakes of a source
	nodeRate  rooms.Rate // of all
}

// limit replaces the limits. Whether connections of a source are limited at all
// must not change: one that was not counted when it opened must not be counted
// when it closes.
func (g *guard) limit(c *Config) {
	g.limits.Store(&guardLimits{perSource: c.MaxPerAddress, rate: c.HandshakesPerAddress, nodeRate: c.Handshakes})
}

type guardStripe struct {
	mu      sync.Mutex
	tallies map[source]tally
}

// A tally counts what one source has.
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

// trusts reports whether a is a trusted proxy.
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

// enter reserves a place for one connection or polling session of a source. It
// reports false if the source has reached its limit. The zero source needs no
// place.
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

// leave releases a place.
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

// sweep removes sources that have no place and whose rate has recovered.
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

// A caller is the client behind an HTTP connection, as far as it is known.
// Owned by its connection.
type caller struct {
	addr     netip.Addr // zero when it is not known
	place    source     // whose place the connection has reserved
	relayed  bool       // from a trusted proxy: each request names its client
	heralded bool       // a PROXY header may come before the first request
}

// callerOf returns the caller of a new connection.
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

// source returns the source of a request.
func (g *guard) source(c *caller, head *codec.Head) source {
	if c.relayed {
		return sourceOf(g.clientOf(head))
	}
	return sourceOf(c.addr)
}

// maxHops limits the proxies in X-Forwarded-For.
const maxHops = 16

// clientOf returns the client of a request from a trusted proxy: the last
// address in X-Forwarded-For that is not a trusted proxy. Addresses before it
// may be made up. The zero address: none is named.
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

// Rates returns, by address, how far it is ahead of its rate of handshakes, for
// another process.
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

// TakeRates adopts what Rates of another process returned.
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
