package e2e

import (
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// expectClose returns a case that sends bytes on a connected WebSocket. The gateway must
// close it with one of these codes.
func expectClose(bytes string, codes ...ws.StatusCode) func(t *testing.T, g *gateway) {
	return func(t *testing.T, g *gateway) {
		r := g.connected(t, "eve")
		r.send(bytes)
		r.wantClosed(codes...)
	}
}

// expectOpen returns a case that sends bytes on a connected WebSocket, which must stay
// open.
func expectOpen(bytes ...string) func(t *testing.T, g *gateway) {
	return func(t *testing.T, g *gateway) {
		r := g.connected(t, "eve")
		r.send(bytes...)
		r.alive()
	}
}

var badFrames = []badInput{
	{"unmasked", "", expectClose("\x81\x012", protocolError)},
	{"reserved bit 1", "", expectClose(frameOf(ws.Header{Fin: true, Rsv: ws.Rsv(true, false, false), OpCode: ws.OpText}, "2"), protocolError)},
	{"reserved bit 3", "", expectClose(frameOf(ws.Header{Fin: true, Rsv: ws.Rsv(false, false, true), OpCode: ws.OpText}, "2"), protocolError)},
	{"reserved opcode", "", expectClose(frame(3, true, "2"), protocolError)},
	{"reserved control opcode", "", expectClose(frame(11, true, "2"), protocolError)},
	{"a fragmented ping", "", expectClose(frame(ws.OpPing, false, "x"), protocolError)},
	{"a ping of 126 bytes", "", expectClose(frame(ws.OpPing, true, strings.Repeat("x", 126)), protocolError)},
	{"a continuation frame without a first frame", "", expectClose(frame(ws.OpContinuation, true, "x"), protocolError)},
	{"a message within a fragmented message", "", expectClose(frame(ws.OpText, false, "4")+frame(ws.OpText, true, "2"), protocolError)},
	{"10 MB announced and never sent", "", expectClose("\x81\xff\x00\x00\x00\x00\x00\x98\x96\x80\x01\x02\x03\x04", tooBig)},
	{"one byte too many announced", "", expectClose("\x81\xff\x00\x00\x00\x00\x00\x01\x86\xa1\x01\x02\x03\x04", tooBig)},
	{"2^63 bytes announced", "", expectClose("\x81\xff\x80\x00\x00\x00\x00\x00\x00\x00\x01\x02\x03\x04", tooBig, protocolError)},
	{"fragments summing up over the limit", "", expectClose(frame(ws.OpText, false, strings.Repeat("4", smallLimit/2))+
		frame(ws.OpContinuation, false, strings.Repeat("4", smallLimit/2))+frame(ws.OpContinuation, false, "44"), tooBig)},
	{"text that is not UTF-8", "", expectClose(frame(ws.OpText, true, "42[\"\xff\"]"), badText)},
	{"text that is half a character", "", expectClose(frame(ws.OpText, true, "42[\"\xc3\"]"), badText)},
	{"text that is a surrogate", "", expectClose(frame(ws.OpText, true, "42[\"\xed\xa0\x80\"]"), badText)},
	{"fragments that are not UTF-8", "", expectClose(frame(ws.OpText, false, "42[\"\xc3")+frame(ws.OpContinuation, true, "\"]"), badText)},
	{"fragments split in a character are taken", "", expectOpen(frame(ws.OpText, false, "42[\"\xc3"), frame(ws.OpContinuation, true, "\xbc\"]"))},
	{"empty fragments with pings between are taken", "", expectOpen(frame(ws.OpText, false, ""), frame(ws.OpPing, true, "x"),
		frame(ws.OpContinuation, false, `42["x"`), frame(ws.OpContinuation, true, "]"))},
	{"a close frame of one byte", "", expectClose(frame(ws.OpClose, true, "x"), protocolError)},
	{"a close frame with a reserved code", "", expectClose(frame(ws.OpClose, true, "\x03\xed"), protocolError)},
	{"a close frame that is not UTF-8", "", expectClose(frame(ws.OpClose, true, "\x03\xe8\xff"), badText, protocolError)},
	{"a valid close frame", "", expectClose(frame(ws.OpClose, true, "\x03\xe8bye"), ws.StatusNormalClosure)},
	{"a flood of pings", "", func(t *testing.T, g *gateway) {
		r := g.connected(t, "eve")
		go func() {
			for range 100 {
				r.send(strings.Repeat(frame(ws.OpPing, true, strings.Repeat("x", 100)), 100))
			}
			r.send(frame(ws.OpPing, true, "last"))
		}()
		for {
			op, payload, err := r.next()
			if err != nil || op == ws.OpClose {
				return // the gateway may also close the connection because of the flood
			}
			if op == ws.OpPong && payload == "last" {
				break
			}
		}
		r.alive()
	}},
	{"a flood of pongs and empty frames", "", func(t *testing.T, g *gateway) {
		r := g.connected(t, "eve")
		r.send(strings.Repeat(frame(ws.OpPong, true, ""), 10_000), frame(ws.OpText, false, ""), strings.Repeat(frame(ws.OpContinuation, false, ""), 10_000))
		r.send(frame(ws.OpContinuation, true, `42["x"]`))
		r.alive()
	}},
	{"HTTP after the handshake", "", expectClose("GET / HTTP/1.1\r\nHost: gateway\r\n\r\n", protocolError)},
}

var badEngine = []badInput{
	{"no packet type", "", expectClose(frame(ws.OpText, true, "abc"), protocolError)},
	{"an unknown packet type", "", expectClose(frame(ws.OpText, true, "9"), protocolError)},
	{"an empty packet", "", expectClose(frame(ws.OpText, true, ""), protocolError)},
	{"a ping, which only servers send", "", expectClose(frame(ws.OpText, true, "2"), protocolError)},
	{"an open packet is ignored", "", expectOpen(frame(ws.OpText, true, `0{"sid":"x"}`))},
	{"an upgrade packet is ignored", "", expectOpen(frame(ws.OpText, true, "5"))},
	{"a noop packet is ignored", "", expectOpen(frame(ws.OpText, true, "6"))},
	{"an unrequested pong", "", expectOpen(frame(ws.OpText, true, "3"))},
	{"a close packet", "only its heartbeat ends that", expectClose(frame(ws.OpText, true, "1"))},
	{"a binary message without an announced attachment", "", expectClose(frame(ws.OpBinary, true, "\x01\x02"), protocolError)},
	{"empty binary", "", expectClose(frame(ws.OpBinary, true, ""), protocolError)},
}

// packet returns a case: a Socket.IO packet that must end the connection with a
// protocol error.
func packet(name, text string) badInput {
	return badInput{name, "", expectClose(frame(ws.OpText, true, "4"+text), protocolError)}
}

// event returns a case: join_room with invalid arguments. It must be answered with an
// error if an ack was asked for, and the connection must stay open.
func event(name, args string) badInput {
	return badInput{name, "", func(t *testing.T, g *gateway) {
		r := g.connected(t, "eve")
		r.text(`4212["join_room"`+args+`]`, `42["join_room"`+args+`]`)
		r.wantPrefix(`4312[{"error":"`)
		r.alive()
	}}
}

var badSocket = []badInput{
	packet("an unknown type", "x"),
	packet("a type out of range", "9"),
	packet("an event that is not an array", "2{}"),
	packet("an event without a name", "2[]"),
	packet("an event whose name is an object", "2[{}]"),
	{"an event with no JSON", "it passes it over", expectClose(frame(ws.OpText, true, "42"), protocolError)},
	packet("an event with broken JSON", `2["join_room",{"roomType":`),
	packet("an event with more behind its JSON", `2["join_room"]x`),
	packet("an event with a broken ack id", `2abc["join_room"]`),
	packet("an ack with no array", "31{}"),
	packet("a second CONNECT", `0{"token":"x"}`),
	packet("a DISCONNECT of another namespace", "1/other,"),
	packet("an event in another namespace", `2/other,["join_room"]`),
	packet("an event with millions of attachments", `599999999-["x"]`),
	packet("attachments without a number", `5-["x"]`),
	{"a text packet in the place of an attachment", "", expectClose(frame(ws.OpText, true, `451-["x",{"_placeholder":true,"num":0}]`)+frame(ws.OpText, true, `42["x"]`), protocolError)},
	{"an attachment without a placeholder", "it takes it", func(t *testing.T, g *gateway) {
		r := g.connected(t, "eve")
		r.text(`451-["x"]`)
		r.binary("\x01")
		r.alive()
	}},
	{"a placeholder out of range", "", func(t *testing.T, g *gateway) {
		r := g.connected(t, "eve")
		r.text(`451-["x",{"_placeholder":true,"num":7}]`)
		r.binary("\x01")
		r.text("41") // the event may be refused, or ignored as unknown
	}},
	{"attachments that never come", "", func(t *testing.T, g *gateway) {
		r := g.connected(t, "eve")
		r.text(`453-["x",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1},{"_placeholder":true,"num":2}]`)
		r.binary("\x01")
	}},
	{"attachments summing up over the limit", "it only limits each", func(t *testing.T, g *gateway) {
		r := g.connected(t, "eve")
		r.text(`453-["x",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1},{"_placeholder":true,"num":2}]`)
		for range 3 {
			r.binary(strings.Repeat("x", smallLimit/2))
		}
		r.wantClosed(tooBig)
	}},
	{"an event before CONNECT", "", func(t *testing.T, g *gateway) {
		r := g.webSocket(t, "")
		r.wantPrefix("0{")
		r.text(`42["join_room",{"roomType":"conversation","roomId":"good"}]`)
		r.wantClosed(protocolError)
	}},
	{"CONNECT with an array", "", func(t *testing.T, g *gateway) {
		r := g.webSocket(t, "")
		r.wantPrefix("0{")
		r.text(`40[1,2]`)
		if op, payload, err := r.next(); err == nil && op == ws.OpText && !strings.HasPrefix(payload, "44") {
			t.Errorf("answer %s, want a CONNECT_ERROR or the end of the connection", payload)
		}
	}},
	{"CONNECT to another namespace", "", func(t *testing.T, g *gateway) {
		r := g.connected(t, "eve")
		r.text("40/other,{}")
		r.want(`44/other,{"message":"Invalid namespace"}`)
		r.alive()
	}},
	{"an ack of an unknown id", "", expectOpen(frame(ws.OpText, true, "43999[1]"))},
	event("join_room with null", ",null"),
	event("join_room with an array", `,["conversation","1"]`),
	event("join_room with a number", ",42"),
	event("join_room with nothing", ""),
	event("join_room with objects in the place of names", `,{"roomType":{},"roomId":[]}`),
	event("join_room with null members", `,{"roomType":null,"roomId":null}`),
	event("join_room with inherited names", `,{"__proto__":{"roomType":"conversation","roomId":"1"}}`),
	{"join_room with 10 MB", "", func(t *testing.T, g *gateway) {
		r := g.connected(t, "eve")
		go r.text(`421["join_room",{"roomType":"conversation","roomId":"` + strings.Repeat("x", 10_000_000) + `"}]`)
		r.wantClosed()
	}},
	{"join_room with a name of the largest size", "", func(t *testing.T, g *gateway) {
		r := g.connected(t, "eve")
		r.text(`421["join_room",{"roomType":"conversation","roomId":"` + strings.Repeat("x", smallLimit-100) + `"}]`)
		r.wantPrefix("431[{")
		r.alive()
	}},
	{"arrays in arrays in arrays", "", func(t *testing.T, g *gateway) {
		r := g.connected(t, "eve")
		r.text(`42["join_room",` + strings.Repeat("[", smallLimit/3) + strings.Repeat("]", smallLimit/3) + `]`)
		r.text(`421["leave_room"]`)
		if op, payload, err := r.next(); err == nil && op == ws.OpText && !strings.HasPrefix(payload, "431[") {
			t.Errorf("answer %.100q, want the ack of packet 1 or the end of the connection", payload)
		}
	}},
	{"unknown events", "", expectOpen(frame(ws.OpText, true, `42["no such event",{"a":1}]`), frame(ws.OpText, true, `421["__proto__"]`), frame(ws.OpText, true, `42[""]`))},
	{"events with the names of inherited properties", "", expectOpen(frame(ws.OpText, true, `42["constructor"]`), frame(ws.OpText, true, `42["toString",1]`))},
}
