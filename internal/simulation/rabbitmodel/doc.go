// Package rabbitmodel is a model of a RabbitMQ broker (3.10) for the simulation
// of a cluster of gateways. It uses no goroutines, no sockets and no clock: the
// caller passes the time.
//
// The methods of a Channel are what a client sends. What the broker would send
// to a connection (replies, deliveries, confirms and closes, in one order) is
// appended to the connection's Out. The caller carries both, and simulates
// delay, lost connections and lost answers.
//
//	broker.go    connections, channels, exchanges, faults
//	queue.go     classic and quorum queues: get, consume, limits, a single active consumer
//	stream.go    streams: chunks, positions, credit, retention
//
// What is not modelled panics with Unsupported. The tests of this package run
// generated scripts against the model and a real broker.
//
// A stream writes the messages that were published since its last chunk as one
// chunk, and confirms them then. A real broker decides by itself when it writes
// a chunk; in the model the caller does, with Flush. A reader gets whole chunks:
// a chunk is sent if the reader has credit when it begins. With ChunkHead a
// reader that begins at a position also gets the earlier messages of that
// position's chunk, as some versions of stream readers do.
package rabbitmodel
