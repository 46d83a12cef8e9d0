// Package cluster joins several nodes through Redis: what a client says to a
// room reaches the members on the other nodes that hold the room. When no other
// node does, nothing is sent. Events of services do not go this way: each node
// reads their log itself.
//
// The package is a driver. What is done when is decided by core.Node, a state
// machine without I/O; this package sends its batches to Redis, and gives it the
// replies, the invalidations and the messages of other nodes.
//
//	cluster.go  the port rooms.Cluster, start and stop
//	driver.go   goroutines: what is due, messages, connections, the subscription
//	conns.go    batches of plain values become calls of rueidis
//	server.go   how to reach Redis: alone, by Sentinel, as Redis Cluster
//	check.go    is the directory right?
//	recovery.go, presence.go  the drivers of sessions and presence
//	holders.go  do other nodes hold a room that this one may not hold?
//	stats.go    counters
//
//	wire        names, messages between nodes, commands and replies
//	directory   which nodes hold a room
//	outbox      messages on their way to other nodes
//	members     how many members a room has
//	lease       sessions, the other nodes, removal of dead ones
//	orders      orders that last
//	presence    who is there, for services
//	core        all of these put together
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
// A node has a random number for its life. A session's id is the node's number
// and a count. A session lasts as long as Redis surely keeps what it was told
// in it: after a lost connection, a lost lease or a flushed database the next
// session begins, and the node registers all its rooms anew. The lease is renewed
// on another connection than the directory's, so that renewals do not wait behind
// thousands of rooms that are entered or read. Messages are published on that
// connection, too: a renewal shows at once that its server has become a replica.
//
// # What is promised
//
// What clients say to a room on one node arrives at most once, and in order. It
// arrives on every node that the directory has for the room; a node that has
// just entered a room hears what is said from then on when the others have been
// told by Redis, some milliseconds later. While Redis is away, what is volatile
// is dropped, the rest waits in a bounded queue. What is dropped is counted.
// Of two nodes that enter a room at the same time, at least one hears the
// other's user_joined.
//
// Members of other nodes are up to about a second old, and of many may be off
// by 1/8.
//
// An order that was kept is in Redis as soon as Redis is reached, and again when
// Redis has lost it.
//
// Nodes of versions before this layout use other names: in a rolling update old
// and new nodes do not hear what each other's clients say.
package cluster
