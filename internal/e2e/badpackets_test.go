package e2e

import (
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// sends is a case that a connected WebSocket ends with.
func sends(bytes string, codes ...ws.StatusCode) func(t *testing.T, g *gateway) {
	return func(t *testing.T, g *gateway) {
		r := g.connected(t, "eve")
		r.send(bytes)
		r.wantClosed(codes...)
	}
}

// survives is a case that a connected WebSocket does not mind.
func survives(bytes ...string) func(t *testing.T, g *gateway) {
	return func(t *testing.T, g *gateway) {
		r := g.connected(t, "eve")
		r.send(bytes...)
		r.alive()
	}
}

var badFrames = []badInput{
	{"unmasked", "", sends("\x81\x012", protocolError)},
	{"reserved bit 1", "", sends(frameOf(ws.Header{Fin: true, Rsv: ws.Rsv(true, false, false), OpCode: ws.OpText}, "2"), protocolError)},
	{"reserved bit 3", "", sends(frameOf(ws.Header{Fin: true, Rsv: ws.Rsv(false, false, true), OpCode: ws.OpText}, "2"), protocolError)},
	{"reserved opcode", "", sends(frame(3, true, "2"), protocolError)},
	{"reserved control opcode", "", sends(frame(11, true, "2"), protocolError)},
	{"a fragmented ping", "", sends(frame(ws.OpPing, false, "x"), protocolError)},
	{"a ping of 126 bytes", "", sends(frame(ws.OpPing, true, strings.Repeat("x", 126)), protocolError)},
	{"a continuation of nothing", "", sends(frame(ws.OpContinuation, true, "x"), protocolError)},
	{"a message inside of another", "", sends(frame(ws.OpText, false, "4")+frame(ws.OpText, true, "2"), protocolError)},
	{"10 MB announced and never sent", "", sends("\x81\xff\x00\x00\x00\x00\x00\x98\x96\x80\x01\x02\x03\x04", tooBig)},
	{"one byte too many announced", "", sends("\x81\xff\x00\x00\x00\x00\x00\x01\x86\xa1\x01\x02\x03\x04", tooBig)},
	{"2^63 bytes announced", "", sends("\x81\xff\x80\x00\x00\x00\x00\x00\x00\x00\x01\x02\x03\x04", tooBig, protocolError)},
	{"fragments summing up over the limit", "", sends(frame(ws.OpText, false, strings.Repeat("4", smallLimit/2))+
		frame(ws.OpContinuation, false, strings.Repeat("4", smallLimit/2))+frame(ws.OpContinuation, false, "44"), tooBig)},
	{"text that is not UTF-8", "", sends(frame(ws.OpText, true, "42[\"\xff\"]"), badText)},
	{"text that is half a character", "", sends(frame(ws.OpText, true, "42[\"\xc3\"]"), badText)},
	{"text that is a surrogate", "", sends(frame(ws.OpText, true, "42[\"\xed\xa0\x80\"]"), badText)},
	{"fragments that are not UTF-8", "", sends(frame(ws.OpText, false, "42[\"\xc3")+frame(ws.OpContinuation, true, "\"]"), badText)},
	{"fragments split in a character are taken", "", survives(frame(ws.OpText, false, "42[\"\xc3"), frame(ws.OpContinuation, true, "\xbc\"]"))},
	{"empty fragments with pings between are taken", "", survives(frame(ws.OpText, false, ""), frame(ws.OpPing, true, "x"),
		frame(ws.OpContinuation, false, `42["x"`), frame(ws.OpContinuation, true, "]"))},
	{"a close frame of one byte", "", sends(frame(ws.OpClose, true, "x"), protocolError)},
	{"a close frame with a reserved code", "", sends(frame(ws.OpClose, true, "\x03\xed"), protocolError)},
	{"a close frame that is not UTF-8", "", sends(frame(ws.OpClose, true, "\x03\xe8\xff"), badText, protocolError)},
	{"an honest close frame", "", sends(frame(ws.OpClose, true, "\x03\xe8bye"), ws.StatusNormalClosure)},
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
				return // ended for the flood
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
	{"HTTP after the handshake", "", sends("GET / HTTP/1.1\r\nHost: gateway\r\n\r\n", protocolError)},
}

var badEngine = []badInput{
	{"no packet type", "", sends(frame(ws.OpText, true, "abc"), protocolError)},
	{"an unknown packet type", "", sends(frame(ws.OpText, true, "9"), protocolError)},
	{"an empty packet", "", sends(frame(ws.OpText, true, ""), protocolError)},
	{"a ping, which only servers send", "", sends(frame(ws.OpText, true, "2"), protocolError)},
	{"an open packet is passed over", "", survives(frame(ws.OpText, true, `0{"sid":"x"}`))},
	{"an upgrade packet is passed over", "", survives(frame(ws.OpText, true, "5"))},
	{"a noop packet is passed over", "", survives(frame(ws.OpText, true, "6"))},
	{"a pong that nobody asked for", "", survives(frame(ws.OpText, true, "3"))},
	{"a close packet", "only its heartbeat ends that", sends(frame(ws.OpText, true, "1"))},
	{"binary that nobody waits for", "", sends(frame(ws.OpBinary, true, "\x01\x02"), protocolError)},
	{"empty binary", "", sends(frame(ws.OpBinary, true, ""), protocolError)},
}

// packet is a Socket.IO packet that ends the connection.
func packet(name, text string) badInput {
	return badInput{name, "", sends(frame(ws.OpText, true, "4"+text), protocolError)}
}

// event answers an event with an error, whatever its arguments.
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
	packet("an event that is no array", "2{}"),
	packet("an event without a name", "2[]"),
	packet("an event whose name is an object", "2[{}]"),
	{"an event with no JSON", "it passes it over", sends(frame(ws.OpText, true, "42"), protocolError)},
	packet("an event with broken JSON", `2["join_room",{"roomType":`),
	packet("an event with more behind its JSON", `2["join_room"]x`),
	packet("an event with a broken ack id", `2abc["join_room"]`),
	packet("an ack with no array", "31{}"),
	packet("a second CONNECT", `0{"token":"x"}`),
	packet("a DISCONNECT of another namespace", "1/other,"),
	packet("an event in another namespace", `2/other,["join_room"]`),
	packet("an event with millions of attachments", `599999999-["x"]`),
	packet("attachments without a number", `5-["x"]`),
	{"a text packet in the place of an attachment", "", sends(frame(ws.OpText, true, `451-["x",{"_placeholder":true,"num":0}]`)+frame(ws.OpText, true, `42["x"]`), protocolError)},
	{"an attachment of which nothing speaks", "it takes it", func(t *testing.T, g *gateway) {
		r := g.connected(t, "eve")
		r.text(`451-["x"]`)
		r.binary("\x01")
		r.alive()
	}},
	{"a placeholder out of range", "", func(t *testing.T, g *gateway) {
		r := g.connected(t, "eve")
		r.text(`451-["x",{"_placeholder":true,"num":7}]`)
		r.binary("\x01")
		r.text("41") // the event may be refused, or be unknown
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
			t.Errorf("answer %s", payload)
		}
	}},
	{"CONNECT to another namespace", "", func(t *testing.T, g *gateway) {
		r := g.connected(t, "eve")
		r.text("40/other,{}")
		r.want(`44/other,{"message":"Invalid namespace"}`)
		r.alive()
	}},
	{"an ack that nobody waits for", "", survives(frame(ws.OpText, true, "43999[1]"))},
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
			t.Errorf("answer %.100q", payload)
		}
	}},
	{"unknown events", "", survives(frame(ws.OpText, true, `42["no such event",{"a":1}]`), frame(ws.OpText, true, `421["__proto__"]`), frame(ws.OpText, true, `42[""]`))},
	{"events with the names of inherited properties", "", survives(frame(ws.OpText, true, `42["constructor"]`), frame(ws.OpText, true, `42["toString",1]`))},
}
