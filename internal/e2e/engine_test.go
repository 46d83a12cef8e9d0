package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/testkit"
)

// Tests of the Engine.IO v4 and Socket.IO v5 protocols, packet by packet.

const engineTarget = "/socket.io/?EIO=4&transport=polling"

// protocolSettings make heartbeats frequent and the time to CONNECT short.
var protocolSettings = []string{"PING_INTERVAL=300", "PING_TIMEOUT=5000", "CONNECT_TIMEOUT=5000"}

// openPolling opens a polling session and returns the request target of its polls and
// POSTs.
func (g *gateway) openPolling(t *testing.T) string {
	t.Helper()
	packet := g.mustPoll(t, engineTarget)
	var open struct{ SID string }
	if err := json.Unmarshal([]byte(packet[1:]), &open); err != nil || packet[0] != '0' {
		t.Fatalf("packet %s, want an open packet", packet)
	}
	return engineTarget + "&sid=" + open.SID
}

func (g *gateway) mustPoll(t *testing.T, target string) string {
	t.Helper()
	status, body, err := get(g.URL + target)
	if status != http.StatusOK || len(body) == 0 {
		t.Fatalf("poll: %d %s %v, want 200 with packets", status, body, err)
	}
	return string(body)
}

func (g *gateway) mustPost(t *testing.T, target, body string) {
	t.Helper()
	status, answer, err := request(http.MethodPost, g.URL+target, nil, body)
	if status != http.StatusOK || string(answer) != "ok" {
		t.Fatalf("POST: %d %s %v, want 200 with ok", status, answer, err)
	}
}

func wantOpen(t *testing.T, packet string, upgrades ...any) {
	t.Helper()
	if !strings.HasPrefix(packet, "0") {
		t.Fatalf("packet %s, want an open packet", packet)
	}
	var open map[string]any
	if err := json.Unmarshal([]byte(packet[1:]), &open); err != nil {
		t.Fatal(err)
	}
	if sid, _ := open["sid"].(string); len(sid) < 16 {
		t.Errorf("sid %q, want 16 characters or more", open["sid"])
	}
	delete(open, "sid")
	want := map[string]any{"upgrades": append([]any{}, upgrades...), "pingInterval": 300.0, "pingTimeout": 5000.0, "maxPayload": 1e6}
	if !reflect.DeepEqual(open, want) {
		t.Errorf("open packet has %v, want %v", open, want)
	}
}

func TestEngineHandshake(t *testing.T) {
	t.Parallel()
	g := start(t, protocolSettings...)
	t.Run("polling", func(t *testing.T) {
		res, body, err := exchange(http.MethodGet, g.URL+engineTarget, nil, "")
		if err != nil || res.StatusCode != 200 {
			t.Fatal(res, err)
		}
		if got := strings.ToLower(res.Header.Get("Content-Type")); got != "text/plain; charset=utf-8" {
			t.Errorf("content type %q, want text/plain in UTF-8", got)
		}
		if got := res.Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("Cache-Control %q, want no-store", got)
		}
		wantOpen(t, string(body), "websocket")
	})
	t.Run("websocket", func(t *testing.T) {
		wantOpen(t, g.webSocket(t, "").wantPrefix("0"))
	})
	refusals := []struct {
		name, method, query string
		code                int
		webSocket           bool // also try it as a WebSocket handshake
	}{
		{"no EIO", "GET", "transport=polling", 5, true},
		{"EIO that is no number", "GET", "EIO=abc&transport=polling", 5, true},
		{"EIO 3", "GET", "EIO=3&transport=polling", 5, true},
		{"no transport", "GET", "EIO=4", 0, false},
		{"unknown transport", "GET", "EIO=4&transport=abc", 0, false},
		{"inherited name as transport", "GET", "EIO=4&transport=constructor", 0, false},
		{"POST without a session", "POST", "EIO=4&transport=polling", 2, false},
		{"PUT", "PUT", "EIO=4&transport=polling", 2, false},
		{"unknown session", "GET", "EIO=4&transport=polling&sid=abcdefghijklmnopqrst", 1, true},
		{"POST to an unknown session", "POST", "EIO=4&transport=polling&sid=abcdefghijklmnopqrst", 1, false},
	}
	for _, c := range refusals {
		t.Run(c.name, func(t *testing.T) {
			status, body, err := request(c.method, g.URL+"/socket.io/?"+c.query, nil, "")
			var refusal struct {
				Code    *int
				Message string
			}
			if jsonErr := json.Unmarshal(body, &refusal); status != 400 || jsonErr != nil || refusal.Code == nil || *refusal.Code != c.code || refusal.Message == "" {
				t.Errorf("%d %s %v, want 400 with code %d", status, body, err, c.code)
			}
			query := strings.Replace(c.query, "polling", "websocket", 1)
			if status, body := g.raw(t).handshake("/socket.io/?" + query); c.webSocket && status != 400 && !(reference && status == 101) {
				t.Errorf("websocket: %d %s, want 400", status, body)
			}
		})
	}
}

func TestEnginePolling(t *testing.T) {
	t.Parallel()
	g := start(t, protocolSettings...)
	ack := func(id int) string {
		return fmt.Sprintf(`42%d["join_room",{"roomType":"conversation","roomId":"%d"}]`, id, id)
	}
	t.Run("packets of one payload are handled and answered in order", func(t *testing.T) {
		target := g.session(t, "ann")
		var packets []string
		for i := range 20 {
			packets = append(packets, ack(i))
		}
		g.mustPost(t, target, strings.Join(packets, "\x1e"))
		var got []string
		for len(got) < 20 {
			for _, p := range strings.Split(g.mustPoll(t, target), "\x1e") {
				if strings.HasPrefix(p, "43") {
					got = append(got, p)
				}
			}
		}
		for i, p := range got {
			if want := fmt.Sprintf(`43%d[{"success":true,"message":"Joined room: conversation:%d","members":1}]`, i, i); p != want {
				t.Errorf("packet %s, want %s", p, want)
			}
		}
	})
	t.Run("binary packets are base64", func(t *testing.T) {
		target := g.session(t, "ann")
		g.mustPost(t, target, `451-7["join_room",{"_placeholder":true,"num":0}]`+"\x1ebAQIDBA==\x1e"+ack(8))
		if got := g.mustPoll(t, target); !strings.HasPrefix(got, `437[{"error":`) || !strings.Contains(got, "\x1e438[") {
			t.Errorf("poll %s, want an error for packet 7 and an ack for packet 8", got)
		}
	})
	t.Run("a poll waits for a packet", func(t *testing.T) {
		target := g.session(t, "ann")
		if got := g.mustPoll(t, target); got != "2" {
			t.Errorf("poll %s, want the next ping", got)
		}
	})
	t.Run("a second poll ends the session", func(t *testing.T) {
		target := g.session(t, "ann")
		first := g.raw(t)
		first.send("GET " + target + " HTTP/1.1\r\nHost: gateway\r\n\r\n")
		gatewaytest.Await(t, "the second poll to be refused", func() bool {
			status, _, err := get(g.URL + target)
			if err != nil {
				t.Fatal(err)
			}
			return status == 400 || status == 500 // the first poll may not have arrived yet
		})
		first.wantStatus(200, 400, 500)
		wantSessionUnknown(t, g, target)
	})
	t.Run("the client closes", func(t *testing.T) {
		target := g.session(t, "ann")
		poll := g.raw(t)
		poll.send("GET " + target + " HTTP/1.1\r\nHost: gateway\r\n\r\n")
		g.mustPost(t, target, "1")
		if body := poll.wantStatus(200, 400); body != "6" && body != "2" && !strings.Contains(body, `"code":1`) {
			t.Errorf("the poll under way got %q, want 6", body)
		}
		wantSessionUnknown(t, g, target)
	})
}

func TestEngineHeartbeat(t *testing.T) {
	testkit.Slow(t, "it waits 30 s for heartbeats")
	t.Parallel()
	g := start(t, "PING_INTERVAL=300", "PING_TIMEOUT=5000")
	const pings = 18 // takes longer than PING_TIMEOUT
	t.Run("polling", func(t *testing.T) {
		t.Parallel()
		target := g.session(t, "ann")
		for range pings {
			if got := g.mustPoll(t, target); got != "2" {
				t.Fatalf("poll %s, want a ping", got)
			}
			g.mustPost(t, target, "3")
		}
	})
	t.Run("polling timeout", func(t *testing.T) {
		t.Parallel()
		target := g.session(t, "ann")
		gatewaytest.Await(t, "the session to end", func() bool {
			status, body, err := get(g.URL + target)
			if err != nil {
				t.Fatal(err)
			}
			return status == 400 && strings.Contains(string(body), `"code":1`)
		})
	})
	t.Run("websocket", func(t *testing.T) {
		t.Parallel()
		r := g.connected(t, "ann")
		for range pings {
			r.want("2")
			r.text("3")
		}
		r.alive()
	})
	t.Run("websocket timeout", func(t *testing.T) {
		t.Parallel()
		r := g.connected(t, "ann")
		r.want("2")
		r.wantClosed()
	})
	t.Run("extra pongs do not delay the timeout", func(t *testing.T) {
		t.Parallel()
		r := g.connected(t, "ann")
		r.text("3", "3", "3")
		r.want("2")
		r.wantClosed()
	})
}

// probed opens a WebSocket for a polling session and exchanges the probe packets.
func (g *gateway) probed(t *testing.T, target string) *raw {
	t.Helper()
	_, sid, _ := strings.Cut(target, "&sid=")
	r := g.webSocket(t, "&sid="+sid)
	r.text("2probe")
	r.want("3probe")
	return r
}

func TestEngineUpgrade(t *testing.T) {
	t.Parallel()
	g := start(t, "PING_INTERVAL=60000")
	t.Run("a waiting poll is answered", func(t *testing.T) {
		target := g.session(t, "ann")
		poll := g.raw(t)
		poll.send("GET " + target + " HTTP/1.1\r\nHost: gateway\r\n\r\n")
		r := g.probed(t, target)
		if got := poll.wantStatus(200); got != "6" {
			t.Errorf("poll %q, want 6", got)
		}
		r.text("5")
		r.alive()
	})
	t.Run("a poll after the probe is answered", func(t *testing.T) {
		target := g.session(t, "ann")
		r := g.probed(t, target)
		if got := g.mustPoll(t, target); got != "6" {
			t.Errorf("poll %q, want 6", got)
		}
		r.text("5")
		r.alive()
	})
	t.Run("packets between probe and upgrade are kept", func(t *testing.T) {
		target := g.session(t, "ann")
		r := g.probed(t, target)
		g.mustPost(t, target, `421["leave_room",{"roomType":"conversation","roomId":"1"}]`)
		r.text("5")
		r.wantPrefix(`431[{"success":true`)
	})
	t.Run("polls after the upgrade are refused", func(t *testing.T) {
		target := g.session(t, "ann")
		r := g.probed(t, target)
		r.text("5")
		r.alive()
		for _, method := range []string{"GET", "POST"} {
			if status, body, err := request(method, g.URL+target, nil, "3"); status != 400 {
				t.Errorf("%s: %d %s %v, want 400", method, status, body, err)
			}
		}
		r.alive()
	})
	t.Run("a second WebSocket after the upgrade is refused", func(t *testing.T) {
		target := g.session(t, "ann")
		r := g.probed(t, target)
		r.text("5")
		r.alive()
		_, sid, _ := strings.Cut(target, "&sid=")
		second := g.raw(t)
		if status, _ := second.handshake("/socket.io/?EIO=4&transport=websocket&sid=" + sid); status == 101 {
			second.wantClosed()
		}
		r.alive()
	})
	t.Run("an abandoned probe leaves the session polling", func(t *testing.T) {
		target := g.session(t, "ann")
		r := g.probed(t, target)
		r.conn.Close()
		g.mustPost(t, target, `421["leave_room",{"roomType":"conversation","roomId":"1"}]`)
		for got := "6"; !strings.Contains(got, "431["); {
			got = g.mustPoll(t, target)
		}
		g.probed(t, target).text("5")
	})
	t.Run("a wrong probe is closed", func(t *testing.T) {
		target := g.session(t, "ann")
		_, sid, _ := strings.Cut(target, "&sid=")
		r := g.webSocket(t, "&sid="+sid)
		r.text(`42["join_room"]`)
		r.wantClosed()
		g.mustPost(t, target, "3")
	})
}
