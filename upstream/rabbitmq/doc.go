// Package rabbitmq is everything that the gateway does with RabbitMQ.
//
//	connect.go     connections
//	declare.go     declarations, one after the other
//	stream.go      the stream that is the log of the services' events
//	source.go      reading it
//	append.go      appending to it
//	entry.go       deliveries and entries of the log
//	letters.go     filling the queue of the dead letters, by one node at a time
//	move.go        from the queues of versions before the log
//	deadletter.go  the queue of the dead letters, for the command line
//	publish.go     publishing as a service does, for the command line
//	inspect.go     a look at what is there, for gateway doctor
//
// # The log
//
// The log is one stream queue, PREFIX.events, bound to the services' exchanges
// with the keys of the routes. It is durable, has as many replicas as the
// cluster has nodes, and is not emptied by reading. Position p of the log is
// offset p-1 of the stream.
//
// # Its identity
//
// A stream that was deleted and made again begins at offset 0 again. So that
// its positions are not taken for those of the stream before, each has an
// identity: the argument x-max-length-bytes, to which whoever makes the stream
// adds a random number smaller than half of a segment. RabbitMQ compares the
// argument when the stream is declared again, and when it is another one it
// says in the error which one it has. So the identity is made and removed
// together with the stream, and two nodes that declare it at the same time
// agree.
//
// # Behaviour of RabbitMQ 3.10 that the code relies on
//
// Reading from an offset begins with exactly that one. Reading from an offset
// beyond the end waits without an error until the stream has grown to there,
// also when the stream was made anew in between. Reading from "last" begins
// with the last chunk. Headers are stored as AMQP 1.0: nested tables and lists
// are dropped from them.
package rabbitmq
