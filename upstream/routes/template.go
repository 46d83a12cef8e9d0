package routes

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/rooms"
)

const maxRooms = 10_000 // rooms one event may go to

// roomPrefixes are the prefixes of the rooms that clients can be in.
var roomPrefixes = []string{rooms.ConversationPrefix, rooms.NotificationPrefix, rooms.UserPrefix}

// A template makes names of rooms from an event's members.
type template struct {
	text  string
	parts []part
	list  bool // one part is a list: a room for each element
}

// A part is fixed text, or the value of a member.
type part struct {
	text string
	from []int // slots, the first that is there; nil: text
	list bool
}

// parseTemplate reads text with members in braces: {name}, {name|other} for
// the first that is there, {name[]} for a room for each element of a list.
func parseTemplate(text string, slot func(string) int) (template, error) {
	t, err := parseParts(text, slot)
	if err != nil {
		return t, fmt.Errorf("room %w", err)
	}
	return t, t.check()
}

// parseParts parses the parts of any template.
func parseParts(text string, slot func(string) int) (template, error) {
	t := template{text: text}
	for rest := text; rest != ""; {
		fixed, hole, found := strings.Cut(rest, "{")
		if fixed != "" {
			t.parts = append(t.parts, part{text: fixed})
		}
		if !found {
			break
		}
		name, tail, closed := strings.Cut(hole, "}")
		if !closed {
			return t, fmt.Errorf("%q: { without }", text)
		}
		p, err := parsePart(name, slot)
		if err != nil {
			return t, fmt.Errorf("%q: %w", text, err)
		}
		if p.list && t.list {
			return t, fmt.Errorf("%q: only one member can be a list", text)
		}
		t.list = t.list || p.list
		t.parts = append(t.parts, p)
		rest = tail
	}
	return t, nil
}

func parsePart(name string, slot func(string) int) (part, error) {
	name, list := strings.CutSuffix(name, "[]")
	p := part{list: list}
	for source := range strings.SplitSeq(name, "|") {
		if source == "" || strings.ContainsAny(source, "{}[]") {
			return p, fmt.Errorf("{%s}: want a member's name, or several with | between, and [] behind it for a list", name)
		}
		p.from = append(p.from, slot(source))
	}
	return p, nil
}

func (t *template) check() error {
	if len(t.parts) == 0 || strings.Contains(t.parts[len(t.parts)-1].text, "}") {
		return fmt.Errorf("room %q: want something like user:{userId}", t.text)
	}
	first := t.parts[0]
	if first.from != nil {
		return nil // the member has the room's whole name
	}
	if !slices.ContainsFunc(roomPrefixes, func(kind string) bool { return strings.HasPrefix(first.text, kind) }) {
		return fmt.Errorf("room %q: no client can be in it; want one of %s", t.text, strings.Join(roomPrefixes, ", "))
	}
	return nil
}

// expand adds the template's rooms, none if a member is missing.
func (e *Encoder) expand(t *template) error {
	if !t.list {
		return e.expandOne(t, nil)
	}
	i := slices.IndexFunc(t.parts, func(p part) bool { return p.list })
	value := e.first(t.parts[i].from)
	if absent(value) {
		return nil
	}
	if value[0] != '[' {
		return poison(ReasonBadID, "%s is not a list, for room %s", clip(value), t.text)
	}
	e.addressed = true // if only to nobody
	for element := range codec.Elements(value) {
		if err := e.expandOne(t, element); err != nil {
			return err
		}
		if len(e.ends) > maxRooms {
			return poison(ReasonTooManyRooms, "more than %d rooms", maxRooms)
		}
	}
	return nil
}

// state returns the name of the state that the event describes, "" if a member
// is missing or not an id. States of events with different names are different.
func (e *Encoder) state(r *Route) string {
	if r.Latest == "" {
		return ""
	}
	b := append(append(e.list[:0], r.Emit...), 0)
	for _, p := range r.latest.parts {
		if p.from == nil {
			b = append(b, p.text...)
			continue
		}
		value := e.first(p.from)
		id, ok := codec.ID(value)
		if absent(value) || !ok {
			return ""
		}
		b = append(b, id...)
	}
	e.list = b
	return string(b)
}

// expandOne adds one room; element takes the place of the list.
func (e *Encoder) expandOne(t *template, element []byte) error {
	start := len(e.names)
	for _, p := range t.parts {
		if p.from == nil {
			e.names = append(e.names, p.text...)
			continue
		}
		value := element
		if !p.list {
			value = e.first(p.from)
		}
		if absent(value) {
			e.names = e.names[:start]
			return nil
		}
		id, ok := codec.ID(value)
		if !ok {
			return poison(ReasonBadID, "%s is no id, for room %s", clip(value), t.text)
		}
		e.names = append(e.names, id...)
	}
	e.addressed = true
	e.ends = append(e.ends, len(e.names))
	return nil
}

// absent reports whether a member is missing, null or the empty string.
func absent(value []byte) bool {
	return len(value) == 0 || string(value) == "null" || string(value) == `""`
}
