// Package adapter makes the gateway a member of a fleet of Socket.IO servers on
// Node.js that share rooms through Redis with @socket.io/redis-adapter (7 and
// 8, the classic one) and @socket.io/redis-emitter (4 and 5).
//
//	names.go          channels
//	broadcast.go      events for clients: [uid, packet, options]
//	request.go        what servers ask each other for, and the answers
//	notepack          the dialect of MessagePack in which they are written
//	subscriptions.go  which rooms' channels are to be subscribed
//	adapter.go        the port rooms.Outside, start and stop
//	connection.go     the connection that subscribes
//	receive.go        what comes from the other servers
//	publisher.go      what goes to them
//
// The gateway subscribes to the exact channels of the rooms it holds, never to
// the pattern: without members of a room it gets nothing of it. Events from
// here go to the Node servers once, from the node whose client speaks; gateway
// nodes know each other's messages by the sender and leave them to the node
// channels of rooms/cluster. Pub/sub keeps nothing: what is published while
// Redis or a server is away does not come later.
//
// Node passes on whatever it decodes, and its clients die of some of it:
// packets that are no events, reserved names, data that is no list. Such a
// message is dropped here, and counted with its reason.
package adapter
