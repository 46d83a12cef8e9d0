package e2e

import (
	"net"
	"net/http"
	"strings"
	"testing"
)

// What clients other than socket.io-client send. Their wire is played here as
// it was recorded.

// Socket.IO's own server ignores packets that only a server or a probe sends.
// Swift's client sends a NOOP when it upgrades while a POST is under way.
func TestEnginePacketTypesOfClients(t *testing.T) {
	t.Parallel()
	g := start(t, protocolSettings...)
	const probe = `421["leave_room",{"roomType":"conversation","roomId":"1"}]`
	types := []struct {
		packet string
		ends   bool
	}{
		{"0", false}, {`0{"sid":"x"}`, false},
		{"1", true},
		{"2", true}, {"2probe", true},
		{"3", false}, {"3probe", false},
		{`42["unknown"]`, false},
		{"5", false}, {"5x", false},
		{"6", false}, {"6x", false},
		{"7", true}, {"8", true}, {"9", true},
	}
	for _, c := range types {
		t.Run("websocket "+c.packet, func(t *testing.T) {
			t.Parallel()
			r := g.connected(t, "ann")
			r.text(c.packet)
			switch {
			case !c.ends:
				r.alive()
			case c.packet == "1" && reference:
				r.alive() // only its heartbeat ends that
			default:
				r.wantClosed()
			}
		})
		t.Run("polling "+c.packet, func(t *testing.T) {
			t.Parallel()
			target := g.session(t, "ann")
			status, body, err := request(http.MethodPost, g.URL+target, nil, c.packet)
			if c.ends {
				wantGone(t, g, target)
				return
			}
			if err != nil || status != http.StatusOK || string(body) != "ok" {
				t.Fatalf("POST %s: %d %s %v", c.packet, status, body, err)
			}
			g.mustPost(t, target, probe)
			for got := ""; !strings.Contains(got, `431[{"success":true`); {
				got = g.mustPoll(t, target)
			}
		})
	}
}

// The NOOP of Swift's client comes behind the upgrade packet.
func TestNoopBehindAnUpgrade(t *testing.T) {
	t.Parallel()
	g := start(t, protocolSettings...)
	target := g.session(t, "ann")
	r := g.probed(t, target)
	r.text("5", "6")
	r.alive()
}

// Some encoders write a space before the JSON text, and JSON.parse takes it.
func TestSpaceBeforeThePayload(t *testing.T) {
	t.Parallel()
	g := start(t, protocolSettings...)
	for _, packet := range []string{
		"4277 [\"leave_room\",{\"roomType\":\"conversation\",\"roomId\":\"1\"}]",
		"4277\t\r\n [\"leave_room\",{\"roomType\":\"conversation\",\"roomId\":\"1\"}]\n",
		"42 77[\"leave_room\",{\"roomType\":\"conversation\",\"roomId\":\"1\"}]",
		"42/,77 [\"leave_room\",{\"roomType\":\"conversation\",\"roomId\":\"1\"}]",
	} {
		r := g.connected(t, "ann")
		r.text(packet)
		r.wantPrefix(`4377[{"success":true`)
	}
	r := g.connected(t, "ann")
	r.text(`42 ["leave_room"]`) // Node takes the space for the ack id 0
	r.alive()
	r.text("41 ")
	r = g.webSocket(t, "")
	r.wantPrefix("0{")
	r.text(`40 {}`)
	r.wantPrefix(`44{"message":"Authentication error: No token provided"`)
}

// The Go client maldikhan/go.socket.io always sends the parameter sid.
func TestEmptySessionID(t *testing.T) {
	t.Parallel()
	g := start(t, protocolSettings...)
	for _, query := range []string{"?EIO=4&transport=polling&sid=", "?sid=&EIO=4&transport=polling", "?EIO=4&sid=&transport=polling"} {
		status, body, err := get(g.URL + "/socket.io/" + query)
		if err != nil || status != http.StatusOK {
			t.Fatalf("%s: %d %s %v", query, status, body, err)
		}
		wantOpen(t, string(body), "websocket")
	}
	wantOpen(t, g.webSocket(t, "&sid=").wantPrefix("0"))
	if status, body, _ := request(http.MethodPost, g.URL+engineTarget+"&sid=", nil, "3"); status != 400 || !strings.Contains(string(body), `"code":2`) {
		t.Errorf("POST: %d %s, want a bad handshake method", status, body)
	}
}

// As a Node server, the gateway is on every address of the host unless it is
// told otherwise.
func TestBothAddressFamilies(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it listens where it is told")
	if l, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skipf("no IPv6 here: %v", err)
	} else {
		l.Close()
	}
	for _, host := range []string{"::", ""} {
		t.Run("SERVICE_HOST="+host, func(t *testing.T) {
			t.Parallel()
			g := start(t, "SERVICE_HOST="+host, "MAX_CONNECTIONS_PER_IP=2")
			_, port, _ := net.SplitHostPort(g.Addr)
			six := at(t, "http://[::1]:"+port)
			six.connected(t, "ann").alive()
			if out, err := g.Run("healthcheck"); err != nil {
				t.Errorf("gateway healthcheck: %v %s", err, out)
			}
			in := 0
			for range 6 { // an IPv4 address is limited as itself, not as ::ffff:127.0.0.1
				if status, _ := g.raw(t).handshake("/socket.io/?EIO=4&transport=websocket"); status == http.StatusSwitchingProtocols {
					in++
				}
			}
			if in == 0 || in > 2 {
				t.Errorf("%d of 6 connections from an IPv4 address taken, want 1 or 2", in)
			}
		})
	}
}
