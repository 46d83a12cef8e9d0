package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// slowBody is what a slow POST sends at once, of the million bytes that it has
// announced.
const slowBody = 900_000

// httpRows are sent by anybody who can open a TCP connection.
var httpRows = []*row{
	{
		name: "slow-heads", setup: defaults, length: 5 * time.Second, attack: slowHeads,
		threat: "300 connections that send a request head line by line, without end",
		stops:  "HEAD_TIMEOUT (10 s; here 2 s)",
		moved:  []string{"bad_requests_total"},
	},
	{
		name: "slow-bodies", setup: defaults, length: 4 * time.Second, attack: slowBodies,
		threat: "300 POSTs of which 900 KB come and then a byte now and then: 270 MB held",
		stops:  "MAX_TOTAL_PENDING_BYTES (a quarter of GOMEMLIMIT: 64 MiB); 30 s for a body",
		moved:  []string{"shed_total"},
	},
	{
		name: "dripping-chunks", setup: defaults, attack: drippingChunks,
		threat: "40 chunked bodies of 600 KB that go on in chunks of one byte, each a packet",
		stops:  "a body in chunks is read once; 30 s for a body",
	},
	{
		name: "large-heads", setup: defaults, attack: largeHeads,
		threat: "heads of 20 KB, heads without end, thousands of header lines",
		stops:  "MAX_HEAD_SIZE (16384)",
		moved:  []string{"bad_requests_total"},
	},
	{
		name: "smuggling", setup: defaults, attack: smuggling,
		threat: "requests whose length can be read in two ways, with a second request inside",
		stops:  "codec refuses what is ambiguous, and closes",
		moved:  []string{"bad_requests_total"},
	},
	{
		name: "malformed-http", setup: defaults, attack: malformedHTTP,
		threat: "the fuzz corpora and what the tests call malformed, as HTTP and as bodies of a session",
		stops:  "codec; a session that sends them ends",
		moved:  []string{"bad_requests_total", `sessions_closed_total{reason="parse_error"}`},
	},
	{
		name: "request-flood", setup: defaults, attack: requestFlood,
		threat: "pipelined requests for /health, /metrics and nothing, on 20 connections",
		stops:  "16 batches at once off the loops, 256 in all, /health apart",
	},
	{
		name: "poll-flood", setup: defaults, attack: pollFlood,
		threat: "10 connections that pipeline polls of a session that there is not, 60,000 a second in all",
		stops:  "16 requests of a client a turn, 1 MB of them waiting",
		moved:  []string{"bad_requests_total"},
	},
	{
		name: "publish-forgery", setup: defaults, attack: publishForgery,
		threat: "POST /events without a token, with wrong ones, with bodies of 1 MB",
		stops:  "PUBLISH_TOKEN, compared in constant time; MAX_HTTP_BUFFER_SIZE (1000000)",
		moved:  []string{"bad_requests_total"}, still: []string{"broadcasts_total"},
	},
	{
		name: "sid-guessing", setup: defaults, attack: sidGuessing,
		threat: "polls, posts and WebSockets for sessions of others, their ids guessed",
		stops:  "120 random bits in a session id",
		moved:  []string{"bad_requests_total"}, still: []string{`handshakes_total{transport="websocket"}`},
	},
	{
		name: "foreign-origins", setup: defaults, attack: foreignOrigins,
		threat: "handshakes from web pages of others, by WebSocket and by long-polling",
		stops:  "CORS_ORIGIN",
		moved:  []string{`connections_refused_total{reason="origin"}`},
		still:  []string{`handshakes_total{transport="websocket"}`, `handshakes_total{transport="polling"}`},
	},
	{
		name: "resets", setup: defaults, attack: resets,
		threat: "connections reset before, in the middle of, and after a handshake",
		stops:  "nothing is kept of them",
	},
}

func slowHeads(a *attack) {
	const n, perSecond = 300, 300
	a.pace(perSecond, func(i int) bool {
		if f := a.dial(i); f != nil {
			f.readInBackground()
			go func() {
				f.send("GET " + pollingPath + " HTTP/1.1\r\n")
				for a.sleep(250*time.Millisecond) && f.send("X-Drip: 1\r\n") {
					a.tally("lines", 1)
				}
			}()
		}
		return i+1 < n
	})
	a.await("a head that does not end is refused", func() bool { return a.closed.Load() == a.opened.Load() })
}

func slowBodies(a *attack) {
	const n, perSecond = 300, 150
	part := strings.Repeat("4", slowBody)
	a.pace(perSecond, func(i int) bool {
		if f := a.dial(i); f != nil {
			f.readInBackground()
			go func() {
				f.send("POST " + pollingPath + " HTTP/1.1\r\nHost: gateway\r\nContent-Length: 1000000\r\n\r\n")
				for next := part; f.send(next) && a.sleep(200*time.Millisecond); next = "4" {
					a.tally("pieces", 1)
				}
			}()
		}
		return i+1 < n
	})
}

func drippingChunks(a *attack) {
	const n, perSecond, size = 40, 50, 600_000
	parallel(n, func(k int) {
		f := a.dial(k)
		if f == nil {
			return
		}
		f.readInBackground()
		f.send("POST " + pollingPath + " HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\r\n")
		f.send(fmt.Sprintf("%x\r\n%s\r\n", size, strings.Repeat("4", size)))
		a.pace(perSecond, func(int) bool {
			a.tally("chunks", 1)
			return f.send("1\r\n4\r\n")
		})
	})
}

func largeHeads(a *attack) {
	heads := []string{
		get("/health", "X-Large: "+strings.Repeat("x", 20_000)),
		"GET /" + strings.Repeat("x", 100_000),
		"GET /health HTTP/1.1\r\n" + strings.Repeat("a: b\r\n", 5000) + "\r\n",
	}
	a.eachConnection(300, func(i int, f *attacker) {
		if status, _ := f.request(heads[i%len(heads)]); status != 0 && status != http.StatusRequestHeaderFieldsTooLarge {
			a.problem("a head over the limit is answered with %d", status)
		}
	})
}

// ambiguous is what a proxy in front and the gateway might cut in different
// places. Each is followed by a request for smuggledPath.
var ambiguous = []string{
	"POST /x HTTP/1.1\r\nHost: g\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX",
	"POST /x HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n1e\r\n",
	"POST /x HTTP/1.1\r\nHost: g\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n",
	"POST /x HTTP/1.1\r\nHost: g\r\nContent-Length: 0, 44\r\n\r\n",
	"POST /x HTTP/1.1\r\nHost: g\r\nContent-Length: +0\r\n\r\n",
	"POST /x HTTP/1.1\r\nHost: g\r\nContent-Length : 0\r\n\r\n",
	"POST /x HTTP/1.1\r\nHost: g\r\nContent-Length:\x0b0\r\n\r\n",
	"POST /x HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
	"POST /x HTTP/1.1\r\nHost: g\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
	"POST /x HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
	"POST /x HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n\r\n0\r\n\r\n",
	"POST /x HTTP/1.1\r\nHost: g\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
	"POST /x HTTP/1.0\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"POST /x HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n",
	"POST /x HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n-0\r\n\r\n",
	"POST /x HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n1\nx\n0\n\n",
	"GET /x HTTP/1.1\r\nHost: g\r\nX-A: b\rContent-Length: 0\r\n\r\n",
	"GET /x HTTP/1.1\nHost: g\nContent-Length: 44\n\n",
	"GET /x HTTP/1.1\r\n Content-Length: 44\r\nHost: g\r\n\r\n",
	"GET /x HTTP/1.1\r\nHost: g\r\nHost: h\r\nContent-Length: 0\x00\r\n\r\n",
}

// smuggledPath is not there: whoever reads the request is answered with
// smuggledAnswer.
const (
	smuggledPath   = "/smuggled"
	smuggledAnswer = `"path":"/smuggled"`
)

func smuggling(a *attack) {
	a.eachConnection(400, func(i int, f *attacker) {
		f.setTimeout(200 * time.Millisecond)
		request := ambiguous[i%len(ambiguous)]
		status, body := f.request(request + get(smuggledPath))
		for ; status != 0; status, body = f.response() {
			if strings.Contains(body, smuggledAnswer) {
				a.problem("a request was smuggled past %q", request)
			}
		}
	})
}

func malformedHTTP(a *attack) {
	a.eachConnection(400, func(i int, f *attacker) {
		f.setTimeout(200 * time.Millisecond)
		sample := a.samples[i/2%len(a.samples)]
		if i%2 == 0 {
			f.request(sample + "\r\n\r\n")
			return
		}
		_, body := f.request(get(pollingPath))
		if _, rest, ok := strings.Cut(body, `"sid":"`); ok {
			sid, _, _ := strings.Cut(rest, `"`)
			f.request(post(pollingPath+"&sid="+sid, sample))
		}
	})
}

func requestFlood(a *attack) {
	const n, perSecond = 20, 10 // of batches
	batch := strings.Repeat(get("/nothing"), 5) + strings.Repeat(get("/metrics"), 2) + get("/health")
	parallel(n, func(k int) {
		f := a.dial(k)
		if f == nil {
			return
		}
		f.readInBackground()
		a.pace(perSecond, func(int) bool {
			a.tally("requests", 8)
			return f.send(batch)
		})
	})
}

func pollFlood(a *attack) {
	const n, perSecond, each = 10, 20, 300
	batch := strings.Repeat(get(pollingPath+"&sid="+strings.Repeat("A", 22)), each)
	parallel(n, func(k int) {
		f := a.dial(k)
		if f == nil {
			return
		}
		f.readInBackground()
		a.pace(perSecond, func(int) bool {
			a.tally("requests", each)
			return f.send(batch)
		})
	})
}

func publishForgery(a *attack) {
	wrong := []string{"", "Bearer ", "Bearer " + publishToken[:len(publishToken)-1], "Bearer " + publishToken + "x", "Basic " + publishToken, publishToken}
	a.eachConnection(400, func(i int, f *attacker) {
		body := `{"conversationId":"bench-1","message":"forged"}`
		if i%20 == 0 {
			body = strings.Repeat(" ", 900_000) + body
		}
		status, answer := f.request(post("/events/message.sent", body, "Authorization: "+wrong[i%len(wrong)]))
		if status == http.StatusAccepted || status == http.StatusOK {
			a.problem("published with %q: %s", wrong[i%len(wrong)], answer)
		}
	})
}

func sidGuessing(a *attack) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	a.eachConnection(500, func(i int, f *attacker) {
		sid := make([]byte, 22)
		sid[0], sid[1] = 'A', "AB"[i%2] // loop 0 or 1
		for j := range sid[2:] {
			sid[2+j] = alphabet[rand.IntN(len(alphabet))]
		}
		request := []string{
			get(pollingPath + "&sid=" + string(sid)),
			post(pollingPath+"&sid="+string(sid), "41"),
			handshake(socketPath + "&sid=" + string(sid)),
		}[i%3]
		if status, body := f.request(request); status < 400 {
			a.problem("a guessed session id is answered with %d %s", status, body)
		}
	})
}

func foreignOrigins(a *attack) {
	foreign := []string{"https://evil.example", "http://app.example", "https://app.example.evil.example", "null", "https://app.example:444", "file://"}
	a.eachConnection(500, func(i int, f *attacker) {
		origin := foreign[i%len(foreign)]
		if status, _ := f.request(get(pollingPath, "Origin: "+origin)); status != 403 && status != 0 {
			a.problem("a session was opened for the origin %s: %d", origin, status)
		}
		if f.webSocket("Origin: " + origin) {
			a.problem("a WebSocket was opened for the origin %s", origin)
		}
	})
}

func resets(a *attack) {
	a.eachConnection(600, func(i int, f *attacker) {
		switch i % 4 {
		case 1:
			f.send("GET " + socketPath + " HTTP/1.1\r\nHost: g")
		case 2:
			f.send(handshake(socketPath))
		case 3:
			f.connect(attackerName(i))
		}
		f.reset()
	})
}
