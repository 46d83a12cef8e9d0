// Package rabbitmodel is a model of a RabbitMQ broker (3.10) for the
// simulation of a fleet. It has no threads and no sockets, and the time is an
// argument.
//
// Methods of a Channel are what a client sends; what the broker would send is
// appended to the connection's Out, replies, deliveries, confirms and ends in
// one order. Delay, loss of connections and lost answers belong to whoever
// carries both.
//
//	broker.go    connections, channels, exchanges, faults
//	queue.go     classic and quorum queues: get, consume, limits, a single active consumer
//	stream.go    streams: chunks, positions, credit, retention
//
// What is not modelled panics with Unsupported. The test of this package runs
// generated scripts against the model and a real broker.
//
// A stream writes what was published since its last chunk as one chunk: Flush
// decides when, which is where a real broker's timing comes in. Confirms are
// sent then. A reader is given whole chunks, as long as it has credit when one
// begins. With ChunkHead a reader that begins at a position is also given what
// its chunk has before it, as stream readers of other versions are.
package rabbitmodel
