// Package redislog keeps the log of the services' events in a Redis stream. It
// is for several nodes that share a Redis and have no RabbitMQ with streams.
//
//	log.go     the log: connections, commands and answers
//	append.go  appending events, in order and in batches
//	source.go  reading, on a separate connection for each reader
//	trim.go    removing entries by age and size
//	core/      the state machines that choose the commands and parse the answers
//
// # Ids
//
// The id of an entry is <log>-<position>. <log> is the time of Redis, in
// milliseconds, at which the stream was created; it is the identity of the log.
// Positions begin at 1 and have no gaps. A script chooses the id, so two nodes
// never choose the same one. After FLUSHALL, or a restart of a Redis that does
// not persist, the next node creates a stream with a higher <log>. The ids of
// its entries are higher than those of the old stream, so every reader gets the
// entries and sees by the id that they belong to another log.
//
// # Durability
//
// Append returns when Redis has executed the command. Whether the entry survives
// a crash of Redis depends on its settings appendonly and appendfsync, and on
// its replicas, to which it copies asynchronously. Readers detect a stream that
// has lost its newest entries: it ends before their last entry, or has another
// entry in that place. The first reader to detect it gives the stream a higher
// <log>. The first entry under the new <log> holds the former one. Positions
// that are used a second time therefore belong to another log. Every node sees
// that, tells its clients that events may be missing, and continues with the new
// log.
//
// # Retention
//
// Each node removes entries by their ids (XTRIM MINID). Before Redis 6.2 it
// removes them by their number, and as many more as were added while it counted.
// It removes entries that are older than Config.Retention by the clock of Redis,
// and the oldest entries if the stream needs more than Config.MaxBytes of memory
// according to Redis. This is done every few seconds and the size is an estimate
// of Redis, so the stream can be larger for some seconds. The newest entry is
// never removed: readers recognize the log by it.
package redislog
