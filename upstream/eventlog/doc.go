// Package eventlog is the log of the services' events: what a log is, and how
// a node reads one.
//
// A log is an ordered, durable list of entries. Each entry has a position,
// which is the same on every node. Reading does not remove entries; a log
// forgets the oldest ones by age and by size. Every node reads every entry for
// itself and gives its clients what is for their rooms.
//
//	entry.go      an entry, its position, the offset that clients keep
//	log.go        the port: what a log has to do
//	reader.go     how a node follows the log: a state machine
//	duplicates.go the same event published twice
//	ring.go       the newest entries, in memory
//	memory.go     a log in the memory of one process
//
// The state machines here have no goroutines, no clock and no I/O. What
// happens is given to them as values, and what is to be done comes back as
// values. The drivers are upstream (which follows a log), upstream/rabbitmq and
// upstream/redislog (which are logs).
package eventlog
