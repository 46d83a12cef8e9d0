package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/gobwas/ws"
)

// frameRows are sent by anybody who can open a WebSocket; most need no token.
var frameRows = []*row{
	{
		name: "malformed-frames", setup: defaults, attack: malformedFrames,
		threat: "the fuzz corpora and what the tests call malformed, as frames, packets and events of a connected socket",
		stops:  "codec; the session ends with 1002, 1007 or 1009",
		moved:  []string{`sessions_closed_total{reason="parse_error"}`, `sessions_closed_total{reason="too_large"}`},
	},
	{
		name: "giant-frames", setup: defaults, attack: giantFrames,
		threat: "frames that announce up to 2^62 bytes, and messages just under the limit, of nested arrays",
		stops:  "MAX_HTTP_BUFFER_SIZE (1000000), checked in the header; 512 levels of JSON",
		moved:  []string{`sessions_closed_total{reason="too_large"}`},
	},
	{
		name: "fragments", setup: defaults, length: 4 * time.Second, attack: fragments,
		threat: "300 messages in fragments without end, without a token: 900 KB each, then empty ones",
		stops:  "MAX_TOTAL_PENDING_BYTES (a quarter of GOMEMLIMIT: 64 MiB), MAX_HTTP_BUFFER_SIZE",
		moved:  []string{"shed_total"},
	},
	{
		name: "ping-flood", setup: defaults, attack: pingFlood,
		threat: "10 sockets that send nothing but pings, pongs and empty fragments, at half of the rate allowed",
		stops:  "the last of several pings is answered; 256 frames of a client a turn; MAX_BYTES_PER_SECOND (1 MiB)",
	},
	{
		name: "byte-flood", setup: defaults, attack: byteFlood,
		threat: "10 sockets that send 100 KB messages as fast as they can",
		stops:  "MAX_BYTES_PER_SECOND (1 MiB, four times as many at once)",
		moved:  []string{`sessions_closed_total{reason="too_fast"}`},
	},
	{
		name: "ack-flood", setup: defaults, attack: ackFlood,
		threat: "10 sockets with acks that nobody asked for, and CONNECTs to namespaces that there are not",
		stops:  "acks are dropped; MAX_BYTES_PER_SECOND, MAX_PENDING_BYTES",
	},
	{
		name: "half-upgrades", setup: defaults, attack: halfUpgrades,
		threat: "polling sessions opened and left, some with a WebSocket that probes and stops",
		stops:  "CONNECT_TIMEOUT (45 s; here 5 s), 10 s for an upgrade",
	},
	{
		name: "token-guessing", setup: defaults, attack: tokenGuessing,
		threat: "sockets that try one token after the other: no signature, wrong ones, alg none, 100 KB",
		stops:  "20 tries a session (a CONNECT costs as much as 50 events), then it ends",
		moved:  []string{`connects_total{result="refused"}`, `sessions_closed_total{reason="too_fast"}`},
		still:  []string{`connects_total{result="ok"}`},
	},
}

func malformedFrames(a *attack) {
	a.eachConnection(300, func(i int, f *attacker) {
		if !f.connect(attackerName(i)) {
			return
		}
		sample := a.samples[i/4%len(a.samples)]
		switch i % 4 {
		case 0:
			f.send(sample)
		case 1:
			f.send(text(sample))
		case 2:
			f.send(text("4" + sample))
		case 3:
			f.send(text(`42["join_room",`+sample+`]`) + frame(ws.OpBinary, true, sample))
		}
		// Whatever it was, the socket ends with what follows.
		f.send(frameHeader(ws.OpText, true, 1<<40))
		f.readAll()
	})
}

func giantFrames(a *attack) {
	const most = 999_000
	deep := text(`42["x",` + strings.Repeat("[", most/2) + strings.Repeat("]", most/2) + `]`)
	wide := text(`42["x",` + strings.Repeat("[],", most/3) + `0]`)
	long := text(`42["x","` + strings.Repeat(`\u0041`, most/6) + `"]`)
	giants := []string{
		frameHeader(ws.OpText, true, 10_000_000) + "4", frameHeader(ws.OpBinary, true, 1<<62), deep,
		frameHeader(ws.OpText, false, 1_000_001), wide, long,
	}
	a.eachConnection(40, func(i int, f *attacker) {
		if f.connect(attackerName(i)) && f.send(giants[i%len(giants)]) {
			f.send(frameHeader(ws.OpText, true, 1<<40))
			f.readAll()
		}
	})
}

func fragments(a *attack) {
	const n, perSecond, part, parts = 300, 150, 90_000, 10
	fragment := frame(ws.OpContinuation, false, strings.Repeat("4", part))
	a.pace(perSecond, func(i int) bool {
		if f := a.dial(i); f != nil && f.webSocket() {
			f.readInBackground()
			go func() {
				f.send(frame(ws.OpText, false, "4"))
				for range parts {
					if !f.send(fragment) {
						return
					}
				}
				for a.sleep(100*time.Millisecond) && f.send(frame(ws.OpContinuation, false, "")) {
					a.tally("empty fragments", 1)
				}
			}()
		}
		return i+1 < n
	})
}

// flood has n sockets send a batch over and over, at a rate of bytes a second
// each.
func (a *attack) flood(n int, bytesPerSecond float64, what, batch string, each int) {
	parallel(n, func(k int) {
		f := a.socket(k, attackerName(k))
		if f == nil {
			return
		}
		a.pace(bytesPerSecond/float64(len(batch)), func(int) bool {
			a.tally(what, each)
			return f.send(batch)
		})
	})
}

func pingFlood(a *attack) {
	const each = 100
	a.flood(10, 500_000, "frames", frame(ws.OpText, false, "3")+
		strings.Repeat(frame(ws.OpPing, true, "")+frame(ws.OpPong, true, "")+frame(ws.OpContinuation, false, ""), each)+
		frame(ws.OpPing, true, strings.Repeat("x", 125))+frame(ws.OpContinuation, true, ""), 3*each+3)
}

func byteFlood(a *attack) {
	const perSecond = 40 // in all
	message := text(`42["x","` + strings.Repeat("x", 100_000) + `"]`)
	parallel(10, func(k int) {
		var f *attacker
		a.pace(perSecond, func(int) bool {
			if f == nil {
				f = a.socket(k, attackerName(k))
			}
			if f != nil && !f.send(message) {
				f.close()
				f = nil
			}
			a.tally("messages", 1)
			return true
		})
	})
}

func ackFlood(a *attack) {
	const each = 100
	a.flood(10, 300_000, "packets", strings.Repeat(text(`43999["x"]`)+text("40/x,{}"), each), 2*each)
}

func halfUpgrades(a *attack) {
	a.paced(600, func(i int) {
		f := a.dial(i % addresses)
		if f == nil {
			return
		}
		_, body := f.request(get(pollingPath))
		_, rest, ok := strings.Cut(body, `"sid":"`)
		a.tally("sessions", 1)
		f.close()
		if sid, _, _ := strings.Cut(rest, `"`); ok && i%4 == 0 {
			if probe := a.dial(i % addresses); probe != nil {
				probe.request(handshake(socketPath + "&sid=" + sid))
				probe.send(text("2probe"))
			}
		}
	})
}

func tokenGuessing(a *attack) {
	good := a.token("attacker")
	payload := strings.Split(good, ".")[1]
	guesses := []string{
		good[:len(good)-2] + "xx", good + "x", strings.TrimSuffix(good, good[strings.LastIndex(good, ".")+1:]),
		"eyJhbGciOiJub25lIn0." + payload + ".", "eyJhbGciOiJSUzI1NiJ9." + payload + ".AAAA", "..", "x", "", payload,
		strings.Repeat("x", 100_000), good + "." + good,
	}
	a.eachConnection(60, func(i int, f *attacker) {
		if !f.webSocket() {
			return
		}
		for n := range 25 {
			a.tally("tries", 1)
			if !f.send(text(fmt.Sprintf(`40{"token":"%s"}`, guesses[(i+n)%len(guesses)]))) {
				break
			}
		}
		f.readAll()
	})
}
