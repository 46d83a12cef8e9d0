// Package routes holds the route table and the encoder: from the key and the
// body of a service's event to its rooms and to the message that clients get.
// It reads no network and no log; only LoadTable reads a file.
//
//	route.go         one route, and the patterns of keys
//	table.go         all routes, the built-in ones among them; finding one by key
//	reload.go        replacing the table while it is in use
//	template.go      names of rooms from the members of a body
//	encode.go        a body becomes rooms and a message, encoded once
//	orders.go        a body becomes an order of the back office
//	file.go          the routes file
//	clientevents.go  the client events that the routes file declares
//	poison.go        why an event cannot be delivered
//	fault.go         where a body is not JSON, for its publisher
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
package routes
