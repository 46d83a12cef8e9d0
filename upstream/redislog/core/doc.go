// Package core has the state machines of a log on a Redis stream. They decide
// which command is sent next and what an answer means. They have no goroutine,
// no clock and no I/O. Package redislog sends the commands and passes the
// answers; the simulation does the same with a model of Redis.
//
//	command.go  commands and replies
//	script.go   the script that appends and returns the end of the log; ids
//	entry.go    converting entries to fields in Redis and back
//	reading.go  reading the log
//	trimming.go removing old entries
package core
