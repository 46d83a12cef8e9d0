// Package redismodel is a model of a Redis server (7.0, RESP3) for the
// simulation of a cluster of gateways. It uses no goroutines, no sockets and no
// clock: the caller passes the time.
//
// The model executes commands as a server does. It appends what the server
// would write to a connection, replies and pushes in one order, to that
// connection's Out. The caller carries commands to the model and Out back to
// the client, and simulates delay, lost connections and lost replies.
//
//	reply.go     replies and their constructors
//	server.go    connections, transactions, faults, expiry
//	table.go     the commands, their arity and flags
//	keys.go, strings.go, hash.go, set.go, sorted.go, stream.go   the commands by type
//	pubsub.go, tracking.go   pushes: pub/sub and client tracking
//	eventlog.go  the script that appends to the event log, and MEMORY USAGE
//
// A command, an option or a combination that is not modelled panics with
// Unsupported, so that no code is tested against an invented answer. The tests
// of this package run generated scripts against the model and a real server and
// compare the answers; they also compare the flags of all commands.
//
// Where Redis promises no order, the model has a fixed one: members of a set,
// fields of a hash and keys of SCAN are sorted. SCAN and ZSCAN return everything
// in one call. A key expires exactly at its time, not when it is next accessed.
// looked at.
package redismodel
