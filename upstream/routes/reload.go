package routes

import (
	"reflect"
	"slices"
	"strings"

	"github.com/hometrip/gateway/rooms"
)

// A Reload is the result of Replace, by the routes' keys.
type Reload struct {
	Changed []string // routes that are new, or make something else of their events
	Events  []string // events of clients that are new, gone, or declared otherwise
	Later   []string // routes that a restart adds or removes, with what RabbitMQ is asked for
}

// Replace makes Find use the routes of next from now on. The log in RabbitMQ is
// bound to the keys that the routes had at the start. So a new route gets only
// events over HTTP until a restart, unless one of those keys matches, and a
// route that was removed stays until then, because its events keep coming. Safe
// for concurrent use with Find.
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

// asksFor reports whether the log was bound, for a route of the start, to all
// events of a key or pattern.
func (t *Table) asksFor(event string) bool {
	return slices.ContainsFunc(t.routes, func(r *Route) bool { return covers(r.Event, event) })
}

// current returns the table that Find uses.
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

// keep adds a route after all others.
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

// covers reports whether pattern matches every key that other matches. In
// unusual combinations of "#" and "*" it may return false although it does.
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
