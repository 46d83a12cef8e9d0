package directory

import (
	"cmp"
	"slices"
	"time"
)

// A Vacancy is a room without members that is still in Redis.
type Vacancy struct {
	Room, By string
	Left     time.Duration
}

// Vacant returns the rooms without members.
func (d *Directory) Vacant(now time.Time) (all []Vacancy) {
	for _, e := range d.all {
		if !e.occupied {
			all = append(all, Vacancy{e.room, e.by, d.c.Linger - now.Sub(e.vacant)})
		}
	}
	slices.SortFunc(all, func(a, b Vacancy) int { return cmp.Compare(a.Left, b.Left) })
	return all
}

// Linger takes over a vacant room from another process. It must be called in
// the order in which the vacancies end, and before Vacated.
func (d *Directory) Linger(v Vacancy, now time.Time) {
	d.Occupied(v.Room, v.By)
	d.Vacated(v.Room, now.Add(v.Left-d.c.Linger))
}
