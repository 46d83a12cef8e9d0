// Package presence finds out when a user has the first and the last socket on
// all nodes, and a room its first and last member, and has services told: a
// state machine without goroutines, clock and I/O.
//
//	core.go     what this node has, and its session
//	write.go    counts are written to Redis
//	tell.go     changes are told to services
//	sweep.go    sessions of dead nodes are removed
//	scripts.go  what Redis does in one step
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
//	    d           1: somebody is there; 0: nobody
//	    since, seen when d has become 1, and 0; Unix ms
//	    told        the d that services were told last
//	    telling     an event that is being published: d, id, n and time
//	presence:{7}:untold       sorted set: rooms whose d is not told, by when it is to be told
//	presence:{7}:has:SESSION  set: rooms in which the session has sockets
//	presence:{7}:gone:SESSION the session was removed: late commands in its name do nothing
//	presence:{s}:sessions     sorted set: sessions by when their lease ends
//
// # Order
//
// A node writes how many sockets it has in a room. The script adds that up, and
// when d changes it puts the room into untold, to be told now, or after the
// grace when the room has become empty. Any node may tell it:
//
//  1. claim: the script sets telling, unless it is set already, with a new id,
//     and moves the room's time in untold by claimTime, so that no other node
//     claims it meanwhile. When d is what was told, there is nothing to tell.
//  2. The event is published. A failure leaves telling as it is: the event with
//     that id is published again, by this node or another.
//  3. confirm: the script sets told, removes telling, and takes the room out of
//     untold or, if d has changed since, has it told next.
//
// So at most one event of a room is not confirmed at any time, its id does not
// change, and the next one has the other d. Services that drop events with an id
// they know see the states of a room alternate and end in the truth, whichever
// nodes die in between and however often RabbitMQ is away: what is untold is one
// entry a room in Redis, and a room that is back in the state that was told has
// none.
//
// # Sessions
//
// A session is what a node has written since it last was sure of Redis. Its lease
// is renewed each fifth of its length. After a failure the next session begins,
// all counts are written anew, each in one step with the removal of the former
// session's, and what is left of that is removed. Sessions whose lease has ended
// are removed by other nodes, but only by those that have renewed their own for
// the length of a lease: when Redis was away for all, nobody is dead.
//
// Before a session of this node is removed, the next one lists it again: Redis may
// have lost the list, or executed late commands in the session's name. A node
// whose lease has run out renews it before it writes anything.
//
// When Redis loses its data, everybody who is online is told to be online again.
// What was told in the last seconds before Redis was set back to an older state is
// not told again.
package presence
