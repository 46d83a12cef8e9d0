// Package simulation runs a whole fleet in one thread: nodes with the real
// rooms.Hub, the real state machines of rooms/cluster/node and
// upstream/eventlog and the real upstream.Intake, a model of Redis, a model of
// RabbitMQ, clients, services and the back office. A seed decides every order,
// delay and fault. The same configuration gives the same run, and the same
// hash of its trace.
//
//	run.go       a run from its beginning to its verdict
//	schedule.go  virtual time, the trace and its hash
//	wire.go      a connection: order, delay, loss
//	node.go      a node: the hub, its event loops, what wakes them
//	redis.go, rabbit.go   the servers and the connections to them
//	cluster.go, commands.go   what drives core.Node with the model of Redis
//	reader.go    what drives eventlog.Reader with the model of RabbitMQ
//	client.go, inbox.go   a client, and what it is sent
//	recovery.go  clients that come back: settings, what a node does, faults
//	sessions.go  what drives sessions.Core with the model of Redis
//	history.go   what reads the log for clients that come back
//	returns.go   what a client that comes back keeps, and what has to hold
//	service.go   services that publish, and the back office
//	fault.go     what goes wrong, and when
//	judge.go     what has to hold at every step; ending.go: and at the end
//	shrink.go    makes a failing run smaller
//
// Nothing here reads a clock or starts a goroutine. Random identities that the
// real code makes (socket ids, hash seeds) are not in the trace.
package simulation
