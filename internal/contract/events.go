package contract

import (
	"slices"
	"strings"

	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/upstream/routes"
)

// An event is an event that clients send or receive.
type event struct {
	name string
	doc  string
	body typ
	ack  typ // of events of clients: the answer of success
}

// sender are the members that the gateway adds about an event's sender.
var sender = []member{
	{name: "socketId", typ: text}, {name: "userId", typ: orNull(text)}, {name: "room", typ: text}, {name: "timestamp", typ: moment},
}

var room = []member{{name: "roomType", typ: oneOf("conversation", "notification")}, {name: "roomId", typ: text}}

// roomAsked are the members with which clients name a room.
var roomAsked = []member{{name: "roomType", typ: oneOf("conversation", "notification")}, {name: "roomId", typ: id}}

// serverBodies are the members of the events that the gateway itself sends.
var serverBodies = map[string][]member{
	"connected":           {{name: "socketId", typ: text}, {name: "userId", typ: text}, {name: "message", typ: text}},
	"token_expiring_soon": {{name: "expiresIn", typ: whole}},
	"session_ended":       {{name: "reason", typ: text}},
	"room_state":          {{name: "room", typ: text}, {name: "members", typ: whole}},
	"recovery_state":      {},
	"room_revoked":        {{name: "room", typ: text}, {name: "reason", typ: text}},
	"user_joined":         sender,
	"user_left":           sender,
	"user_typing":         sender,
	"user_stop_typing":    sender,
}

// clientBodies are the members of the built-in events of clients, and the
// members of their successful answers in addition to success.
var clientBodies = map[string]struct{ body, ack []member }{
	"join_room":     {roomAsked, []member{{name: "message", typ: text}, {name: "members", typ: whole}}},
	"leave_room":    {roomAsked, []member{{name: "message", typ: text}}},
	"typing":        {roomAsked, nil},
	"stop_typing":   {roomAsked, nil},
	"refresh_token": {[]member{{name: "token", typ: text}}, nil},
	"catch_up": {append(slices.Clone(roomAsked), member{name: "offset", typ: text}), []member{{name: "events", typ: listOf(typ{
		"[name: string, body: unknown, offset: string]", object{"type": "array", "minItems": 3, "maxItems": 3}})}}},
}

func success(members []member) typ {
	return objectOf(append([]member{{name: "success", typ: typ{"true", object{"const": true}}}}, members...)...)
}

// clientEvents returns the events that clients send.
func clientEvents(table *routes.Table) (list []event) {
	for _, d := range rooms.ClientEventDocs() {
		b := clientBodies[d.Name]
		list = append(list, event{name: d.Name, doc: "The others in the room get " + plain(d.Text) + ".", body: objectOf(b.body...), ack: success(b.ack)})
	}
	for _, e := range table.ClientEvents() {
		list = append(list, event{name: e.Name, doc: declaredDoc(&e), body: open(argument(&e)...), ack: success(nil)})
	}
	return list
}

// argument returns the known members of a declared event's argument.
func argument(e *rooms.ClientEvent) (members []member) {
	for _, p := range e.Room {
		for _, name := range p.From {
			members = append(members, member{name: name, typ: id, optional: len(p.From) > 1})
		}
	}
	for _, name := range e.Fields {
		if !slices.ContainsFunc(members, func(m member) bool { return m.name == name }) {
			members = append(members, member{name: name, typ: anything, optional: true})
		}
	}
	return members
}

func declaredDoc(e *rooms.ClientEvent) string {
	var parts []string
	if e.Emit != "" {
		parts = append(parts, "The others in "+e.RoomText()+" get "+e.Emit+".")
	}
	if e.Key != "" {
		parts = append(parts, "Services get "+e.Key+".")
	}
	return strings.Join(parts, " ")
}

// serverEvents returns the events that clients receive.
func serverEvents(table *routes.Table) (list []event) {
	at := make(map[string]int) // index in list
	add := func(e event) {
		i, twice := at[e.name]
		if !twice {
			at[e.name] = len(list)
			list = append(list, e)
			return
		}
		list[i].doc += " " + e.doc // several routes emit it
		list[i].body = typ{list[i].body.ts + " | " + e.body.ts, object{"anyOf": []any{list[i].body.schema, e.body.schema}}}
	}
	for _, d := range rooms.ServerEventDocs() {
		add(event{name: d.Name, doc: "Sent when " + plain(d.Text) + ".", body: objectOf(serverBodies[d.Name]...)})
	}
	for _, r := range table.Current() {
		if r.OrderDoc() == "" {
			add(event{name: r.Emit, doc: "Sent when a service published " + r.Event + ".", body: routed(r)})
		}
	}
	for _, e := range table.ClientEvents() {
		if e.Emit == "" {
			continue
		}
		var members []member
		for _, m := range argument(&e) {
			if e.Fields == nil || slices.Contains(e.Fields, m.name) {
				members = append(members, m)
			}
		}
		members = append(members, sender...)
		body := objectOf(members...)
		if e.Fields == nil {
			body = open(members...)
		}
		add(event{name: e.Emit, doc: "Sent when another socket in the room sent " + e.Name + ".", body: body})
	}
	return list
}

// routed returns the type of the body that a route makes. Services decide what
// is in its members; those that name the room are ids.
func routed(r *routes.Route) typ {
	if r.All {
		return open(member{name: "timestamp", typ: anything})
	}
	var members []member
	for _, f := range r.Fields {
		m := member{name: f.Name, typ: anything, optional: f.Default == "" && f.Name != "timestamp"}
		switch {
		case slices.Contains(f.From, routes.FromKey):
			m.typ, m.optional = text, false
		case slices.ContainsFunc(r.Rooms, func(room string) bool { return strings.Contains(room, "{"+f.Name+"}") }):
			m.typ, m.optional = id, false
		}
		members = append(members, m)
	}
	return objectOf(members...)
}

// plain removes the marks of Markdown from a sentence.
func plain(text string) string {
	text = strings.ReplaceAll(text, "`", "")
	for {
		head, rest, found := strings.Cut(text, "[")
		label, tail, closed := strings.Cut(rest, "](")
		_, after, ended := strings.Cut(tail, ")")
		if !found || !closed || !ended {
			return text
		}
		text = head + label + after
	}
}
