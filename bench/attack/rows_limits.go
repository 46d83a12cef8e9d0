package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"time"
)

// proxyAddress is a load balancer that the gateway believes.
const proxyAddress = "127.99.0.1"

// limitRows meet limits of connections and handshakes, on a gateway that has
// small ones.
var limitRows = []*row{
	{
		name: "connection-flood", setup: small, full: true, length: 4 * time.Second, attack: connectionFlood,
		threat: "900 connections from 900 addresses, where 500 are left",
		stops:  "MAX_CONNECTIONS (RLIMIT_NOFILE less 512; here 1500); 503 with Retry-After",
		moved:  []string{`connections_refused_total{reason="full"}`},
	},
	{
		name: "address-flood", setup: small, attack: addressFlood,
		threat: "400 connections from one address",
		stops:  "MAX_CONNECTIONS_PER_IP (off; here 100)",
		moved:  []string{`connections_refused_total{reason="address"}`},
	},
	{
		name: "handshake-flood", setup: small, attack: handshakeFlood,
		threat: "1,200 sessions a second, some of them by polling, from 1,000 addresses",
		stops:  "MAX_HANDSHAKES_PER_SECOND (2000 a loop; here 400); 503 with Retry-After",
		moved:  []string{`connections_refused_total{reason="rate"}`},
	},
	{
		name: "address-shakes", setup: small, attack: addressShakes,
		threat: "300 sessions a second from one address",
		stops:  "MAX_HANDSHAKES_PER_IP (off; here 50)",
		moved:  []string{`connections_refused_total{reason="rate"}`},
	},
	{
		name: "forged-forwards", setup: small, length: 4 * time.Second, attack: forgedForwards,
		threat: "200 WebSockets from one address that claim others in X-Forwarded-For: by themselves, and through a trusted proxy",
		stops:  "TRUSTED_PROXIES: only its last word counts",
		moved:  []string{`connections_refused_total{reason="address"}`},
	},
	{
		name: "forged-proxies", setup: small, attack: forgedProxies,
		threat: "PROXY headers by clients, and malformed ones by the proxy",
		stops:  "PROXY_PROTOCOL: of TRUSTED_PROXIES alone",
		moved:  []string{"bad_requests_total"},
	},
}

// limitOfAddress is MAX_CONNECTIONS_PER_IP of small.
const limitOfAddress = 100

func connectionFlood(a *attack) {
	const n, perSecond = 900, 900
	a.pace(perSecond, func(i int) bool {
		if f := a.dial(i); f != nil {
			go f.response() // of those that are refused
		}
		return i+1 < n
	})
}

func addressFlood(a *attack) {
	const n, perSecond = 400, 400
	a.pace(perSecond, func(i int) bool {
		if f := a.dial(0); f != nil {
			go f.response()
		}
		return i+1 < n
	})
	a.sleep(500 * time.Millisecond) // the answers are on their way
	if open := a.opened.Load() - a.closed.Load() - a.refused.Load(); open > limitOfAddress {
		a.problem("%d connections of one address were let in", open)
	}
}

func handshakeFlood(a *attack) {
	a.eachConnection(1200, func(i int, f *attacker) {
		if i%20 == 0 {
			f.request(get(pollingPath))
			return
		}
		f.webSocket()
	})
}

func addressShakes(a *attack) {
	a.paced(300, func(int) {
		if f := a.dial(0); f != nil {
			f.webSocket()
			f.close()
		}
	})
}

func forgedForwards(a *attack) {
	claimed := func() string { return fmt.Sprintf("198.51.%d.%d", rand.IntN(256), rand.IntN(256)) }
	shapes := []struct {
		from   net.IP
		header func() string
	}{
		{address(0), claimed},
		{net.ParseIP(proxyAddress), func() string { return claimed() + ", 203.0.113.7" }},
	}
	for _, shape := range shapes {
		open := 0
		a.pace(150, func(i int) bool {
			if f := a.dialFrom(shape.from, 0); f != nil && f.webSocket("X-Forwarded-For: "+shape.header()) {
				f.readInBackground()
				open++
			}
			return i+1 < 200
		})
		if open > limitOfAddress {
			a.problem("%d WebSockets from %v were let in, whatever they claim to be", open, shape.from)
		}
	}
}

// proxied is a PROXY header, version 2, for 198.51.100.7.
const proxied = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc6\x33\x64\x07\x0a\x00\x00\x01\xd4\x31\x0b\xba"

func forgedProxies(a *attack) {
	malformed := "\r\n\r\n\x00\r\nQUIT\n\x2f\xff\xff\xff"
	a.paced(300, func(i int) {
		from, header := address(i%addresses), proxied
		if i%2 == 0 {
			from, header = net.ParseIP(proxyAddress), malformed
		}
		f := a.dialFrom(from, 0)
		if f == nil {
			return
		}
		defer f.close()
		if status, _ := f.request(header + get("/health")); status == 200 {
			a.problem("a forged PROXY header was taken: %q", header)
		}
	})
}
