// Package load is the load generator: thousands of Socket.IO clients in one
// thread, and the proof that each of them got what it should, once, in order.
//
// A Worker is a process of its own (Serve, on the far side of two pipes); Start
// runs one and gives a Client to command it with. Each command is a phase: the
// worker's Loop sits in epoll, hands what arrives to the phase, and lets the
// phase send. Between phases nothing is read, so commands should follow each
// other within the ping timeout.
//
//	main --rpc--> Worker -> phase (dial, join, fanout, chat, churn, idle)
//	                          |  ^
//	                     send v  | event, ack, connected, closed
//	                         Loop (epoll, frames, packets)
//
// A connection costs one conn value and whatever part of a frame it is waiting
// for. There is no goroutine, timer or buffer per connection.
//
// Limits: one process holds about RLIMIT_NOFILE connections; compression,
// binary events and namespaces are not spoken.
package load
