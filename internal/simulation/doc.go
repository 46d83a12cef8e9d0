// Package simulation runs a fleet of nodes in one thread and virtual time. The
// nodes are the product's code: rooms.Hub, the state machines of rooms/cluster/core
// and upstream/eventlog, and upstream.Intake. Redis and RabbitMQ are models; clients,
// services and the back office are simulated. A seed decides the order of events,
// every delay and every fault. The same configuration gives the same run, and the
// same hash of its trace.
//
//	run.go       one run, from the configuration to the verdict
//	schedule.go  virtual time, the trace and its hash
//	wire.go      a connection: order, delay, loss
//	node.go      a node: the hub and its event loops
//	redis.go, rabbit.go   the modelled servers and the connections to them
//	cluster.go, commands.go   the driver of core.Node, with the model of Redis
//	reader.go    the driver of eventlog.Reader, with the model of RabbitMQ
//	client.go, inbox.go   a client; the packets it receives
//	recovery.go  recovery: settings, the node's part, faults
//	sessions.go  the driver of sessions.Core, with the model of Redis
//	history.go   reads the log for clients that come back
//	returns.go   the state of a client that comes back, and the rules for it
//	service.go   services that publish; the back office
//	fault.go     the faults, and when they happen
//	judge.go, ending.go   the rules that hold at every step, and at the end
//	shrink.go    reduces a failing run
//
// The package does not read a clock and starts no goroutine. Random identities that
// the product's code makes (socket ids, hash seeds) are not in the trace.
package simulation
