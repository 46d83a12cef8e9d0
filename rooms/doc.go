// Package rooms knows who is in which room, and what an event does. It has
// state but no I/O and no clock; `now` is an argument.
//
// A Hub is one node. It has one Shard for each event loop, and a Shard has its
// loop's sockets and its loop's members of every room, so what a loop does to
// them needs no lock. Messages from one loop to another go through the other's
// mailbox.
//
// The life of a socket: Shard.Open when the Engine.IO session opens;
// Socket.Text with a CONNECT packet, which verifies the token, puts the socket
// into its user's room and answers; then events, each run by a Handler;
// Socket.Closed, whichever way the connection ended, which takes it out of
// every room.
//
// The life of an event: a handler, or the log of service events, makes one
// codec.Message. Members on the same loop get it through Sink.Send at once;
// each other loop that holds the room gets one message in its mailbox, whatever
// the number of its members. A Sink only queues; it writes at the end of its
// loop's turn, so that messages which come together are written together.
package rooms
