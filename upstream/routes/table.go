package routes

import (
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/hometrip/gateway/rooms"
)

// A Table finds the route of an event. It may be shared. Only Replace changes
// what it finds.
type Table struct {
	newer atomic.Pointer[Table] // that Find looks into instead; see Replace

	exact    map[string]*Route
	patterns []*Route // in the order in which they are tried
	routes   []*Route // all

	clientEvents []rooms.ClientEvent
}

// builtIn returns the routes of the contract.
func builtIn() []Route {
	return []Route{
		{
			Event: "message.sent", Rooms: []string{"conversation:{conversationId}"}, Emit: "new_message",
			Fields: []Field{
				{Name: "conversationId"}, {Name: "senderId"}, {Name: "recipientId"}, {Name: "message"},
				{Name: "messageId", From: []string{"messageId", "id"}},
				{Name: memberTime},
			},
		},
		{
			Event: "booking.*", Rooms: []string{"user:{userId}"}, Emit: "booking_update",
			Fields: []Field{
				{Name: "bookingId", From: []string{"bookingId", "reservationId"}},
				{Name: "status"},
				{Name: "type", From: []string{FromKey}},
				{Name: memberTime},
			},
		},
		{
			Event: "notification.created", Rooms: []string{"user:{userId}"}, Emit: "new_notification",
			Fields: fields("notificationId", "type", "title", "message", "data", memberTime),
		},
	}
}

func fields(names ...string) (list []Field) {
	for _, name := range names {
		list = append(list, Field{Name: name})
	}
	return list
}

// NewTable returns the built-in routes and more. A route of more with the key
// of a built-in route replaces it. An exact key comes before patterns, and
// patterns are tried in the order given, the built-in ones last.
func NewTable(more []Route) (*Table, error) {
	t := &Table{exact: make(map[string]*Route)}
	for _, r := range orderRoutes() {
		if err := t.add(r); err != nil {
			return nil, err
		}
	}
	for _, r := range more {
		if err := t.add(r); err != nil {
			return nil, err
		}
	}
	for _, r := range builtIn() {
		if t.has(r.Event) {
			continue
		}
		if err := t.add(r); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (t *Table) has(event string) bool {
	return slices.ContainsFunc(t.routes, func(r *Route) bool { return r.Event == event })
}

func (t *Table) add(r Route) error {
	if t.has(r.Event) {
		return fmt.Errorf("event %s has two routes, or is an order of the gateway's", r.Event)
	}
	if err := r.compile(); err != nil {
		return err
	}
	t.routes = append(t.routes, &r)
	if isPattern(r.Event) {
		t.patterns = append(t.patterns, &r)
	} else {
		t.exact[r.Event] = &r
	}
	return nil
}

// Find returns the route of an event's key, nil when there is none.
func (t *Table) Find(key string) *Route {
	t = t.current()
	if r := t.exact[key]; r != nil {
		return r
	}
	for _, r := range t.patterns {
		if matches(r.Event, key) {
			return r
		}
	}
	return nil
}

// Emits reports whether a route makes events of that name for clients.
func (t *Table) Emits(name string) bool {
	return slices.ContainsFunc(t.current().routes, func(r *Route) bool { return !r.order && r.Emit == name })
}

// Routes returns the routes that the table was made with; they must not be
// changed.
func (t *Table) Routes() []*Route { return t.routes }

// ClientEvents returns the declared client events. They must not be changed.
func (t *Table) ClientEvents() []rooms.ClientEvent { return t.current().clientEvents }

// Current returns the routes in effect; they must not be changed.
func (t *Table) Current() []*Route { return t.current().routes }

// Keys returns the keys and patterns of all routes.
func (t *Table) Keys() []string {
	keys := make([]string, len(t.routes))
	for i, r := range t.routes {
		keys[i] = r.Event
	}
	return keys
}
