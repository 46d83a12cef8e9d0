// Package cluster connects the nodes of a fleet through Redis. An event that a
// client sends to a room is published to the other nodes that hold the room; if no
// other node holds it, nothing is published. Events of services are not published
// between nodes: each node reads their log.
//
// The package is a driver. The decisions are made by core.Node, a state machine
// without I/O. This package sends its batches of commands to Redis, and passes it
// the replies, the invalidations of client-side caching and the messages of other
// nodes.
//
//	cluster.go  the implementation of rooms.Cluster; start and stop
//	driver.go   the goroutines: batches that are due, messages, connections, the subscription
//	conns.go    translates batches into calls of rueidis
//	server.go   connecting to Redis: a single server, Sentinel, Redis Cluster
//	check.go    compares the directory in Redis with the rooms of this node
//	recovery.go, presence.go  the drivers of the packages sessions and presence
//	holders.go  reads which nodes hold a room that this node need not hold
//	ask.go      questions to all other nodes, for "gateway explain"
//	handover.go the cluster's part of a hand-over
//	stats.go    counters
//
//	wire        names, messages between nodes, commands and replies
//	directory   which nodes hold a room
//	outbox      messages that wait to be published to other nodes
//	members     the number of members of a room on all nodes
//	lease       this node's session and lease; the other nodes; removal of dead ones
//	orders      orders that last
//	pace        how many commands may be under way, by how late Redis is
//	sessions    records of sessions that clients can come back to
//	presence    which users and rooms have sockets, for services
//	cut         which messages of other nodes were taken before a hand-over
//	core        the state machines of a node in one
//
// # In Redis
//
// Every name begins with KEY_PREFIX and the number of the database, because
// pub/sub knows no databases.
//
//	ws:1:in:conversation:42   set of integers: the sessions that hold the room
//	ws:1:{fleet}              set of integers: all sessions
//	ws:1:{fleet}:<session>    lease, which ends some seconds after its node has died
//	ws:1:to:<node>            channel of a node
//	ws:1:orders               sorted set: orders that last, by when they end
//
// A node has a random number, which it keeps while its process runs. The id of a
// session is the node's number and a counter. A session ends when Redis may have
// lost what was written in it: the connection was lost, the lease ended, or the
// database was flushed. The node then begins the next session and registers all its
// rooms anew. The lease is renewed on another connection than the directory's, so
// that renewals do not wait behind thousands of commands for rooms. Messages are
// published on that connection, too: a renewal shows at once that its server has
// become a replica. In a Redis Cluster they are published on the directory's.
//
// All nodes share Redis. The later it replies, the fewer commands for rooms a node
// has under way, so that the fleet does not keep it late and leases are renewed.
// The sessions of dead nodes are removed by one node at a time, all in one pass.
//
// # Guarantees
//
// An event that a client sends to a room arrives on another node at most once, and
// in the order in which this node sent it. It is published to every node that the
// directory has for the room. A node that has just registered a room receives
// events from the time at which Redis has invalidated the other nodes' caches, some
// milliseconds later. Of two nodes that register a room at the same time, at least
// one receives the other's user_joined.
//
// While Redis cannot be reached, volatile events are dropped and others wait in a
// bounded queue. Dropped events are counted.
//
// The number of members on other nodes is up to about a second old. In large rooms
// it may be off by 1/8.
//
// An order that lasts is written to Redis as soon as Redis can be reached, and
// again after Redis has lost it.
//
// Nodes of versions before this layout use other names in Redis. In a rolling
// update, old and new nodes do not receive events of each other's clients.
package cluster
