// Package limits holds the limits by address and by rate: how many connections
// and polling sessions one address may have, and how many sessions an address
// and the node may open in a second. It also finds out which address a request
// came from when proxies are in between.
package limits

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

// stripes is the number of locks that the addresses are divided between.
const stripes = 64

// SweepInterval is how often addresses without a reservation are removed.
const SweepInterval = 10 * time.Second

// A Source is the address of a client for limits: an IPv4 address, or the /64
// of an IPv6 address, of which a household has 2^64. The zero Source is
// unknown.
type Source uint64

// String is the IPv4 address, or the /64 of an IPv6 address.
func (o Source) String() string {
	if o == 0 {
		return "unknown"
	}
	if o>>32 == 1 {
		return netip.AddrFrom4([4]byte{byte(o >> 24), byte(o >> 16), byte(o >> 8), byte(o)}).String()
	}
	var b [16]byte
	for i := range 8 {
		b[i] = byte(o >> (56 - 8*i))
	}
	return netip.PrefixFrom(netip.AddrFrom16(b), 64).String()
}

// SourceOf returns the source that an address belongs to.
func SourceOf(a netip.Addr) Source {
	switch a = a.Unmap(); {
	case a.Is4():
		b := a.As4()
		return 1<<32 | Source(binary.BigEndian.Uint32(b[:])) // in ::/64, which is nobody's
	case a.Is6():
		b := a.As16()
		return Source(binary.BigEndian.Uint64(b[:8]))
	}
	return 0
}

// A Guard counts connections, polling sessions and handshakes by address, and
// enforces their limits. Safe for concurrent use; the locks are held for a map
// access.
type Guard struct {
	trusted       []netip.Prefix // proxies whose X-Forwarded-For is believed
	proxyProtocol bool
	limits        atomic.Pointer[Limits]

	mu      sync.Mutex
	node    rooms.Throttle // guarded by mu
	newest  time.Time      // of the handshakes; guarded by mu
	stripes [stripes]stripe
}

// Limits are the limits of a Guard. Immutable.
type Limits struct {
	PerSource  int        // connections, and polling sessions, of a source; 0: any number
	SourceRate rooms.Rate // of handshakes of a source
	NodeRate   rooms.Rate // of handshakes of all sources together
}

// SetLimits replaces the limits. Whether connections of a source are limited at
// all must not change: one that was not counted when it opened must not be
// counted when it closes.
func (g *Guard) SetLimits(l Limits) { g.limits.Store(&l) }

// A stripe has the tallies of a share of the sources, under one lock.
type stripe struct {
	mu      sync.Mutex
	tallies map[Source]tally
}

// A tally counts what one source has.
type tally struct {
	conns, polls int32
	handshakes   rooms.Throttle
}

// New returns a Guard. trusted are the proxies whose X-Forwarded-For is
// believed; with proxyProtocol, connections from them may begin with a header
// of the PROXY protocol.
func New(trusted []netip.Prefix, proxyProtocol bool, l Limits) *Guard {
	g := &Guard{trusted: trusted, proxyProtocol: proxyProtocol}
	g.SetLimits(l)
	for i := range g.stripes {
		g.stripes[i].tallies = make(map[Source]tally)
	}
	return g
}

// Trusts reports whether a is a trusted proxy.
func (g *Guard) Trusts(a netip.Addr) bool {
	for _, p := range g.trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func (g *Guard) stripe(o Source) *stripe {
	return &g.stripes[(uint64(o)*0x9e3779b97f4a7c15)>>58] // Fibonacci hashing; 64 = 2^6
}

// Reserve reserves a place for one connection or polling session of a source. It
// reports false if the source has reached its limit. The zero Source needs no
// place.
func (g *Guard) Reserve(o Source, poll bool) bool {
	most := g.limits.Load().PerSource
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

// Release releases a place.
func (g *Guard) Release(o Source, poll bool) {
	l := g.limits.Load()
	if l.PerSource == 0 || o == 0 {
		return
	}
	s := g.stripe(o)
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tallies[o]
	*t.count(poll)--
	if t.conns == 0 && t.polls == 0 && l.SourceRate.PerSecond == 0 {
		delete(s.tallies, o)
		return
	}
	s.tallies[o] = t // its rate is forgotten by Sweep
}

func (t *tally) count(poll bool) *int32 {
	if poll {
		return &t.polls
	}
	return &t.conns
}

// Places returns how many places are reserved.
func (g *Guard) Places() (n int) {
	for i := range g.stripes {
		s := &g.stripes[i]
		s.mu.Lock()
		for _, t := range s.tallies {
			n += int(t.conns + t.polls)
		}
		s.mu.Unlock()
	}
	return n
}

// Handshake reports whether a source may open a session now.
//
// Event loops share the rates. One that stood still after it had looked at the
// clock comes with an older time than the others: what these have taken since
// would count as taken in advance, and be a refusal from a burst on. So the newest
// time of all handshakes counts.
func (g *Guard) Handshake(o Source, now time.Time) bool {
	l := g.limits.Load()
	ofSource := l.SourceRate.PerSecond > 0 && o != 0
	if !ofSource && l.NodeRate.PerSecond == 0 {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if rooms.Monotonic(now) > rooms.Monotonic(g.newest) {
		g.newest = now
	}
	if ofSource && !g.takeOf(o, l.SourceRate, g.newest) {
		return false
	}
	return l.NodeRate.PerSecond == 0 || g.node.Take(l.NodeRate, 1, g.newest) <= 1
}

// takeOf reports whether a handshake of a source is within its rate.
func (g *Guard) takeOf(o Source, rate rooms.Rate, now time.Time) bool {
	s := g.stripe(o)
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tallies[o]
	ahead := t.handshakes.Take(rate, 1, now)
	s.tallies[o] = t
	return ahead <= 1
}

// Sweep removes sources that have no place and whose rate has recovered.
func (g *Guard) Sweep(now time.Time) {
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

// A Caller is the client behind an HTTP connection, as far as it is known.
// Owned by its connection.
type Caller struct {
	Addr        netip.Addr // zero when it is not known
	Place       Source     // whose place the connection has reserved
	Relayed     bool       // from a trusted proxy: each request names its client
	ProxyHeader bool       // a PROXY header may come before the first request
}

// CallerOf returns the Caller of a new connection.
func (g *Guard) CallerOf(remote net.Addr) (c Caller) {
	if tcp, ok := remote.(*net.TCPAddr); ok {
		c.Addr = tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	c.Relayed = g.Trusts(c.Addr)
	c.ProxyHeader = c.Relayed && g.proxyProtocol
	if !c.Relayed {
		c.Place = SourceOf(c.Addr)
	}
	return c
}

// Source returns the source that a request comes from.
func (g *Guard) Source(c *Caller, head *codec.Head) Source {
	if c.Relayed {
		return SourceOf(g.clientOf(head))
	}
	return SourceOf(c.Addr)
}

// maxHops limits the proxies in X-Forwarded-For.
const maxHops = 16

// clientOf returns the client of a request from a trusted proxy: the last
// address in X-Forwarded-For that is not a trusted proxy. Addresses before it
// may be forged. The zero address means that there is none.
func (g *Guard) clientOf(head *codec.Head) (client netip.Addr) {
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
		if client = hop; !g.Trusts(hop) {
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

// Rates returns, for each address, how far it is ahead of its rate of
// handshakes, for another process.
func (g *Guard) Rates(now time.Time) (all []form.Rate) {
	for i := range g.stripes {
		stripe := &g.stripes[i]
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
func (g *Guard) TakeRates(all []form.Rate, now time.Time) {
	for _, r := range all {
		stripe := g.stripe(Source(r.Source))
		stripe.mu.Lock()
		t := stripe.tallies[Source(r.Source)]
		t.handshakes = rooms.ThrottleAhead(r.Ahead, now)
		stripe.tallies[Source(r.Source)] = t
		stripe.mu.Unlock()
	}
}

// Inherit reserves a place that another process has reserved already. It
// returns the source to be released later: zero if the limits are lower here
// and no place was reserved.
func (g *Guard) Inherit(o Source, poll bool) Source {
	if g.Reserve(o, poll) {
		return o
	}
	return 0
}
