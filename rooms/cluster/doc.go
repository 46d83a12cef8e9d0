// Package cluster makes many nodes one, through Redis: a message goes to those
// nodes only that hold its room, and when no other node does, nothing is sent.
//
//	cluster.go    the port rooms.Cluster, start and stop
//	server.go     how to reach Redis: alone, by Sentinel, as Redis Cluster
//	names.go      keys, channels and ids
//	keeper.go     connects, and keeps this node's session
//	lease.go      what the nodes say of themselves
//	view.go       what the keeper found out, for the lanes
//	lane.go       what waits for Redis, by room
//	step.go       a lane's goroutine
//	register.go   a lane writes the directory
//	ask.go        a join waits until the other nodes have noticed
//	publish.go    a lane reads it, and publishes
//	parcel.go     what goes to one node at once
//	deliver.go    events of the services, which must not get lost
//	members.go    how many a room has
//	orders.go     tokens that no node may take
//	envelope.go   the form of messages between nodes
//	receive.go, window.go  what comes from the other nodes, once
//	sweep.go      what a dead node has left behind
//	gap.go        has this node missed something?
//	check.go      is the directory right?
//
// # In Redis
//
// Every name begins with KEY_PREFIX and the database's number, because pub/sub
// knows no databases.
//
//	ws:1:room:conversation:42  set of integers: the sessions that hold the room
//	ws:1:{nodes}               set of integers: the sessions there are
//	ws:1:{nodes}:<session>     lease, gone some seconds after its node has died
//	ws:1:node:<node>           channel of a node
//	ws:1:room:nodes            set of integers: as of a room that all are in
//	ws:1:orders                sorted set: orders that last, by when they end
//
// A node has a random number for its life. A session is the node's number and
// a count, and lasts as long as Redis keeps what it was told over one unbroken
// connection: with a lost connection, a lost lease or a flushed database the
// count goes up, and the node registers all its rooms anew. So a session that
// was found dead is dead for ever, and what is written late in its name, by
// commands that hung in a buffer, does no harm.
//
// # Who hears what
//
// A join is acknowledged when the directory has the room and every other node
// that holds it has answered that it has noticed (ask.go). So what is
// broadcast after the acknowledgement, by whom and on which node ever, reaches
// who joined. A node that takes a room for its own alone relies on that, and
// sends nothing; it does so for as long only as its lease surely lasts. Who
// publishes to a room without holding it is asked by nobody, and fences what
// it reads with a command (publish.go). Of two who join at once on two nodes,
// the one whom the directory has later finds the other.
//
// The exception is a node that does not answer: after JoinTimeout the join is
// acknowledged in any case, and counted.
//
// # How many they are
//
// Everything that a node says of a room carries the members it has there. Who
// enters a room has asked all others, and so is told exactly. Later, who comes
// and goes is announced; where it is not, because the room is a crowd, a question
// once a second tells of a change (members.go). What was said by nodes that have
// lost their lease or left the room does not count.
//
// # Orders
//
// An order of the back office is published to a room in which every node is,
// and so reaches those that an event for a room they hold would. One that lasts
// is in Redis before: a node reads what is there with each session and each
// subscription, when the directory has it in that room, so that of each order
// it is told in one way or the other. Only then is it ready. What Redis has
// lost, by a flush or because it came back empty, the nodes give it again.
//
// # What is lost
//
// Pub/sub keeps nothing. What clients broadcast waits in a bounded queue while
// Redis is away, but for what is volatile; events of services are not
// acknowledged until Redis has taken them, and as long as a node that may hold
// the room has its lease and no subscription they wait for it (a lane keeps
// parkedBytes for a node). The longest wait is that for a node which dies while
// Redis loses its data: nobody knows then which rooms it held, and all events
// wait for memoryLeases.
//
// A node that is cut off from Redis for longer than its lease, while the
// others are not, is not waited for. Its clients go on among themselves, and
// when it is back it has them connect anew (gap.go): only they know what of all
// that they may have missed they want to fetch, and every client does so after
// it has connected. To tell them with an event would be kinder to those who
// know it and nothing to the others.
package cluster
