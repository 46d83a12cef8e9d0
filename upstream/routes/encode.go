package routes

import (
	"bytes"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/rooms"
)

// timeLayout is ISO 8601 in UTC with milliseconds, as JavaScript's
// toISOString writes it.
const timeLayout = "2006-01-02T15:04:05.000Z"

// An Event is a service's event, encoded for the clients that get it.
type Event struct {
	Rooms   []string       // each once; may be empty, for an empty list of users
	Message *codec.Message // for every one of them
	Order   *rooms.Order   // instead of a message; it is for every node
}

// An Encoder turns bodies into events. Owned by one goroutine, because it
// reuses its buffers.
type Encoder struct {
	table   *Table
	maxBody int // bytes

	slots     [][]byte // values of the route's members; nil: not there
	names     []byte   // of the event's rooms, one behind the other
	ends      []int    // of each in names
	addressed bool     // the body has the ids of its rooms
	list      []byte   // scratch: a list of ids
	packet    []byte   // scratch
}

// NewEncoder returns an encoder for bodies of up to maxBody bytes.
func NewEncoder(t *Table, maxBody int) *Encoder {
	return &Encoder{table: t, maxBody: maxBody}
}

// Encode finds the route of key and encodes the event with this body and time
// of publishing. The error is a *Poison.
func (e *Encoder) Encode(key string, body []byte, published time.Time) (Event, error) {
	r := e.table.Find(key)
	if r == nil {
		return Event{}, NoRoute(key)
	}
	object, err := e.Read(r, body)
	if err != nil {
		return Event{}, err
	}
	if r.order {
		o, err := e.Order(key, published)
		return Event{Order: o}, err
	}
	if err := e.Address(r); err != nil {
		return Event{}, err
	}
	names := make([]string, len(e.ends))
	for i := range names {
		names[i] = string(e.Room(i))
	}
	return Event{Rooms: names, Message: e.Message(r, key, object, published)}, nil
}

// NoRoute returns the *Poison of an event whose key has no route.
func NoRoute(key string) error { return poison(ReasonNoRoute, "no route for %s", clip([]byte(key))) }

// Message encodes what clients get. Read has filled the slots from object.
func (e *Encoder) Message(r *Route, key string, object []byte, published time.Time) *codec.Message {
	b := append(e.packet[:0], r.head...)
	if r.All {
		b = e.appendAll(b, object, published)
	} else {
		b = e.appendFields(b, r, key, published)
	}
	e.packet = append(b, ']')
	m := codec.NewText(e.packet)
	m.Volatile, m.Latest = r.Volatile, e.state(r)
	return m
}

// Read checks the body and fills the slots from the object it returns: the
// body, or the data of the envelope.
func (e *Encoder) Read(r *Route, body []byte) (object []byte, err error) {
	if len(body) > e.maxBody {
		return nil, poison(ReasonTooLarge, "%d bytes, at most %d are allowed", len(body), e.maxBody)
	}
	if !utf8.Valid(body) { // a browser would close the connection over it
		return nil, poison(ReasonNotJSON, "not UTF-8")
	}
	e.slots = slices.Grow(e.slots[:0], len(r.names))[:len(r.names)]
	clear(e.slots)
	data, valid := e.scan(r, body)
	if !valid {
		if codec.ValidJSON(body) {
			return nil, poison(ReasonNotObject, "%q", clip(body))
		}
		return nil, poison(ReasonNotJSON, "%q", clip(body))
	}
	if data == nil {
		return body, nil
	}
	sent, id := e.slots[slotTime], e.slots[slotEventID]
	clear(e.slots)
	e.scan(r, data)
	if absent(e.slots[slotTime]) {
		e.slots[slotTime] = sent
	}
	if absent(e.slots[slotEventID]) {
		e.slots[slotEventID] = id
	}
	return data, nil
}

// scan fills the slots from a JSON object; valid is false if it is not one. It
// returns the content if the object is an envelope: it names the event and has
// an object as "data". Of two members with one name the last counts, as in
// JavaScript.
func (e *Encoder) scan(r *Route, object []byte) (content []byte, valid bool) {
	var data []byte
	named := false
	valid = codec.ScanObject(object, func(name, value []byte) {
		switch string(name) {
		case "eventName", "eventType":
			named = named || value[0] == '"'
		case "data":
			data = value
		}
		for i, wanted := range r.names {
			if wanted == string(name) {
				e.slots[i] = value
				break
			}
		}
	})
	if valid && named && len(data) > 0 && data[0] == '{' {
		content = data
	}
	return content, valid
}

// first returns the first member that is neither missing nor null; null if one
// is null, else nil.
func (e *Encoder) first(slots []int) (value []byte) {
	for _, i := range slots {
		if v := e.slots[i]; len(v) > 0 {
			if value = v; string(v) != "null" {
				return v
			}
		}
	}
	return value
}

// Address determines the names of the event's rooms, each once.
func (e *Encoder) Address(r *Route) error {
	e.names, e.ends, e.addressed = e.names[:0], e.ends[:0], false
	for i := range r.rooms {
		if err := e.expand(&r.rooms[i]); err != nil {
			return err
		}
	}
	if !e.addressed {
		return poison(ReasonNoRoom, "no id for %s", r.Rooms)
	}
	e.dropRepeated()
	return nil
}

// Rooms returns how many rooms the event has. Address has set them.
func (e *Encoder) Rooms() int { return len(e.ends) }

// EventID returns the id that the publisher gave the event in its body, as it
// is there; nil if there is none. Valid until the next Read.
func (e *Encoder) EventID() []byte {
	if id := e.slots[slotEventID]; !absent(id) {
		return id
	}
	return nil
}

// Room returns the name of the i'th room of the event, valid until the next Address.
func (e *Encoder) Room(i int) []byte {
	start := 0
	if i > 0 {
		start = e.ends[i-1]
	}
	return e.names[start:e.ends[i]]
}

// fewRooms is the number of rooms up to which comparing each with each is
// faster than a map.
const fewRooms = 16

// dropRepeated keeps the first of equal rooms, in place.
func (e *Encoder) dropRepeated() {
	if len(e.ends) < 2 {
		return
	}
	var seen map[string]bool
	if len(e.ends) > fewRooms {
		seen = make(map[string]bool, len(e.ends))
	}
	kept, end := 0, 0 // rooms, and their bytes
	for i, start := 0, 0; i < len(e.ends); i++ {
		name, next := e.names[start:e.ends[i]], e.ends[i]
		start = next
		if seen[string(name)] || seen == nil && e.among(kept, name) {
			continue
		}
		if seen != nil {
			seen[string(name)] = true
		}
		end += copy(e.names[end:], name)
		e.ends[kept] = end
		kept++
	}
	e.names, e.ends = e.names[:end], e.ends[:kept]
}

// among reports whether one of the first n rooms has this name.
func (e *Encoder) among(n int, name []byte) bool {
	for i := range n {
		if bytes.Equal(e.Room(i), name) {
			return true
		}
	}
	return false
}

// appendFields appends the body that clients get.
func (e *Encoder) appendFields(b []byte, r *Route, key string, published time.Time) []byte {
	b = append(b, '{')
	empty := len(b)
	for i := range r.fields {
		f := &r.fields[i]
		start := len(b)
		if start > empty {
			b = append(b, ',')
		}
		b = append(b, f.name...)
		value := len(b)
		if b = e.appendField(b, f, key, published); len(b) == value {
			b = b[:start] // there is none: the member is left out
		}
	}
	return append(b, '}')
}

// appendField appends the field's value, nothing if it has none.
func (e *Encoder) appendField(b []byte, f *slotField, key string, published time.Time) []byte {
	null := false
	for _, i := range f.from {
		if i == slotKey {
			return appendKey(b, key)
		}
		v := e.slots[i]
		if len(v) > 0 && string(v) != "null" {
			return append(b, v...)
		}
		null = null || v != nil
	}
	switch {
	case f.filler != nil:
		return append(b, f.filler...)
	case f.time:
		return appendTime(b, published)
	case null:
		return append(b, "null"...)
	}
	return b
}

// appendAll appends the whole object, and the time.
func (e *Encoder) appendAll(b, object []byte, published time.Time) []byte {
	b = append(b, '{')
	for name, value := range codec.Members(object) {
		if string(name) == memberTime {
			continue
		}
		b = append(codec.AppendString(b, string(name)), ':')
		b = append(append(b, value...), ',')
	}
	b = append(b, `"timestamp":`...)
	if t := e.slots[slotTime]; !absent(t) {
		return append(append(b, t...), '}')
	}
	return append(appendTime(b, published), '}')
}

func appendTime(b []byte, t time.Time) []byte {
	b = append(b, '"')
	b = t.UTC().AppendFormat(b, timeLayout)
	return append(b, '"')
}

// appendKey appends an event's key with "_" for ".".
func appendKey(b []byte, key string) []byte {
	start := len(b)
	b = codec.AppendString(b, key)
	for i, c := range b[start:] {
		if c == '.' {
			b[start+i] = '_'
		}
	}
	return b
}
