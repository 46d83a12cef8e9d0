package limits

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/clocktest"
	"github.com/hometrip/gateway/rooms"
)

// The clock walks through two days. Handshakes within the rates must be
// accepted at any time, and addresses without connections forgotten.
func TestHandshakesAtAnyTimeOfTwoDays(t *testing.T) {
	from := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, rate := range []rooms.Rate{{PerSecond: 1, Burst: 2}, {PerSecond: 5, Burst: 10}, {PerSecond: 4000, Burst: 8000}} {
		node, addresses := New(nil, false, Limits{NodeRate: rate}), New(nil, false, Limits{SourceRate: rate})
		second := 0
		clocktest.Walk(from, func(now time.Time) {
			second++
			if !node.Handshake(1, now) {
				t.Fatalf("%+v: a handshake within the node's rate is refused in second %d", rate, second)
			}
			if !addresses.Handshake(Source(second), now) {
				t.Fatalf("%+v: a new address is refused in second %d", rate, second)
			}
			if second%60 == 0 {
				addresses.Sweep(now.Add(time.Minute))
				if n := addresses.known(); n != 0 {
					t.Fatalf("%+v: %d idle addresses are kept in second %d, want none", rate, n, second)
				}
			}
		})
	}
}

func TestHandshakesWhileTheClockIsSet(t *testing.T) {
	rate := rooms.Rate{PerSecond: 2, Burst: 4}
	for name, limits := range map[string]Limits{
		"of the node": {NodeRate: rate}, "of an address": {SourceRate: rate},
	} {
		g := New(nil, false, limits)
		c := clocktest.Clock{Wall: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
		for _, step := range clocktest.Steps {
			for range 10 {
				c.Pass(time.Second)
				for range rate.PerSecond {
					if !g.Handshake(1, c.Now()) {
						t.Fatalf("%s: a handshake within the rate is refused before %v", name, step)
					}
				}
			}
			c.Set(step)
		}
	}
}

// An event loop reads the time, is delayed, and makes a handshake with a time
// older than that of other loops. It must be accepted.
func TestHandshakeWithAnOlderTimeIsWithinTheRate(t *testing.T) {
	rate := rooms.Rate{PerSecond: 4, Burst: 8}
	for name, limits := range map[string]Limits{
		"of the node": {NodeRate: rate}, "of an address": {SourceRate: rate},
	} {
		g, before := New(nil, false, limits), time.Now()
		for _, now := range []time.Time{before.Add(3 * time.Second), before} {
			if !g.Handshake(1, now) {
				t.Errorf("%s: a handshake at %v is refused", name, now.Sub(before))
			}
		}
	}
}

func TestRatesOfIdleAddressesAreForgotten(t *testing.T) {
	g := New(nil, false, Limits{SourceRate: rooms.Rate{PerSecond: 10, Burst: 10}, PerSource: 5})
	now := time.Now()
	for i := range 1000 {
		g.Handshake(Source(i+1), now)
	}
	g.Reserve(1, false)
	g.Sweep(now.Add(50 * time.Millisecond))
	if n := g.known(); n != 1000 {
		t.Errorf("%d addresses are kept right after, want 1000", n)
	}
	g.Sweep(now.Add(time.Second))
	if n := g.known(); n != 1 {
		t.Errorf("%d addresses are kept after a second, want 1, which has a connection", n)
	}
}

func (g *Guard) known() (n int) {
	for i := range g.stripes {
		n += len(g.stripes[i].tallies)
	}
	return n
}

func TestSources(t *testing.T) {
	at := func(text string) Source { return SourceOf(netip.MustParseAddr(text)) }
	if at("192.0.2.1") != at("::ffff:192.0.2.1") {
		t.Error("an IPv4 address in IPv6 form has another source than the IPv4 address")
	}
	if at("2001:db8::1") != at("2001:db8::ffff:1") || at("2001:db8::1") == at("2001:db8:0:1::1") {
		t.Error("the source of an IPv6 address is not its /64")
	}
	seen := make(map[Source]string)
	for _, text := range []string{"0.0.0.0", "192.0.2.1", "192.0.2.2", "::1", "2001:db8::1", "fe80::1"} {
		s := at(text)
		if other, twice := seen[s]; twice || text != "::1" && s == 0 {
			t.Errorf("%s is source %d, as is %s", text, s, other)
		}
		seen[s] = text
	}
	if SourceOf(netip.Addr{}) != 0 {
		t.Error("an invalid address has a source, want 0")
	}
}

// A proxy has an IPv6 address with a zone, and trusted prefixes have none. It
// must be trusted.
func TestProxyWithAZoneIsTrusted(t *testing.T) {
	g := New([]netip.Prefix{netip.MustParsePrefix("fe80::/10")}, false, Limits{})
	for _, zone := range []string{"", "eth0"} {
		c := g.CallerOf(&net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: zone})
		if want := netip.MustParseAddr("fe80::1"); !c.Relayed || c.Addr != want {
			t.Errorf("zone %q: relayed %t, address %v; want true and %v", zone, c.Relayed, c.Addr, want)
		}
	}
}
