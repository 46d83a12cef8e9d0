// Package loop is the front door: a gnet engine that speaks HTTP, WebSocket
// and Engine.IO v4, and hands what clients say to package rooms.
//
//	server.go      gnet's callbacks; which goroutine runs what
//	worker.go      what one event loop owns; its turn and its flush
//	httpconn.go    a TCP connection while it speaks HTTP
//	exchange.go    one request and its reply, perhaps from another loop
//	engine.go      Engine.IO's rules over HTTP     Engine.IO v4 protocol
//	polling.go     the long-polling transport
//	websocket.go   the WebSocket transport          RFC 6455
//	wswrite.go     what leaves by it
//	session.go     the session above a transport; the rooms.Sink
//	outbox.go      what is pending for all sessions
//	move.go        a connection goes to the loop of its session
//	again.go       a loop comes back after a round of epoll
//	wheel.go       timers
//	beat.go        what drives them, an event of the loop's own
//	admin.go       everything on the port that is not Engine.IO
//	drain.go, handover.go, listener.go   the end
//
// A session lives on one event loop and is touched by no other goroutine, so
// nothing here is locked. A loop never blocks: what has to wait is done by a
// goroutine that posts its result into the loop's mailbox.
//
// Not there: TLS (it ends at the load balancer), permessage-deflate (an
// uncompressed frame can be shared by all its receivers), Engine.IO v3, JSONP,
// WebTransport, and replies to a client that has shut down its sending side.
package loop
