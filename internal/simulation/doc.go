// Package simulation runs fleets in one thread and in virtual time. A fleet is a
// cluster of gateway nodes with its servers, services and clients. The nodes are the
// product's code: rooms.Hub, the state machines of
// rooms/cluster/core and upstream/eventlog, and upstream.Intake. Redis and RabbitMQ
// are models; clients, services and the back office are simulated. A seed decides
// the order of events, every delay and every fault. The same configuration gives
// the same run, and the same hash of its trace.
//
//	run.go       one run, from the configuration to the result
//	schedule.go, timers.go   virtual time, the trace and its hash; the queue of timers
//	wire.go      a connection: order, delay, loss
//	node.go      a node: the hub and its event loops
//	redis.go, rabbit.go   the modelled servers and the connections to them
//	cluster.go, commands.go   the driver of core.Node, with the model of Redis
//	reader.go, logreader.go   the driver of eventlog.Reader, with the models
//	eventlog.go, redislog.go  the state of the event log that the rules need
//	appender.go, forwarder.go, redissource.go   the drivers of the log in Redis
//	letters.go, dead.go   the driver of the dead letters, and the rules for them
//	transfer.go, freeze.go   the hand-over of a node to a new process
//	presence.go, presencerules.go, presenceend.go   presence: driver and rules
//	client.go, inbox.go   a client; the packets it receives
//	recovery.go  recovery: settings, the node's part, faults
//	sessions.go  the driver of sessions.Core, with the model of Redis
//	history.go   reads the log for clients that return to their sessions
//	returns.go   the state of a client that returns, and the rules for it
//	service.go   services that publish; the back office
//	fault.go, extra.go   the faults, and when they happen
//	judge.go, ending.go   the rules that hold at every step, and at the end
//	form.go, shrink.go    the text form of a run; reduces a failing run
//
// The package reads no clock and starts no goroutine. The trace has no random
// identities that the product's code draws, such as socket ids and hash seeds.
package simulation
