package e2e

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/testkit"
)

func TestSocketConnect(t *testing.T) {
	t.Parallel()
	g := start(t, protocolSettings...)
	open := func(t *testing.T) *raw {
		r := g.webSocket(t, "")
		r.wantPrefix("0{")
		return r
	}
	t.Run("answers with a socket id", func(t *testing.T) {
		r := open(t)
		r.text(`40{"token":"` + gatewaytest.Token(t, "ann") + `"}`)
		var answer map[string]any
		if err := json.Unmarshal([]byte(r.wantPrefix(`40{`)[2:]), &answer); err != nil || len(answer) != 1 {
			t.Errorf("answer %v %v, want one field", answer, err)
		}
		if sid, _ := answer["sid"].(string); len(sid) < 16 {
			t.Errorf("answer %v, want a sid", answer)
		}
	})
	t.Run("refuses without a token", func(t *testing.T) {
		r := open(t)
		r.text("40")
		r.want(`44{"message":"Authentication error: No token provided"}`)
	})
	t.Run("refuses another namespace", func(t *testing.T) {
		for _, namespace := range []string{"/random", "/random,", "/random,{}"} {
			r := open(t)
			r.text("40" + namespace)
			r.want(`44/random,{"message":"Invalid namespace"}`)
		}
	})
	t.Run("closes on an invalid packet", func(t *testing.T) {
		r := open(t)
		r.text("4abc")
		r.wantClosed(protocolError)
	})
	t.Run("closes clients that send no CONNECT", func(t *testing.T) {
		testkit.Slow(t, "it waits 5 s for the connect timeout")
		r := open(t)
		for { // heartbeats must not prolong the time to connect
			op, payload, err := r.next()
			if err != nil {
				r.wantEnd()
				return
			}
			if op.IsControl() {
				r.send(frame(op, true, payload))
				r.wantEnd()
				return
			}
			r.text("3")
		}
	})
	t.Run("closes refused clients that do not try again", func(t *testing.T) {
		notOnReference(t, "it closes none who has tried")
		testkit.Slow(t, "it waits 5 s for the connect timeout")
		r := open(t)
		r.text("40")
		r.wantPrefix("44")
		r.wantClosed()
	})
	t.Run("accepts CONNECT again after DISCONNECT", func(t *testing.T) {
		r := g.connected(t, "ann")
		r.text("41")
		g.connectedSockets() // gives the reference time: it handles events one turn later than CONNECT
		r.text(`40{"token":"` + gatewaytest.Token(t, "ben") + `"}`)
		r.wantPrefix(`40{"sid":`)
		if got := r.wantPrefix(`42["connected",`); !strings.Contains(got, `"userId":"ben"`) {
			t.Errorf("connected event %s, want the user ben", got)
		}
	})
	t.Run("keeps the connection after DISCONNECT", func(t *testing.T) {
		r := g.connected(t, "ann")
		r.text("41")
		r.want("2")
	})
}

func TestSocketPackets(t *testing.T) {
	t.Parallel()
	g := start(t)
	cases := []struct{ name, sent, want string }{
		{"an ack has its event's id", `42456["typing",{}]`, `43456[{"error":"Missing roomType or roomId"}]`},
		{"an ack id may be 0", `420["typing",{}]`, `430[{"error":"Missing roomType or roomId"}]`},
		{"the main namespace may be named", `42/,5["typing",{}]`, `435[{"error":"Missing roomType or roomId"}]`},
		{"spaces in JSON", `426[ "join_room" , { "roomType" : "conversation" , "roomId" : "1" } ]`, `436[{"success":true,"message":"Joined room: conversation:1","members":1}]`},
		{"escapes in JSON", `427["j\u006fin_room",{"room\u0054ype":"conv\u0065rsation","roomId":"\u00fc\ud83d\ude00"}]`, `437[{"success":true,"message":"Joined room: conversation:ü😀","members":1}]`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := g.connected(t, "ann")
			r.text(c.sent)
			r.want(c.want)
		})
	}
	t.Run("a binary event is acked", func(t *testing.T) {
		r := g.connected(t, "ann")
		r.text(`452-789["join_room",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`)
		r.binary("\x01\x02\x03")
		r.binary("\x04")
		r.wantPrefix(`43789[{"error":`)
	})
	t.Run("a binary ack is ignored", func(t *testing.T) {
		r := g.connected(t, "ann")
		r.text(`461-789[{"_placeholder":true,"num":0}]`)
		r.binary("\x01\x02\x03")
		r.alive()
	})
	t.Run("a DISCONNECT is not answered", func(t *testing.T) {
		r := g.connected(t, "ann")
		r.text("41")
		r.conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		if op, payload, err := r.next(); err == nil {
			t.Errorf("answer to DISCONNECT %x %q, want none", op, payload)
		} else if err == io.EOF {
			t.Error("the connection was closed after DISCONNECT, want it to stay open")
		}
	})
}
