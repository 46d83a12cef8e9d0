// Package rabbitmq has all code of the gateway that uses RabbitMQ.
//
//	connect.go     connections
//	declare.go     declarations of exchanges and queues
//	stream.go      the stream that is the log of the services' events
//	source.go      reading it
//	append.go      appending to it
//	entry.go       deliveries and entries of the log
//	letters.go     writes dead letters to their queue; one node at a time does it
//	forward.go     copies events to a log elsewhere, if RabbitMQ has no streams
//	move.go        empties the queues of versions before the log
//	outlet.go      publishes events for services, with confirms
//	deadletter.go  "gateway deadletter": lists, shows and republishes dead letters
//	publish.go     "gateway publish": publishes as a service does
//	inspect.go     "gateway doctor": which queues and exchanges exist
//
// # The log
//
// The log is one stream queue, PREFIX.events, bound to the services' exchanges
// with the keys of the routes. It is durable, has as many replicas as the
// cluster has nodes, and is not emptied by reading. Position p of the log is
// offset p-1 of the stream.
//
// # The identity of the log
//
// A stream that was deleted and created again begins at offset 0 again. Its
// positions must not be taken for those of the deleted stream, so each stream has
// an identity: its argument x-max-length-bytes. The node that creates the stream
// adds to it a random number smaller than half of a segment. When the stream is
// declared again, RabbitMQ compares the argument; if it differs, the error contains
// the argument that the stream has. So the identity is created and deleted with the
// stream, and two nodes that declare it at the same time agree.
//
// # Behaviour of RabbitMQ 3.10 that the code relies on
//
// A consumer that starts at an offset gets exactly that offset first. If the offset
// is beyond the end, RabbitMQ waits without an error until the stream has grown to
// it, even if the stream was created anew in between. A consumer that starts at
// "last" gets the last chunk. Headers are stored as AMQP 1.0, without nested tables
// and lists.
//
// At the beginning of a segment RabbitMQ writes an entry of its own, which has a
// position and is never delivered. So a single missing position is no loss. A reader
// that retention has overtaken misses that position and at least one more, because
// RabbitMQ removes whole segments.
package rabbitmq
