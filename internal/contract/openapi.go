package contract

import (
	"strconv"

	"github.com/hometrip/gateway/upstream/publish"
	"github.com/hometrip/gateway/upstream/routes"
)

// userState is the type of the state of a user.
var userState = objectOf(member{name: "userId", typ: text}, member{name: "online", typ: boolean}, member{name: "sockets", typ: whole},
	member{name: "nodes", typ: whole}, member{name: "since", typ: orNull(moment)}, member{name: "lastSeen", typ: orNull(moment)})

// failure is the type of an error's body.
func failure() typ {
	var reasons []string
	for _, r := range routes.Reasons() {
		reasons = append(reasons, r.String())
	}
	return objectOf(member{name: "error", typ: text}, member{name: "reason", typ: oneOf(append(reasons, publish.BadIdempotencyKey)...), optional: true})
}

// accepted is the answer to an event that is in the log.
var accepted = objectOf(member{name: "rooms", typ: whole, optional: true}, member{name: "sockets", typ: whole, optional: true},
	member{name: "elsewhere", typ: boolean, optional: true}, member{name: "order", typ: boolean, optional: true}, member{name: "position", typ: text, optional: true})

var health = objectOf(member{name: "status", typ: oneOf("healthy", "degraded", "draining")}, member{name: "service", typ: text},
	member{name: "redis", typ: oneOf("disabled", "disconnected", "connected")}, member{name: "eventBus", typ: open(member{name: "isConnected", typ: boolean})},
	member{name: "version", typ: text, optional: true}, member{name: "connectedSockets", typ: whole, optional: true})

var ready = objectOf(member{name: "ready", typ: boolean}, member{name: "reasons", typ: listOf(text), optional: true}, member{name: "warnings", typ: listOf(text), optional: true})

// Paths returns the endpoints in the form of the document.
func Paths() object {
	failed := failure()
	user := object{"name": "id", "in": "path", "required": true, "schema": text.schema}
	return object{
		"/health": object{"get": operation("The state of this node.", nil, nil, answers{200: {"it serves", health}, 503: {"it is being ended", health}})},
		"/ready":  object{"get": operation("Whether clients may be sent here.", nil, nil, answers{200: {"yes", ready}, 503: {"no, and why", ready}})},
		"/metrics": object{"get": operation("Figures; Prometheus' text form when Accept asks for it.", nil, nil,
			answers{200: {"the figures", open(member{name: "connectedSockets", typ: whole})}, 401: {"METRICS_TOKEN is wanted", failed}})},
		"/events/{key}": object{"post": operation("Publish an event of a service.",
			[]any{object{"name": "key", "in": "path", "required": true, "schema": text.schema},
				object{"name": "Idempotency-Key", "in": "header", "schema": object{"type": "string", "minLength": 1, "maxLength": 255}}},
			&typ{schema: object{"type": "object"}},
			answers{202: {"the log has it", accepted}, 400: {"it is no JSON object", failed}, 401: {"PUBLISH_TOKEN is wanted", failed},
				403: {"closed", failed}, 404: {"no route", failed}, 413: {"too large", failed}, 422: {"no room for it", failed}, 503: {"not in the log", failed}})},
		"/users/{id}": object{"get": operation("How a user stands, on all nodes.", []any{user}, nil,
			answers{200: {"the user", userState}, 401: {"PUBLISH_TOKEN is wanted", failed}, 403: {"closed", failed}, 404: {"PRESENCE_EVENTS is false", failed}, 503: {"Redis does not tell", failed}})},
		"/users": object{"post": operation("How up to 1,000 users stand.", nil, ref(objectOf(member{name: "users", typ: listOf(id)})),
			answers{200: {"the users, in their order", objectOf(member{name: "users", typ: listOf(userState)})}, 400: {"not such a list", failed},
				401: {"PUBLISH_TOKEN is wanted", failed}, 403: {"closed", failed}, 404: {"PRESENCE_EVENTS is false", failed}, 503: {"Redis does not tell", failed}})},
	}
}

func ref(t typ) *typ { return &t }

// answers are the possible answers of an operation, by status.
type answers map[int]struct {
	doc  string
	body typ
}

func operation(doc string, parameters []any, body *typ, list answers) object {
	responses := object{}
	for status, a := range list {
		responses[strconv.Itoa(status)] = object{"description": a.doc, "content": object{"application/json": object{"schema": a.body.schema}}}
	}
	o := object{"summary": doc, "responses": responses}
	if parameters != nil {
		o["parameters"] = parameters
	}
	if body != nil {
		o["requestBody"] = object{"required": true, "content": object{"application/json": object{"schema": body.schema}}}
	}
	if _, guarded := list[401]; guarded {
		o["security"] = []any{object{"bearer": []string{}}}
	}
	return o
}

// OpenAPI returns an OpenAPI 3.1 document of the endpoints on PORT.
func OpenAPI(version string) []byte {
	return document(object{
		"openapi": "3.1.0", "info": object{"title": title, "version": version}, "paths": Paths(),
		"components": object{"securitySchemes": object{"bearer": object{"type": "http", "scheme": "bearer"}}},
	})
}
