// Package codec says what the bytes of the gateway's protocols mean: HTTP/1.1
// request heads, WebSocket frames, Engine.IO v4 packets and payloads, and
// Socket.IO v5 packets.
//
//	proxy.go                whose connection it is               PROXY protocol v2
//	head.go, chunked.go     a request head, a chunked body       RFC 9112
//	handshake.go, frame.go  a WebSocket, frame by frame          RFC 6455
//	engine.go               "4…": what one frame or poll holds   Engine.IO v4
//	socket.go               "2[…]": what an Engine.IO message is Socket.IO v5
//	json.go, event.go       the array inside, read in place      RFC 8259
//	id.go                   what an id is, for everybody         ECMA-262
//	message.go              an outgoing packet, encoded once
//
// Everything is a pure function over byte slices: no I/O, no clock, no state
// between calls, nothing retained. A parser returns views into what it was
// given, so they live as long as those bytes do. Where more bytes are needed a
// parser consumes nothing and reports n = 0 without an error.
//
// A *SyntaxError means the peer broke a grammar; a *LimitError that it asked
// for more than is allowed. Both are safe to show to the peer.
package codec
