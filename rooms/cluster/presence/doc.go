// Package presence detects when a user's first socket on all nodes connects and
// the last one disconnects, and when a room gets its first member and loses its
// last one. It publishes these changes to services. It is a state machine
// without goroutines, clock and I/O.
//
//	core.go     the counts of this node
//	session.go  the session of this node, and its lease
//	write.go    writing counts to Redis
//	tell.go     publishing events to services
//	sweep.go    removing sessions of dead nodes
//	scripts.go  the Lua scripts
//	event.go    the events
//
// # In Redis
//
// Rooms are spread over 16 partitions by a hash, so that the keys that a script
// touches are in one slot of Redis Cluster. Each name begins with KEY_PREFIX and
// the number of the database. {7} is the partition:
//
//	presence:{7}:of:user:42   hash of a room:
//	    c:SESSION   sockets on the node of that session
//	    n           the sum of these
//	    d           1: the room has sockets; 0: it has none
//	    since, seen when d became 1, and when it became 0; Unix ms
//	    told        the d that was published last
//	    telling     an event that is being published: d, id, n and time
//	presence:{7}:untold       sorted set: rooms whose d is not published, by the time at which it is due
//	presence:{7}:has:SESSION  set: rooms in which the session has sockets
//	presence:{7}:gone:SESSION the session was removed: late commands in its name have no effect
//	presence:{s}:sessions     sorted set: sessions by the end of their lease
//
// # Order
//
// A node writes how many sockets it has in a room. The script updates the sum.
// When d changes, it adds the room to untold: due now, or after the grace if the
// room has become empty. Any node may publish the change:
//
//  1. claim: the script sets telling, with a new id, unless it is set already.
//     It moves the room's time in untold by claimTime, so that no other node
//     claims the event meanwhile. If d equals told, there is no event.
//  2. The event is published. A failure leaves telling unchanged, and this node
//     or another one publishes the event with that id again.
//  3. confirm: the script sets told and removes telling. It removes the room
//     from untold or, if d has changed since, makes the next event due.
//
// So at most one event of a room is unconfirmed at any time, its id does not
// change, and the next event has the other d. Services that drop events with an
// id they know see the states of a room alternate, and the last one is true.
// This holds when nodes die and when RabbitMQ is unreachable. Redis has one
// entry in untold for each room with an unpublished change, and none for a room
// that is back in the published state.
//
// # Sessions
//
// A session names what a node has written since its last failure with Redis.
// Its lease is renewed each fifth of its length. After a failure the next
// session begins and all counts are written again. The script that writes a
// count also removes the former session's count of that room. The rest of the
// former session is removed afterwards. Other nodes remove sessions whose lease
// has ended. Only a node that has renewed its own lease for the length of a
// lease does so: if Redis was unreachable for all nodes, none is removed.
//
// Before a session of this node is removed, the next session adds it to the list
// of sessions again: Redis may have lost the list, or executed late commands in
// the session's name. A node whose lease has expired renews it before it writes
// anything.
//
// When Redis loses its data, user.online is published again for every user who
// is online. When Redis is set back to an older state, events that were
// published in the seconds before are not published again.
package presence
