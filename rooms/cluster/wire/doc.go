// Package wire holds what the nodes of a cluster and Redis say to each other,
// as plain values: names of keys and channels, messages between nodes, and
// commands for Redis with their replies. It has no I/O and no state.
//
//	names.go     keys, channels and the numbers of nodes and sessions
//	command.go   commands for Redis and their replies
//	envelope.go  the bytes of messages between nodes
//	lease.go     what a node's lease says
package wire
