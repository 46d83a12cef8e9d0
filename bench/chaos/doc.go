// Command chaos injects faults into three gateways, a Redis and a RabbitMQ while 2,000
// clients get numbered events, and says for every client and every event
// whether it came once, more than once or not at all, and why.
//
//	go run ./bench/chaos                 about 3 minutes, a seed of its own
//	go run ./bench/chaos -seed 7         the same faults again
//
//	cluster.go  the gateways, Redis, RabbitMQ, and a proxy on each way between
//	book.go     what was published
//	service.go  publishes it, through RabbitMQ, with confirms
//	client.go   comes back to its session, as socket.io-client does
//	sessions.go which connections are one session, and which returns recovered it
//	fault.go    the kinds of faults
//	plan.go     what is done to it when, from the seed
//	scenario.go one run
//	order.go    is everything as it was, at the end?
//	judge.go    why did an event not come, or twice?
//	report.go   the table
//
// Faults come in rounds of one or two. A round is over when everything is
// running again, an event that was published after that has reached a member
// on every gateway, all clients are in their rooms, and the gateways have
// delivered all of the round. Then there is calm, so that what goes wrong
// can be held against one round. In the last round one gateway is killed for
// good.
//
// Clients ask for recovery. For them an event may be lost only when a gateway
// says that they were not recovered, and its log says why; of the returns within
// RECOVERY_WINDOW 99.9 % must be recovered. An event may come again only to a
// client that was not recovered, by a gateway which was behind because of a fault, and not
// behind younger ones, and must reach the clients of a gateway that nothing was
// done to at most 2 s later than RabbitMQ was away. Everything else is a
// failure, and the exit code 1: also a connection that ends without a fault of its
// gateway, or in a way after which socket.io-client does not come back. A
// hand-over ends no connection.
//
// Clients, services and the cluster share one machine and one clock.
package main
