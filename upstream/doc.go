// Package upstream brings the events of the services to the rooms of this node.
// Services publish to RabbitMQ or over HTTP; every event gets into a log, which
// every node reads for itself.
//
//	eventlog/      what a log is, and how one is followed (state machines)
//	rabbitmq/      the log in RabbitMQ, dead letters, everything that speaks AMQP
//	redislog/      the log in Redis
//	follower.go    follows a log for somebody
//	consumer.go    for the rooms of this node
//	intake.go      an entry of the log becomes messages for rooms
//	orders.go      orders of the back office, which act on every node
//	encode.go      a body becomes rooms and a message, encoded once
//	route.go, routes.go, template.go, routesfile.go  the table that says how
//	clientevents.go  events of clients that are declared beside the routes
//	poison.go      what cannot be delivered
//	sorter.go      puts it aside, on one node at a time
//	choice.go      another log, when RabbitMQ has no streams
//	fallback.go    a log in memory until the real one is there, for development
//	http.go        POST /events/{key}
//	timestamp.go   when an event was published
//	trace.go       the trace an event belongs to, in the gateway's own log
//	status.go      figures
//
// # Promises
//
// Each node reads every event once, in the order of the log, and goes on behind
// the last one after any failure. Nothing is dropped when a node is slow: it
// reads only what its rooms can take, and no other node waits for it. What the
// log has forgotten before the node could read it is counted, and the node's
// clients are told missed_events and connect anew.
//
// A socket is given an event when the event's position in the log is above the
// position of the last event that it was given. So an event for several rooms
// comes once to a client that is in two of them.
//
// An event that its publisher has published twice, with the same id, exchange,
// key, application and body, is delivered once, if the second one is within
// 65,536 positions of the first.
//
// An event that can never be delivered goes to the queue of the dead letters.
// One node at a time looks for them, by a reading of its own, so that nobody
// waits when they cannot be written. A letter may be there twice when that node
// has died between writing it and noting that; both have the same id.
//
// POST /events/{key} is answered 202 when the log has the event.
//
// # The routes file
//
// A YAML file with the lists "routes" and "client_events"; docs/services.md
// describes the latter. Each route has
//
//	event     the key, or a pattern: "*" is any one word, "#" any number
//	rooms     a template, or a list of them: where it goes
//	emit      the name of the event that clients get
//	fields    "all", or a list: the body that clients get
//	volatile  true: a client with a backlog does without it; else false
//	latest    a template that names the state the event tells: a client on
//	          WebSocket that is behind gets only the newest event of each state
//
// A template has members of the body in braces: "user:{userId}". Of
// {userId|recipientId} the first that is there counts. {userIds[]} is a list,
// with a room for each element. Ids are texts or whole numbers. Where a member
// is missing the template gives no room; an event without any is poison.
//
// A field is a name, or {name, from, default}: from is the member it is taken
// from, or several with "|" between; "$key" is the event's key with "_" for
// "."; default is what stands in for a member that is missing or null. Without
// default such a field is left out. "timestamp" stands for the body's, else
// the envelope's, else the time of publishing.
//
// A route with the key of a built-in one takes its place. The exact key goes
// before patterns, and they go in the order of the file.
//
// The log is bound to the services' exchanges with the keys of all routes. The
// bindings of a route that has been taken out stay, until somebody removes
// them; its events are dead letters then.
package upstream
