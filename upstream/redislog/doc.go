// Package redislog keeps the log of the services' events in a Redis stream. It
// is the log of several nodes that have Redis and no RabbitMQ.
//
//	log.go     the log: connections, commands and answers
//	append.go  adding events, in order and many at a time
//	source.go  reading, each on a connection of its own
//	trim.go    removing what is too old, or too much
//	core/      what these do: which command is next, and what its answer means
//
// # Ids
//
// The id of an entry is <log>-<position>. <log> is the time of Redis, in
// milliseconds, at which the stream was made; it is the identity of the log.
// Positions begin at 1 and have no gaps. A script chooses the id, so two nodes
// never choose the same one. After FLUSHALL, or a restart of a Redis that does
// not persist, the next node makes a stream with a higher <log>. Its entries
// come behind those of the old one, so every reader gets them and sees by the
// id that they belong to another log.
//
// # Durability
//
// Append returns when Redis has executed the command. Whether the entry then
// survives the end of Redis depends on Redis: appendonly, appendfsync, and
// replicas, to which Redis copies later. Readers notice a stream that lost its
// newest entries, and begin behind what is left.
//
// # Retention
//
// Each node removes entries that are older than Config.Retention, by the clock
// of Redis, and the oldest ones while Redis says that the stream needs more
// than Config.MaxBytes of memory. Both happen once in a while and the size is
// an estimate of Redis, so the stream can be larger for some seconds. The
// newest entry always stays: readers know the log by it.
package redislog
