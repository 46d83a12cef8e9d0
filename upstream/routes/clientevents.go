package routes

import (
	"slices"
	"strconv"

	"github.com/goccy/go-yaml/ast"

	"github.com/hometrip/gateway/rooms"
)

// Defaults of a client event.
const (
	defaultEventBytes = 4096
	defaultEventRate  = 10 // a second, of a socket
	defaultBurst      = 2  // seconds' worth
)

// parseClientEvents reads the list client_events.
func (t *Table) parseClientEvents(list []ast.Node) (events []rooms.ClientEvent, err error) {
	lines := make(map[string]int)
	for _, node := range list {
		e, err := parseClientEvent(node)
		if err != nil {
			return nil, err
		}
		if first, twice := lines[e.Name]; twice {
			return nil, atLine(node, "event %s is declared in line %d already", e.Name, first)
		}
		if err := e.Check(); err != nil {
			return nil, atLine(node, "%w", err)
		}
		if e.Emit != "" && t.Emits(e.Emit) {
			return nil, atLine(node, "emit %q: a route emits it, and clients could forge events of services", e.Emit)
		}
		if r := t.Find(e.Key); e.Key != "" && r != nil {
			return nil, atLine(node, "publish %q: the route of %s takes it, and clients could forge events of services", e.Key, r.Event)
		}
		lines[e.Name] = lineOf(node)
		events = append(events, e)
	}
	return events, nil
}

func parseClientEvent(node ast.Node) (e rooms.ClientEvent, err error) {
	m, err := members(node, "event", "room", "senders", "emit", "fields", "volatile", "publish", "ack", "max_bytes", "rate", "burst")
	if err != nil {
		return e, err
	}
	if _, ok := m["event"]; !ok {
		return e, atLine(node, "the client event has no event")
	}
	for name, field := range map[string]*string{"event": &e.Name, "emit": &e.Emit, "publish": &e.Key} {
		if value, ok := m[name]; ok {
			if *field, err = textOf(value); err != nil {
				return e, err
			}
		}
	}
	if e.Room, err = eventRoom(m["room"]); err != nil {
		return e, err
	}
	if e.Anyone, err = choiceOf(m, "senders", "members", "anyone"); err != nil {
		return e, err
	}
	if e.Confirm, err = choiceOf(m, "ack", "at_once", "confirmed"); err != nil {
		return e, err
	}
	if e.Volatile, err = flagOf(m, "volatile"); err != nil {
		return e, err
	}
	if err := eventFields(&e, node, m["fields"]); err != nil {
		return e, err
	}
	if key := m["publish"]; key != nil && (checkEventKey(e.Key) != nil || isPattern(e.Key)) {
		return e, atLine(key, "publish %q: want words of letters, digits, _ and - with dots between", e.Key)
	}
	return e, eventLimits(&e, m)
}

// eventRoom parses a template of one room with members of the event's argument.
func eventRoom(node ast.Node) (parts []rooms.RoomPart, err error) {
	if node == nil {
		return nil, nil
	}
	text, err := textOf(node)
	if err != nil {
		return nil, err
	}
	var names []string
	t, err := parseTemplate(text, func(name string) int {
		names = append(names, name)
		return len(names) - 1
	})
	switch {
	case err != nil:
		return nil, atLine(node, "%w", err)
	case t.list:
		return nil, atLine(node, "room %q: a client event is for one room, not for a list", text)
	case t.parts[0].from != nil:
		return nil, atLine(node, "room %q: want it to begin with the kind of the room, such as conversation:", text)
	}
	for _, p := range t.parts {
		r := rooms.RoomPart{Text: p.text}
		for _, slot := range p.from {
			r.From = append(r.From, names[slot])
		}
		parts = append(parts, r)
	}
	return parts, nil
}

// choiceOf reads a member that is one of two words, and reports whether it is
// the second one; if the member is missing, the first one counts.
func choiceOf(m map[string]ast.Node, name, first, second string) (bool, error) {
	value, ok := m[name]
	if !ok {
		return false, nil
	}
	text, err := textOf(value)
	if err != nil || text != first && text != second {
		return false, atLine(value, "%s: want %s or %s", name, first, second)
	}
	return text == second, nil
}

func eventFields(e *rooms.ClientEvent, node, fields ast.Node) error {
	switch {
	case fields == nil && e.Emit != "":
		return atLine(node, "event %s emits %s and has no fields: want a list of them, or all", e.Name, e.Emit)
	case fields == nil:
		return nil
	case e.Emit == "":
		return atLine(fields, "fields are what emit has, and there is none")
	}
	if text, err := textOf(fields); err == nil && text == "all" {
		return nil
	}
	list, ok := fields.(*ast.SequenceNode)
	if !ok {
		return atLine(fields, "fields: want a list of names, or all")
	}
	e.Fields = []string{} // of none, nobody gets any
	for _, value := range list.Values {
		name, err := textOf(value)
		if err != nil {
			return err
		}
		if name == "" || slices.Contains(e.Fields, name) {
			return atLine(value, "field %q is empty or named twice", name)
		}
		e.Fields = append(e.Fields, name)
	}
	return nil
}

func eventLimits(e *rooms.ClientEvent, m map[string]ast.Node) (err error) {
	if e.MaxBytes, err = numberOf(m, "max_bytes", defaultEventBytes); err != nil {
		return err
	}
	if e.Rate.PerSecond, err = numberOf(m, "rate", defaultEventRate); err != nil {
		return err
	}
	e.Rate.Burst, err = numberOf(m, "burst", defaultBurst*e.Rate.PerSecond)
	return err
}

// maxEventLimit bounds the numbers in a client event.
const maxEventLimit = 100 << 20

func numberOf(m map[string]ast.Node, name string, otherwise int) (int, error) {
	value, ok := m[name]
	if !ok {
		return otherwise, nil
	}
	n, err := strconv.Atoi(value.GetToken().Value)
	if _, ok := value.(*ast.IntegerNode); !ok || err != nil || n < 1 || n > maxEventLimit {
		return 0, atLine(value, "%s: want a whole number from 1 to %d", name, maxEventLimit)
	}
	return n, nil
}
