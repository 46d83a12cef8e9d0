// Package loop serves clients: a gnet engine that speaks HTTP, WebSocket and
// Engine.IO v4, and passes what clients send to package rooms.
//
//	server.go      gnet's callbacks
//	accept.go      accepts what gnet leaves in a burst of clients
//	worker.go      what one event loop owns
//	turn.go        how a loop divides its time; when it writes
//	httpread/      finds requests in the input of a connection
//	httpconn.go    a TCP connection while it speaks HTTP
//	exchange.go    one request and its reply, perhaps from another loop
//	engine.go      Engine.IO over HTTP             Engine.IO v4 protocol
//	polling.go     the long-polling transport
//	websocket.go   the WebSocket transport         RFC 6455
//	wswrite.go     writing to a WebSocket
//	session.go     an Engine.IO session, above its transport; it is a rooms.Sink
//	outbox.go      what is to be written to the sessions of a loop
//	move.go        moves a connection to the loop of its session
//	wakeup.go      wakes the loop after a round of epoll
//	wheel/         timers; timers.go has what they belong to
//	ticker.go      the ticker of a loop
//	limits/        limits by address and rate
//	held.go        the limit for what is held for all clients together
//	admin.go       requests that are not Engine.IO
//	drain.go, handover.go, listener.go   shutdown, passing on the port
//	freeze.go, give.go, take.go          handing over live connections
//
// A session lives on one event loop and no other goroutine touches it, so
// nothing here is locked. A loop never blocks: blocking work is done by a
// goroutine that posts its result into the loop's mailbox.
//
// Not implemented: TLS (it ends at the load balancer), permessage-deflate (an
// uncompressed frame can be shared by all its receivers), Engine.IO v3, JSONP,
// WebTransport, and replies to a client that has shut down its sending side.
package loop
