// Package eventlog defines the log of the services' events, and has the state
// machine by which a node reads it.
//
// A log is an ordered, durable list of entries. Each entry has a position,
// which is the same on every node. Reading does not remove entries; a log
// removes the oldest ones by age and by size. Every node reads every entry and
// sends its clients the events of their rooms.
//
//	entry.go      an entry, its position, the offset that clients keep
//	log.go        the interface of a log
//	reader.go     the state machine by which a node follows the log
//	duplicates.go recognizing events that were published twice
//	ring.go       the newest entries, in memory
//	memory.go     a log in the memory of one process
//
// The state machines in this package have no goroutines, no clock and no I/O.
// Their inputs and outputs are values. Package upstream drives them; packages
// upstream/rabbitmq and upstream/redislog implement logs.
package eventlog
