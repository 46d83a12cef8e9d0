package routes

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hometrip/gateway/codec"
)

// A Route says what is made of the events of one key. It is read-only once it
// is in a Table.
type Route struct {
	Event    string   // key or pattern, as RabbitMQ's topic exchanges have them: "booking.*"
	Rooms    []string // templates: "user:{userId}", "user:{userIds[]}"
	Emit     string   // name of the event that clients get
	Fields   []Field  // members of its body, in this order
	All      bool     // instead of Fields: everything the event has
	Volatile bool     // a client with a backlog does without it
	Latest   string   // template of the state it tells: a client that is behind gets the newest of each; "": none

	order  bool // an order of the back office; see orders.go
	rooms  []template
	names  []string // members that are looked for; a slot each
	latest template
	fields []slotField
	head   []byte // the packet up to the body
}

// A Field is one member of the body that clients get.
type Field struct {
	Name    string
	From    []string // members it is taken from, the first that is there; nil: Name
	Default string   // JSON text for when none is there; "": the field is left out
}

// FromKey as a Field's source is the event's key with "_" for ".".
const FromKey = "$key"

const (
	maxEventKey  = 200 // bytes; AMQP allows a key 255
	maxNames     = 64  // members one route looks at
	slotTime     = 0   // slot of "timestamp" in every route
	slotEventID  = 1   // slot of "eventId" in every route
	slotKey      = -1
	memberTime   = "timestamp"
	memberEvent  = "eventId"
	packetPrefix = "42[" // Engine.IO message, Socket.IO event, namespace "/"
)

// A slotField is a Field with names resolved to slots.
type slotField struct {
	name   []byte // `"name":`
	from   []int
	filler []byte // JSON text; nil: none
	time   bool   // filled with the time of publishing
}

// IsOrder reports whether events with the route's key are orders, which act on
// users and have no rooms.
func (r *Route) IsOrder() bool { return r.order }

// OrderDoc says what the route's order does, in Markdown; "" for events.
func (r *Route) OrderDoc() string { return orderDocs[r.Event] }

// compile checks the route and prepares it for encoding.
func (r *Route) compile() error {
	if err := checkEventKey(r.Event); err != nil {
		return err
	}
	if r.order {
		r.names = orderNames
		return nil
	}
	if err := checkEmit(r.Emit); err != nil {
		return err
	}
	if len(r.Rooms) == 0 {
		return fmt.Errorf("event %s has no rooms", r.Event)
	}
	r.names = []string{slotTime: memberTime, slotEventID: memberEvent}
	for _, text := range r.Rooms {
		t, err := parseTemplate(text, r.slot)
		if err != nil {
			return err
		}
		r.rooms = append(r.rooms, t)
	}
	if err := r.compileLatest(); err != nil {
		return err
	}
	if err := r.compileFields(); err != nil {
		return err
	}
	if len(r.names) > maxNames {
		return fmt.Errorf("event %s looks at %d members, at most %d are allowed", r.Event, len(r.names), maxNames)
	}
	r.head = append(codec.AppendString([]byte(packetPrefix), r.Emit), ',')
	return nil
}

func (r *Route) compileLatest() (err error) {
	switch {
	case r.Latest == "":
		return nil
	case r.Volatile:
		return fmt.Errorf("event %s: want volatile or latest, not both", r.Event)
	}
	if r.latest, err = parseParts(r.Latest, r.slot); err != nil {
		return fmt.Errorf("latest %w", err)
	}
	if r.latest.list || !slices.ContainsFunc(r.latest.parts, func(p part) bool { return p.from != nil }) {
		return fmt.Errorf("latest %q: want something like {bookingId}, without a list", r.Latest)
	}
	return nil
}

func (r *Route) compileFields() error {
	if r.All == (len(r.Fields) > 0) {
		return fmt.Errorf("event %s: want fields, either a list of them or all", r.Event)
	}
	seen := make(map[string]bool)
	for _, f := range r.Fields {
		if f.Name == "" || seen[f.Name] {
			return fmt.Errorf("event %s: field %q is empty or named twice", r.Event, f.Name)
		}
		seen[f.Name] = true
		if f.Default != "" && !codec.ValidJSON([]byte(f.Default)) {
			return fmt.Errorf("event %s: default %s of field %s is not JSON", r.Event, f.Default, f.Name)
		}
		r.fields = append(r.fields, r.resolve(f))
	}
	return nil
}

func (r *Route) resolve(f Field) slotField {
	s := slotField{name: append(codec.AppendString(nil, f.Name), ':')}
	sources := f.From
	if len(sources) == 0 {
		sources = []string{f.Name}
	}
	for _, source := range sources {
		if source == FromKey {
			s.from = append(s.from, slotKey)
			continue
		}
		slot := r.slot(source)
		s.from = append(s.from, slot)
		s.time = s.time || slot == slotTime
	}
	if f.Default != "" {
		s.filler = []byte(f.Default)
	}
	return s
}

// slot returns the index of the member of that name, and adds the member if it
// is new.
func (r *Route) slot(name string) int {
	if i := slices.Index(r.names, name); i >= 0 {
		return i
	}
	r.names = append(r.names, name)
	return len(r.names) - 1
}

func checkEventKey(key string) error {
	if len(key) > maxEventKey {
		return fmt.Errorf("event %.40s… has %d bytes, at most %d are allowed", key, len(key), maxEventKey)
	}
	for word := range strings.SplitSeq(key, ".") {
		if word != "*" && word != "#" && !isKeyWord(word) {
			return fmt.Errorf("event %q: want words of letters, digits, _ and - with dots between, * for any one word, # for any number", key)
		}
	}
	return nil
}

func isKeyWord(word string) bool {
	outside := func(r rune) bool {
		return r != '_' && r != '-' && (r < '0' || r > '9') && (r|0x20 < 'a' || r|0x20 > 'z')
	}
	return word != "" && !strings.ContainsFunc(word, outside)
}

// checkEmit refuses names that Socket.IO reserves (socket.io-parser,
// RESERVED_EVENTS).
func checkEmit(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("no name for the event that clients get (emit)")
	case codec.ReservedEvent(name):
		return fmt.Errorf("emit %q: Socket.IO reserves the name", name)
	}
	return nil
}

// isPattern reports whether an event key is a pattern.
func isPattern(key string) bool { return strings.ContainsAny(key, "*#") }

// matches reports whether key matches pattern, by the rules of topic exchanges:
// "*" is exactly one word, "#" any number of them.
func matches(pattern, key string) bool {
	word, rest, more := strings.Cut(pattern, ".")
	if word == "#" {
		if !more {
			return true
		}
		for {
			if matches(rest, key) {
				return true
			}
			_, tail, found := strings.Cut(key, ".")
			if !found {
				return rest == "#" // "#.#" takes what "#" does
			}
			key = tail
		}
	}
	first, tail, longer := strings.Cut(key, ".")
	if word != "*" && word != first {
		return false
	}
	if !more || !longer {
		return more == longer || !longer && onlyHashes(rest)
	}
	return matches(rest, tail)
}

// onlyHashes reports whether a pattern matches a key without words.
func onlyHashes(pattern string) bool {
	return pattern != "" && strings.Trim(pattern, "#.") == "" && !strings.Contains(pattern, "##")
}
