// Package core decides what a log on a Redis stream does: which command is sent
// next, and what an answer means. It has no goroutine, no clock and no I/O.
// Package redislog sends the commands and hands over the answers; a simulation
// does the same with a model of Redis.
//
//	command.go  commands and replies
//	script.go   the script that appends and tells where the log ends; ids
//	entry.go    entries as the fields of an entry in Redis
//	reading.go  a reading of the log
//	trimming.go removes old entries
package core
