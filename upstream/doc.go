// Package upstream brings the events of the services to the rooms of this node.
// Services publish to RabbitMQ or over HTTP; every event gets into a log, which
// every node reads for itself.
//
//	eventlog/      what a log is, and how one is followed (state machines)
//	rabbitmq/      the log in RabbitMQ, dead letters, everything that speaks AMQP
//	redislog/      the log in Redis
//	routes/        the route table and the encoder: a body becomes rooms and a message
//	publish/       POST /events/{key}
//	follower.go    follows a log for the consumer or the sorter
//	consumer.go    reads the log for the rooms of this node
//	intake.go      an entry of the log becomes messages for rooms
//	sorter.go      writes events that cannot be delivered to the dead letters, on one node at a time
//	choice.go      another log, when RabbitMQ has no streams
//	fallback.go    a log in memory until the real one is there, for development
//	timestamp.go   when an event was published
//	trace.go       the trace an event belongs to, in the gateway's own log
//	status.go      figures
//
// # Promises
//
// Each node reads every event once, in the order of the log, and goes on behind
// the last one after any failure. Nothing is dropped when a node is slow: it
// reads only what its rooms can take, and no other node waits for it. What the
// log has forgotten before the node could read it is counted, and the node's
// clients are told missed_events and connect anew.
//
// A socket is given an event when the event's position in the log is above the
// position of the last event that it was given. So an event for several rooms
// comes once to a client that is in two of them.
//
// An event that its publisher has published twice, with the same id, exchange,
// key, application and body, is delivered once, if the second one is within
// 65,536 positions of the first.
//
// An event that can never be delivered goes to the queue of the dead letters.
// One node at a time looks for them, by a reading of its own, so that nobody
// waits when they cannot be written. A letter may be there twice when that node
// has died between writing it and noting that; both have the same id.
//
// POST /events/{key} is answered 202 when the log has the event.
package upstream
