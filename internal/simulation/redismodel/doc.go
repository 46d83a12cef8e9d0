// Package redismodel is a model of a Redis server (7.0, RESP3) for the
// simulation of a fleet. It has no threads and no sockets, and the time is an
// argument.
//
// It executes commands as a server does and puts what the server would write
// to each connection, replies and pushes in one order, into that connection's
// Out. Delay, loss of connections and lost replies belong to whoever carries
// commands to the model and Out back.
//
//	reply.go     what a server answers
//	server.go    connections, transactions, faults, expiry
//	table.go     the commands, their arity and flags
//	keys.go, strings.go, hash.go, set.go, sorted.go, stream.go   the commands by type
//	pubsub.go, tracking.go   what is pushed
//	eventlog.go  what the log of the services' events needs beside its stream
//
// A command, an option or a combination that is not modelled panics with
// Unsupported, so that no code is tested against an invented answer. The test
// of this package runs generated scripts against the model and a real server
// and compares the answers; the flags of all commands are compared as well.
//
// Where Redis promises no order the model has a fixed one: members of a set,
// fields of a hash and keys of SCAN are sorted. A SCAN or ZSCAN returns
// everything at once. Keys expire at their time exactly and not when they are
// looked at.
package redismodel
