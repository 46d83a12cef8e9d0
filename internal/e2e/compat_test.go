package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/hometrip/gateway/internal/gatewaytest"
)

// Tests of clients other than socket.io-client. They send the packets that were
// recorded from those clients.

// Each Engine.IO packet type, sent by a client, must have the effect that it has on
// Socket.IO's own server: packets that only a server or a probe sends are ignored.
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
				r.alive() // the reference ends the session at the next missed heartbeat
			default:
				r.wantClosed()
			}
		})
		t.Run("polling "+c.packet, func(t *testing.T) {
			t.Parallel()
			target := g.session(t, "ann")
			status, body, err := request(http.MethodPost, g.URL+target, nil, c.packet)
			if c.ends {
				wantSessionUnknown(t, g, target)
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

// A NOOP that follows the upgrade packet is ignored. Swift's client sends one.
func TestNoopBehindAnUpgrade(t *testing.T) {
	t.Parallel()
	g := start(t, protocolSettings...)
	target := g.session(t, "ann")
	r := g.probed(t, target)
	r.text("5", "6")
	r.alive()
}

// White space before the JSON text of a packet is accepted, as JSON.parse accepts it.
// Some encoders write it.
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
	r.text(`42 ["leave_room"]`) // Node reads the space as ack id 0
	r.alive()
	r.text("41 ")
	r = g.webSocket(t, "")
	r.wantPrefix("0{")
	r.text(`40 {}`)
	r.wantPrefix(`44{"message":"Authentication error: No token provided"`)
}

// An empty sid parameter is a handshake, not an unknown session. The Go client
// maldikhan/go.socket.io always sends the parameter.
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

// Paths are compared as they were sent, on both ports: a path that http.ServeMux would
// clean and redirect gets 404.
func TestPathsAreNotCleaned(t *testing.T) {
	t.Parallel()
	admin := fmt.Sprint("127.0.0.1:", gatewaytest.FreePort(t))
	g := start(t, "ADMIN_ADDR="+admin)
	notOnReference(t, "it looks at what the path begins with")
	for _, front := range []*gateway{g, at(t, "http://"+admin)} {
		for _, path := range []string{"//", "//x", "//evil.example/", "/../x", "/./health", "/health/.", "/x/../health", "/health//", "/socket.io//", "/socket.io/../health",
			"/events/../health", "/health/", "/ready/"} {
			for _, method := range []string{"GET", "POST", "OPTIONS"} {
				r := front.raw(t)
				r.send(method + " " + path + " HTTP/1.1\r\nHost: gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
				r.wantStatus(404)
			}
		}
	}
}

// OPTIONS / and OPTIONS * are answered with 204, and with 503 while the gateway
// drains. HAProxy's default health check sends them.
func TestHealthCheckByOptions(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it has no answer to that")
	g := start(t, "DRAIN_PERIOD=1500")
	held := g.connected(t, "ann")
	const check = "OPTIONS / HTTP/1.1\r\nHost: gateway\r\n\r\n"
	var kept []*raw // connections with keep-alive; while the gateway drains, each gets at most one more response
	for range 10 {
		r := g.raw(t)
		r.send(check)
		r.wantStatus(204)
		kept = append(kept, r)
	}
	for _, request := range []string{"OPTIONS / HTTP/1.0\r\n\r\n", "OPTIONS * HTTP/1.0\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n"} {
		r := g.raw(t)
		r.send(request)
		r.wantStatus(204)
		r.wantEnd()
	}
	held.alive()
	g.Signal(syscall.SIGTERM)
	gatewaytest.Await(t, "the answer of a gateway that drains", func() bool {
		kept[0].send(check)
		status, _ := kept[0].response()
		if status == 0 && len(kept) == 1 {
			t.Fatal("all connections were closed before a response with 503")
		}
		if status == 0 {
			kept = kept[1:]
		}
		return status == 503
	})
	if code := g.Wait(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// A connection of HTTP/1.0 with keep-alive serves several requests. Without keep-alive
// it is closed after the response: ab -k and old health checkers wait for that.
func TestHTTP10KeepAlive(t *testing.T) {
	t.Parallel()
	g := start(t)
	for _, target := range []string{"/health", engineTarget} {
		if reference && target == "/health" {
			continue // its response has no Content-Length
		}
		const head = " HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"
		r := g.raw(t)
		r.send("GET " + target + head + "GET " + target + head) // pipelined
		for range 2 {
			res, err := http.ReadResponse(r.in, nil)
			if err != nil || res.StatusCode != 200 || !strings.EqualFold(res.Header.Get("Connection"), "keep-alive") {
				t.Fatalf("%s: %v %v", target, res, err)
			}
			if _, err := io.Copy(io.Discard, res.Body); err != nil {
				t.Fatal(err)
			}
		}
		r.send("GET " + target + " HTTP/1.0\r\n\r\n")
		r.wantStatus(200)
		r.wantEnd()
	}
}

func TestHostIsRequired(t *testing.T) {
	t.Parallel()
	g := start(t)
	for _, host := range []string{"", "Host:\r\n", "Host: a/b\r\n", "Host: a b\r\n", "Host: x@y\r\n"} {
		if reference && host != "" {
			continue // the reference accepts any Host
		}
		for _, target := range []string{"/health", engineTarget, "http://gateway/health"} {
			r := g.raw(t)
			r.send("GET " + target + " HTTP/1.1\r\n" + host + "\r\n")
			r.wantStatus(400)
		}
	}
}

// The gateway serves the JavaScript client at /socket.io/, the same files as the npm
// package without its source maps, with CORS headers and an ETag.
func TestClientIsServed(t *testing.T) {
	t.Parallel()
	g := start(t, "NODE_ENV=production", "CONSOLE=false", "CORS_ORIGIN=https://app.example.com")
	notOnReference(t, "it serves its own with serveClient")
	for path, file := range map[string]string{
		"/socket.io/socket.io.js":         "socket.io.min.js",
		"/socket.io/socket.io.min.js":     "socket.io.min.js",
		"/socket.io/socket.io.esm.min.js": "socket.io.esm.min.js",
	} {
		res, body, err := exchange(http.MethodGet, g.URL+path, http.Header{"Origin": {"https://app.example.com"}}, "")
		if err != nil || res.StatusCode != 200 || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/javascript") ||
			res.Header.Get("Access-Control-Allow-Origin") != "https://app.example.com" || res.Header.Get("Cross-Origin-Resource-Policy") != "cross-origin" {
			t.Errorf("%s: %v %v", path, res, err)
		}
		if want := withoutSourceMap(read(t, "js/node_modules/socket.io-client/dist/"+file)); string(body) != want {
			t.Errorf("%s is not %s of js/node_modules: run `make console-client`", path, file)
		}
		if status, _, err := request(http.MethodGet, g.URL+path, http.Header{"If-None-Match": {res.Header.Get("ETag")}}, ""); status != 304 {
			t.Errorf("%s once more: %d %v, want 304", path, status, err)
		}
	}
	if status, _, _ := get(g.URL + "/socket.io/other.js"); status != 404 {
		t.Errorf("GET of an unknown file: status %d, want 404", status)
	}
}

// By default the gateway listens on all IPv4 and IPv6 addresses of the host, as a Node
// server does.
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
			for range 6 { // the limit must count an IPv4 client by its IPv4 address, not by ::ffff:127.0.0.1
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

// JavaScript strings may contain an unpaired surrogate, which JSON.stringify escapes.
// Two room ids that differ only in it are two rooms, and clients of both transports
// get the id unchanged.
func TestUnpairedSurrogates(t *testing.T) {
	t.Parallel()
	g := start(t, protocolSettings...)
	join := func(id int, room string) string {
		return fmt.Sprintf(`42%d["join_room",{"roomType":"conversation","roomId":"%s"}]`, id, room)
	}
	ann := g.connected(t, "ann")
	ann.text(join(1, `a\ud83d`))
	ann.want(`431[{"success":true,"message":"Joined room: conversation:a\ud83d","members":1}]`)
	ben := g.connected(t, "ben")
	ben.text(join(1, `a\ud83e`), join(2, "a\ufffd"))
	ben.want(`431[{"success":true,"message":"Joined room: conversation:a\ud83e","members":1}]`)
	ben.want("432[{\"success\":true,\"message\":\"Joined room: conversation:a\ufffd\",\"members\":1}]")
	target := g.session(t, "cleo")
	g.mustPost(t, target, join(3, `a\uD83D`))
	for got := ""; !strings.Contains(got, `433[{"success":true,"message":"Joined room: conversation:a\ud83d","members":2}]`); {
		got = g.mustPoll(t, target)
	}
	if got := ann.wantPrefix(`42["user_joined",`); !strings.Contains(got, `"userId":"cleo","room":"conversation:a\ud83d"`) {
		t.Errorf("ann got %s, want the room id with its unpaired surrogate", got)
	}
	g.mustPost(t, target, `42["typing",{"roomType":"conversation","roomId":"a\ud83d"}]`)
	if got := ann.wantPrefix(`42["user_typing",`); !strings.Contains(got, `"room":"conversation:a\ud83d"`) {
		t.Errorf("ann got %s, want the room id with its unpaired surrogate", got)
	}
}
