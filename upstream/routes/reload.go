package routes

import (
	"reflect"
	"slices"
	"strings"

	"github.com/hometrip/gateway/rooms"
)

// A Reload says what Replace has done, by the routes' keys.
type Reload struct {
	Changed []string // routes that are new, or make something else of their events
	Events  []string // events of clients that are new, gone, or declared otherwise
	Later   []string // routes that a restart adds or removes, with what RabbitMQ is asked for
}

// Replace has Find use the routes of next from now on. RabbitMQ was asked for
// the events of the routes there were at the start, and of no others: a route
// whose events none of those takes gets events over HTTP alone until a restart,
// and one that next does not have stays until then, because its events go on
// coming. Safe for concurrent use with Find.
func (t *Table) Replace(next *Table) (done Reload) {
	now := t.current()
	for _, r := range next.routes {
		old := now.route(r.Event)
		if old == nil || !sameRoute(old, r) {
			done.Changed = append(done.Changed, r.Event)
		}
		if !t.asksFor(r.Event) {
			done.Later = append(done.Later, r.Event)
		}
	}
	for _, r := range now.routes {
		if next.route(r.Event) == nil {
			kept := *r
			done.Later = append(done.Later, r.Event)
			next.keep(&kept)
		}
	}
	done.Events = changedEvents(now.clientEvents, next.clientEvents)
	t.newer.Store(next)
	return done
}

// changedEvents returns the names of the events that differ.
func changedEvents(before, after []rooms.ClientEvent) (names []string) {
	for _, e := range before {
		if !slices.ContainsFunc(after, func(a rooms.ClientEvent) bool { return reflect.DeepEqual(a, e) }) {
			names = append(names, e.Name)
		}
	}
	for _, e := range after {
		if !slices.ContainsFunc(before, func(b rooms.ClientEvent) bool { return b.Name == e.Name }) {
			names = append(names, e.Name)
		}
	}
	return names
}

// asksFor reports whether RabbitMQ was asked, for one of the routes of the
// start, for all events of a key or pattern.
func (t *Table) asksFor(event string) bool {
	return slices.ContainsFunc(t.routes, func(r *Route) bool { return covers(r.Event, event) })
}

// current returns the table that Find looks into.
func (t *Table) current() *Table {
	if newer := t.newer.Load(); newer != nil {
		return newer
	}
	return t
}

func (t *Table) route(event string) *Route {
	if i := slices.IndexFunc(t.routes, func(r *Route) bool { return r.Event == event }); i >= 0 {
		return t.routes[i]
	}
	return nil
}

// keep adds a route behind all others.
func (t *Table) keep(r *Route) {
	t.routes = append(t.routes, r)
	if isPattern(r.Event) {
		t.patterns = append(t.patterns, r)
	} else {
		t.exact[r.Event] = r
	}
}

// sameRoute reports whether two routes of a key do the same.
func sameRoute(a, b *Route) bool {
	return slices.Equal(a.Rooms, b.Rooms) && a.Emit == b.Emit && reflect.DeepEqual(a.Fields, b.Fields) &&
		a.All == b.All && a.Volatile == b.Volatile && a.Latest == b.Latest
}

// covers reports whether pattern takes every key that other does. Where "#"
// meets "*" in odd ways it may say no.
func covers(pattern, other string) bool {
	p, o := strings.Split(pattern, "."), strings.Split(other, ".")
	i, k := 0, 0
	hash, from := -1, 0 // the last "#" of p, and where in o it began
	for k < len(o) {
		switch {
		case i < len(p) && p[i] == "#":
			hash, from = i, k
			i++
		case i < len(p) && o[k] != "#" && (p[i] == "*" || p[i] == o[k]):
			i, k = i+1, k+1
		case hash >= 0: // it takes one word more
			from++
			i, k = hash+1, from
		default:
			return false
		}
	}
	return strings.Trim(strings.Join(p[i:], ""), "#") == ""
}
