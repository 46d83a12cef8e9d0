// Package upstream is the back door: events of the services come in, through
// RabbitMQ or HTTP, and go to the rooms they are for.
//
//	supervisor.go  a connection to RabbitMQ, and after it the next, for ever
//	link.go        one connection
//	topology.go    exchanges, queues, bindings
//	intake.go      one queue's events, one after the other
//	recent.go      what this node has delivered lately, to know it again
//	orders.go      what the back office wants of all nodes
//	encode.go      a body becomes rooms and a message, encoded once
//	route.go, routes.go, template.go, routesfile.go  the table that says how
//	acks.go        an event is acknowledged when all receivers have it
//	poison.go, letter.go, letterbox.go  what cannot be delivered
//	deadletter.go  the queue of the dead letters, for the command line
//	http.go        POST /events/{key}
//	trace.go       the trace an event belongs to, in the log
//	publish.go     the way out, for the command line
//
// # Promises
//
// A queue's events are delivered one after the other, in the queue's order; of
// two nodes only one takes them (single active consumer). An event is
// acknowledged when it is with the members of its rooms. When delivering fails
// it is tried again, with growing pauses, and those behind it wait. What can
// never be delivered goes to the queue of dead letters and is acknowledged
// when RabbitMQ has confirmed that it is there. So an event may come twice, a
// redelivered one only to those that did not come by this node before, and
// none is lost.
//
// An event that several rooms are for comes once to a client that sits in two
// of them.
//
// An event that RabbitMQ has delivered 21 times in vain, because each time the
// node that had it died, goes to the dead letters too, and with it those that
// were on their way beside it each time.
//
// # The routes file
//
// A YAML file with the list "routes". Each route has
//
//	event     the key, or a pattern: "*" is any one word, "#" any number
//	rooms     a template, or a list of them: where it goes
//	emit      the name of the event that clients get
//	fields    "all", or a list: the body that clients get
//	volatile  true: a client with a backlog does without it; else false
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
// A route has a durable queue, named prefix and key, unless a pattern takes all
// its events: then they come by the queue of that one, and keep their order
// among its other events. But a queue that is there already stays in use; when
// it is empty it may be deleted. Where two patterns overlap, an event is in both
// queues and taken from that of the first; what waited in the other when the
// first was added is lost, so add a pattern behind those it overlaps with. The
// queue of a route that has been taken out stays, and fills, until somebody
// deletes it.
package upstream
