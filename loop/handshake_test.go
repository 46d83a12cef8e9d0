package loop

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/rooms"
)

func TestHandshakes(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	for _, target := range []string{enginePoll, "/socket.io?EIO=4&transport=polling", "/socket.io/?transport=polling&t=abc&b64=1&EIO=4"} {
		r := dial(t, s).do("GET", target, "")
		if r.status != 200 || r.header.Get("Content-Type") != "text/plain; charset=UTF-8" || r.header.Get("Cache-Control") != "no-store" {
			t.Fatalf("%s: %d %v, want 200", target, r.status, r.header)
		}
		o := parseOpen(t, r.body)
		if !slices.Equal(o.Upgrades, []string{"websocket"}) || o.PingInterval != 25_000 || o.PingTimeout != 20_000 || o.MaxPayload != 1_000_000 {
			t.Errorf("%s: open packet %+v, want the configured values and the upgrade to websocket", target, o)
		}
	}
	_, o := openWS(t, s)
	if o.Upgrades == nil || len(o.Upgrades) != 0 || o.PingInterval != 25_000 || o.PingTimeout != 20_000 || o.MaxPayload != 1_000_000 {
		t.Errorf("open packet over WebSocket %+v, want the configured values and no upgrade", o)
	}
	s.onAll(func(*worker, time.Time) {}) // the loops have finished the handshakes
	if st := s.Stats(); st.Sessions != 4 || st.HandshakesPoll != 3 || st.HandshakesWS != 1 || st.WebSockets != 1 {
		t.Errorf("stats %+v, want 3 polling and 1 WebSocket handshakes", st)
	}
}

// Requests that are refused must get the status and the body of the Engine.IO
// server for Node.js.
func TestRefusedRequests(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	const (
		transport  = `{"code":0,"message":"Transport unknown"}`
		sid        = `{"code":1,"message":"Session ID unknown"}`
		method     = `{"code":2,"message":"Bad handshake method"}`
		badRequest = `{"code":3,"message":"Bad request"}`
		version    = `{"code":5,"message":"Unsupported protocol version"}`
	)
	p := openPolling(t, s)
	_, o := openWS(t, s)
	for name, c := range map[string]struct{ method, target, body, headers, want string }{
		"no transport":            {"GET", "/socket.io/?EIO=4", "", "", transport},
		"unknown transport":       {"GET", "/socket.io/?EIO=4&transport=flashsocket", "", "", transport},
		"no query":                {"GET", "/socket.io/", "", "", transport},
		"no version":              {"GET", "/socket.io/?transport=polling", "", "", version},
		"version 3":               {"GET", "/socket.io/?EIO=3&transport=polling", "", "", version},
		"version abc":             {"GET", "/socket.io/?EIO=abc&transport=polling", "", "", version},
		"version 3 on WebSocket":  {"GET", "/socket.io/?EIO=3&transport=websocket", "", webSocketHeaders, version},
		"POST":                    {"POST", enginePoll, "", "", method},
		"PUT":                     {"PUT", enginePoll, "", "", method},
		"DELETE":                  {"DELETE", enginePoll, "", "", method},
		"unknown sid":             {"GET", enginePoll + "&sid=nobody", "", "", sid},
		"unknown sid of ours":     {"GET", enginePoll + "&sid=" + newSID(1), "", "", sid},
		"sid of a loop too many":  {"GET", enginePoll + "&sid=" + newSID(60), "", "", sid},
		"POST with an empty sid":  {"POST", enginePoll + "&sid=", "4x", "", method},
		"POST to an unknown sid":  {"POST", enginePoll + "&sid=" + newSID(0), "4x", "", sid},
		"PUT to a session":        {"PUT", p.target(), "", "", badRequest},
		"POST of binary":          {"POST", p.target(), "4x", "Content-Type: application/octet-stream", badRequest},
		"poll of a WebSocket":     {"GET", enginePoll + "&sid=" + o.SID, "", "", sid},
		"websocket, no upgrade":   {"GET", engineSocket, "", "", badRequest},
		"probe of an unknown sid": {"GET", engineSocket + "&sid=" + newSID(0), "", webSocketHeaders, sid},
		"probe of a WebSocket":    {"GET", engineSocket + "&sid=" + o.SID, "", webSocketHeaders, sid},
	} {
		t.Run(name, func(t *testing.T) {
			var headers []string
			if c.headers != "" {
				headers = append(headers, c.headers)
			}
			r := dial(t, s).do(c.method, c.target, c.body, headers...)
			if r.status != 400 || r.body != c.want || r.header.Get("Content-Type") != "application/json" {
				t.Errorf("%d %s %s, want 400 %s", r.status, r.header.Get("Content-Type"), r.body, c.want)
			}
		})
	}
	p.send("40")
	p.want(`44{"message":"Authentication error: No token provided"}`) // the session still works
}

func TestRefusedWebSockets(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	for name, spoil := range map[string][2]string{
		"version":      {"Version: 13", "Version: 8"},
		"no version":   {"Sec-WebSocket-Version: 13\r\n", ""},
		"short key":    {"dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZQ=="},
		"no key":       {"\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", ""},
		"other":        {"Upgrade: websocket", "Upgrade: h2c"},
		"not asked to": {"Connection: Upgrade", "Connection: keep-alive"},
	} {
		headers := strings.Replace(webSocketHeaders, spoil[0], spoil[1], 1)
		if headers == webSocketHeaders {
			t.Fatalf("%s: the headers are unchanged", name)
		}
		c := dial(t, s)
		if r := c.do("GET", engineSocket, "", headers); r.status != 400 || !strings.HasPrefix(r.body, `{"code":3,`) {
			t.Errorf("%s: %d %s, want 400", name, r.status, r.body)
		}
		if r := c.do("GET", enginePoll, ""); r.status != 200 { // the connection is still usable for HTTP
			t.Errorf("%s: then a handshake by polling: %d %s, want 200", name, r.status, r.body)
		}
	}
	if r := dial(t, s).do("POST", engineSocket, "x", webSocketHeaders); r.status != 400 {
		t.Errorf("POST: %d %s, want 400", r.status, r.body)
	}
}

// The first subprotocol that a client offers must be selected, as by the
// Socket.IO server. Clients fail if none is.
func TestSubprotocol(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	for header, want := range map[string]string{
		"Sec-WebSocket-Protocol: chat":                           "chat",
		"Sec-WebSocket-Protocol: chat.v2 , chat.v1":              "chat.v2",
		"Sec-WebSocket-Protocol: a\r\nsec-websocket-protocol: b": "a",
		"Sec-WebSocket-Protocol:":                                "",
		"X-Header: y":                                            "",
	} {
		for _, target := range []string{engineSocket, engineSocket + "&sid=" + openPolling(t, s).sid} {
			r := dial(t, s).do("GET", target, "", header, webSocketHeaders)
			if got, has := r.header["Sec-Websocket-Protocol"]; r.status != 101 || has != (want != "") || has && got[0] != want {
				t.Errorf("%s: %d %v, want %q", header, r.status, got, want)
			}
		}
	}
	r := dial(t, s).do("GET", engineSocket, "", "Sec-WebSocket-Protocol: a b", webSocketHeaders)
	if r.status != 400 || !strings.Contains(r.body, "sec-websocket-protocol") {
		t.Errorf("an invalid subprotocol: %d %s, want 400", r.status, r.body)
	}
}

// The first frames arrive in one write with the WebSocket handshake. They must
// be handled.
func TestEarlyFrames(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	c := dial(t, s)
	c.send(requestText("GET", engineSocket, "", webSocketHeaders) + frame(true, 1, `40{"token":"ann"}`) + frame(true, 1, "42"+joinEvent("1")))
	if r := c.receive(); r.status != 101 {
		t.Fatalf("%d %s, want 101", r.status, r.body)
	}
	ann := socket{c}
	parseOpen(t, ann.next())
	if got := ann.next(); !strings.HasPrefix(got, `40{"sid":`) {
		t.Errorf("got %s, want the answer to CONNECT", got)
	}
	ann.next()
	testkit.Await(t, "the early join", func() bool { return s.config.Hub.Stats().Members == 2 })
}

func TestTokenOfTheHandshake(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	for header, refused := range map[string]bool{
		"Authorization: Bearer ann":         false,
		"authorization:  bearer \t ann  ":   false,
		"Authorization: Bearer !expired":    true,
		"Authorization: Basic YW5uOmFubg==": true,
		"Authorization: Bearer":             true,
		"X-Authorization: Bearer ann":       true,
	} {
		c, _ := openWS(t, s, header)
		c.text("40")
		if got := c.next(); strings.HasPrefix(got, "44") != refused {
			t.Errorf("%s: CONNECT was answered with %s, want refused %v", header, got, refused)
		}
		get := dial(t, s)
		r := get.do("GET", enginePoll, "", header)
		p := &pollSession{t: t, s: s, sid: parseOpen(t, r.body).SID, get: get, post: dial(t, s)}
		p.send("40")
		if got := p.next(); strings.HasPrefix(got, "44") != refused {
			t.Errorf("%s, by polling: CONNECT was answered with %s, want refused %v", header, got, refused)
		}
	}
}

func TestCORS(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	const mine, evil = "Origin: " + origin, "Origin: http://evil.example"
	c := dial(t, s)

	r := c.do("GET", enginePoll, "", mine)
	if h := r.header; r.status != 200 || h.Get("Access-Control-Allow-Origin") != origin ||
		h.Get("Access-Control-Allow-Credentials") != "true" || h.Get("Vary") != "Origin" {
		t.Errorf("allowed origin: %d %v", r.status, h)
	}
	sid := parseOpen(t, r.body).SID
	if r := dial(t, s).do("POST", enginePoll+"&sid="+sid, "40", mine); r.header.Get("Access-Control-Allow-Origin") != origin {
		t.Errorf("POST: %v", r.header)
	}
	if r := dial(t, s).do("GET", enginePoll+"&sid="+sid, "", mine); r.header.Get("Access-Control-Allow-Origin") != origin {
		t.Errorf("poll: %v", r.header)
	}
	if r := c.do("GET", enginePoll+"&sid=x", "", mine); r.status != 400 || r.header.Get("Access-Control-Allow-Origin") != origin {
		t.Errorf("an error: %d %v, want 400", r.status, r.header) // without the header the page cannot read the error
	}

	cookies := "Cookie: " + strings.Repeat("x", 20<<10)
	for _, head := range []string{requestText("GET", enginePoll, "", mine, cookies), strings.TrimSuffix(requestText("GET", enginePoll, "", mine, cookies), "\r\n\r\n")} {
		c := dial(t, s)
		c.send(head)
		if r := c.receive(); r.status != 431 || r.header.Get("Access-Control-Allow-Origin") != origin {
			t.Errorf("a head too large: %d %v, want 431", r.status, r.header)
		}
	}

	for _, header := range []string{evil, "Origin: null", "Origin: " + origin + ".evil.example", "Origin: https://localhost:3000"} {
		r := c.do("GET", enginePoll, "", header)
		if _, has := r.header["Access-Control-Allow-Origin"]; has || r.status != 403 || r.body != `{"code":4,"message":"Forbidden"}` {
			t.Errorf("%s: %d %v %s, want 403", header, r.status, r.header, r.body)
		}
		ws := dial(t, s).do("GET", engineSocket, "", header, webSocketHeaders)
		if ws.status != 403 || ws.body != `{"code":4,"message":"Forbidden"}` {
			t.Errorf("WebSocket, %s: %d %s, want 403", header, ws.status, ws.body)
		}
		probe := dial(t, s).do("GET", engineSocket+"&sid="+sid, "", header, webSocketHeaders)
		if probe.status != 403 {
			t.Errorf("probe, %s: %d %s, want 403", header, probe.status, probe.body)
		}
	}
	openWS(t, s, mine)
	openWS(t, s) // without Origin, as clients outside browsers

	r = c.do("OPTIONS", enginePoll, "", mine, "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization,x-id")
	if h := r.header; r.status != 204 || r.body != "" || h.Get("Access-Control-Allow-Origin") != origin ||
		h.Get("Access-Control-Allow-Headers") != "authorization,x-id" || !strings.Contains(h.Get("Access-Control-Allow-Methods"), "POST") {
		t.Errorf("preflight: %d %v %q", r.status, h, r.body)
	}
	r = c.do("OPTIONS", enginePoll, "", evil, "Access-Control-Request-Method: POST")
	if _, has := r.header["Access-Control-Allow-Origin"]; has || r.header.Get("Access-Control-Allow-Methods") != "" {
		t.Errorf("preflight of another origin: %d %v, want no CORS headers", r.status, r.header)
	}
	if st := s.Stats(); st.RefusedOrigin != 12 || st.Sessions != 3 {
		t.Errorf("%d refused origins counted, want 12; %d sessions, want 3", st.RefusedOrigin, st.Sessions)
	}
}

func TestAnyOrigin(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.Origins = NewOrigins("*") })
	r := dial(t, s).do("GET", enginePoll, "", "Origin: http://any.example")
	if got := r.header.Get("Access-Control-Allow-Origin"); got != "http://any.example" { // "*" is not allowed with credentials
		t.Errorf("Access-Control-Allow-Origin %q, want the origin of the request", got)
	}
	openWS(t, s, "Origin: http://any.example")
}

// Sessions without a Socket.IO connection must be closed after ConnectTimeout.
func TestUnconnectedSessionsEnd(t *testing.T) {
	t.Parallel()
	s := newServerOf(t, func(_ *Config, r *rooms.Config) { r.ConnectTimeout = 10 * time.Second })
	c, _ := openWS(t, s)
	p := openPolling(t, s)
	ann := connectWS(t, s, "ann")
	s.elapse(9 * time.Second)
	if n := s.Stats().Sessions; n != 3 {
		t.Fatalf("%d sessions before their time, want 3", n)
	}
	s.elapse(11 * time.Second)
	c.wantEnd()
	p.wantUnknown()
	ann.join("1")
	if got := s.Stats().Closed[rooms.ReasonConnectTimeout]; got != 2 {
		t.Errorf("%d sessions closed for connect timeout, want 2", got)
	}
}

// After DISCONNECT the session must be closed after ConnectTimeout, also if no
// heartbeat is due before.
func TestDisconnectedSessionsEnd(t *testing.T) {
	t.Parallel()
	s := newServerOf(t, func(c *Config, r *rooms.Config) {
		c.PingInterval = time.Hour
		r.ConnectTimeout = 10 * time.Second
	})
	c := connectWS(t, s, "ann")
	c.text("41")
	testkit.Await(t, "the socket to leave", func() bool { return s.config.Hub.Stats().Sockets == 0 })
	s.elapse(9 * time.Second)
	c.connect("ann") // connects again
	c.text("41")
	testkit.Await(t, "the socket to leave", func() bool { return s.config.Hub.Stats().Sockets == 0 })
	s.elapse(21 * time.Second)
	c.wantEnd()
}

// Clients send part of a handshake and close. Nothing may be left of their
// connections.
func TestHalfHandshakes(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	whole := requestText("GET", engineSocket, "", webSocketHeaders)
	for _, n := range []int{0, 1, 20, len(whole) - 4, len(whole) - 1} {
		for _, abrupt := range []bool{false, true} {
			c := dial(t, s)
			c.send(whole[:n])
			if abrupt {
				c.reset()
			} else {
				c.conn.Close()
			}
		}
	}
	testkit.Await(t, "the connections to end", func() bool { return s.conns.Load() == 0 && s.Stats().Connections == 0 })
	if n := s.Stats().Sessions; n != 0 {
		t.Errorf("%d sessions, want none", n)
	}
}

// A handshake and a frame arrive byte by byte.
func TestSplitHandshake(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	c := dial(t, s)
	for _, b := range requestText("GET", engineSocket, "", webSocketHeaders) {
		if _, err := io.WriteString(c.conn, string(b)); err != nil {
			t.Fatal(err)
		}
	}
	if r := c.receive(); r.status != 101 {
		t.Fatalf("%d %s, want 101", r.status, r.body)
	}
	ann := socket{c}
	parseOpen(t, ann.next())
	for _, b := range []byte(frame(true, 1, `40{"token":"ann"}`)) {
		ann.send(string([]byte{b}))
	}
	if got := ann.next(); !strings.HasPrefix(got, "40{") {
		t.Errorf("got %s, want the answer to CONNECT", got)
	}
}
