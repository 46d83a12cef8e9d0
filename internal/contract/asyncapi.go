package contract

import (
	"encoding/json"
	"regexp"

	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/rooms/cluster/presence"
	"github.com/hometrip/gateway/upstream/routes"
)

const title = "HomeTrip gateway"

// document formats a document.
func document(d object) []byte {
	text, _ := json.MarshalIndent(d, "", "  ") // of plain values: it cannot fail
	return append(text, '\n')
}

// refused is the answer to a refused event of a client.
var refused = objectOf(member{name: "error", typ: text})

var outside = regexp.MustCompile(`[^a-zA-Z0-9_-]`)

// AsyncAPI returns an AsyncAPI 3 document: what clients send and receive over
// Socket.IO, and what services publish and receive over RabbitMQ.
func AsyncAPI(table *routes.Table, version string) []byte {
	d := &asyncAPI{messages: object{}, channels: object{}, operations: object{}}
	d.channel("socket", "/", "The namespace / of Socket.IO, at the path /socket.io/.", "socketio")
	for _, e := range clientEvents(table) {
		answer := object{"oneOf": []any{e.ack.schema, refused.schema}}
		d.message("socket", "client_"+e.name, e.name, e.doc, object{"type": "array", "prefixItems": []any{object{"const": e.name}, e.body.schema}, "x-ack": answer}, "receive")
	}
	for _, e := range table.ClientEvents() { // for the console
		d.messages["client_"+outside.ReplaceAllString(e.Name, "_")].(object)["x-declared"] = true
	}
	for _, e := range serverEvents(table) {
		d.message("socket", "server_"+e.name, e.name, e.doc, object{"type": "array", "prefixItems": []any{object{"const": e.name}, e.body.schema}}, "send")
	}
	d.channel("events", "hometrip_events", "The topic exchange that services publish to (RABBITMQ_EXCHANGE). The routing key is the event's name.", "rabbitmq")
	for _, r := range table.Current() {
		doc := "Clients get " + r.Emit + "."
		if r.OrderDoc() != "" {
			doc = "An order of the back office: " + plain(r.OrderDoc()) + "."
		}
		d.message("events", "service_"+r.Event, r.Event, doc, object{"type": "object"}, "receive")
	}
	for _, e := range table.ClientEvents() {
		if e.Key != "" {
			d.message("events", "service_"+e.Key, e.Key, "A client sent "+e.Name+".", outgoing(&e).schema, "send")
		}
	}
	d.channel("presence", "hometrip_presence", "The topic exchange of PRESENCE_EXCHANGE, with PRESENCE_EVENTS=true.", "rabbitmq")
	for i, key := range presence.Keys {
		d.message("presence", "presence_"+key, key, presenceDocs[i], presenceBody(key).schema, "send")
	}
	return document(object{
		"asyncapi": "3.0.0",
		"info":     object{"title": title, "version": version, "description": "Events of clients and services. Reasons of ended sessions: " + reasons() + "."},
		"channels": d.channels, "operations": d.operations, "components": object{"messages": d.messages},
	})
}

// An asyncAPI is a document that is being made.
type asyncAPI struct{ channels, operations, messages object }

func (d *asyncAPI) channel(name, address, doc, protocol string) {
	d.channels[name] = object{"address": address, "description": doc, "messages": object{}, "x-protocol": protocol}
}

// message adds a message, which the gateway sends or receives.
func (d *asyncAPI) message(channel, key, name, doc string, payload object, action string) {
	key = outside.ReplaceAllString(key, "_")
	d.messages[key] = object{"name": name, "summary": doc, "contentType": "application/json", "payload": payload}
	d.channels[channel].(object)["messages"].(object)[key] = object{"$ref": "#/components/messages/" + key}
	d.operations[action+"_"+key] = object{
		"action": action, "channel": object{"$ref": "#/channels/" + channel},
		"messages": []any{object{"$ref": "#/channels/" + channel + "/messages/" + key}},
	}
}

// outgoing is the type of what services get for a declared event.
func outgoing(e *rooms.ClientEvent) typ {
	members := []member{{name: "eventName", typ: is(e.Key)}, {name: "source", typ: text}, {name: "socketId", typ: text}, {name: "userId", typ: orNull(text)}}
	where := member{name: "room", typ: text}
	if e.Room == nil {
		where.typ = orNull(text)
	}
	return objectOf(append(members, where, member{name: "timestamp", typ: moment}, member{name: "data", typ: open(argument(e)...)})...)
}

// presenceDocs say when the events of presence.Keys are published.
var presenceDocs = []string{
	"A user has the first socket on all nodes.", "A user's last socket is gone.",
	"A room has the first member on all nodes.", "A room's last member is gone.",
}

func presenceBody(key string) typ {
	data := objectOf(member{name: "userId", typ: text}, member{name: "sockets", typ: whole})
	if key == "room.occupied" || key == "room.vacated" {
		data = objectOf(append([]member{{name: "room", typ: text}, {name: "members", typ: whole}}, room...)...)
	}
	return objectOf(member{name: "eventName", typ: is(key)}, member{name: "source", typ: text}, member{name: "timestamp", typ: moment}, member{name: "data", typ: data})
}

// reasons lists why sessions end.
func reasons() (list string) {
	for i, r := range rooms.Reasons() {
		if i > 0 {
			list += ", "
		}
		list += r.String()
	}
	return list
}
