// Package contract writes down what clients and services rely on, in forms that
// programs read: an AsyncAPI 3 document of the events, an OpenAPI 3.1 document of
// the endpoints, and a TypeScript declaration for socket.io-client. They are made
// from the tables that the gateway runs on: the routes, the events of clients, and
// rooms.ClientEventDocs and rooms.ServerEventDocs.
//
//	types.go    types of members, as TypeScript and as JSON Schema
//	events.go   all events, with their types
//	ts.go       the TypeScript declaration
//	asyncapi.go the AsyncAPI document
//	openapi.go  the OpenAPI document
package contract
