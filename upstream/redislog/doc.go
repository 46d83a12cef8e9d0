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
// replicas, to which Redis copies later. Readers notice a stream that has lost its
// newest entries: it ends before what they have read, or the entry that they have
// read last is another one. The first of them gives the stream a higher <log>, in
// whose first entry the former <log> is noted. So the positions that are used a
// second time belong to another log, every node sees that, tells its clients that
// events may be missing, and goes on with the new log.
//
// # Retention
//
// Each node removes entries that are older than Config.Retention, by the clock
// of Redis, and the oldest ones while Redis says that the stream needs more
// than Config.MaxBytes of memory, by their ids (XTRIM MINID). Before Redis 6.2
// they are removed by their number, and as many more as were added while they
// were counted. Both happen once in a while and the size is an estimate of
// Redis, so the stream can be larger for some seconds. The newest entry always
// stays: readers know the log by it.
package redislog
