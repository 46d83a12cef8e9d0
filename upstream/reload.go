package upstream

import (
	"reflect"
	"slices"
)

// A Reload says what Replace has done, by the routes' keys.
type Reload struct {
	Changed []string // routes that are new, or make something else of their events
	Later   []string // routes that a restart adds or removes, with what RabbitMQ is asked for
}

// Replace has Find use the routes of next from now on. RabbitMQ has been asked
// for the events of the routes there were at the start, and nothing else: a
// route that is in none of their queues takes events over HTTP alone until a
// restart, and one that next does not have stays until then, because its events
// go on coming. Safe for concurrent use with Find.
func (t *Table) Replace(next *Table) (done Reload) {
	now := t.current()
	for _, r := range next.routes {
		old := now.route(r.Event)
		if old == nil || !sameRoute(old, r) {
			done.Changed = append(done.Changed, r.Event)
		}
		r.start = t.route(r.Event)
		r.carrier = t.carrierOf(r)
		if r.carrier == nil {
			r.carrier = r
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
	t.newer.Store(next)
	return done
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

// carrierOf returns the route of the start whose queue brings the events of r.
func (t *Table) carrierOf(r *Route) *Route {
	if r.start != nil {
		return r.start.carrier
	}
	for _, wide := range t.routes {
		if wide.carrier == wide && covers(wide.Event, r.Event) {
			return wide
		}
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
		a.All == b.All && a.Volatile == b.Volatile
}
