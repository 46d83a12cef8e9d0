// Package rooms is the middle of the house: who is in which room, and what an
// event does. It has state but no I/O and no clock; `now` comes in.
//
// A Hub is one node. It has one Shard for each event loop, and a Shard holds
// its loop's sockets and its loop's members of every room, so that nothing a
// loop does to them needs a lock. What one loop has to tell another goes
// through the other's mailbox.
//
// The life of a socket: Shard.Open when Engine.IO is open; Socket.Text with a
// CONNECT packet, which verifies the token, puts the socket into its user room
// and answers; events, each run by a Handler; Socket.Closed, whichever way the
// connection ended, which takes it out of every room.
//
// The life of an event: a handler or the back door makes one codec.Message.
// Members on the same loop get it through Sink.Send at once; each other loop
// that holds the room gets one letter, whatever the number of its members. A
// Sink only queues: it writes at the end of its loop's turn, so that what came
// together leaves together.
package rooms
