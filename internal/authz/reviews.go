package authz

import (
	"maps"
	"sync"
)

// reviews is the list of rooms whose members are to be looked at again. A room
// leaves it when its review has succeeded, and only if nothing has changed
// since the review began. Safe for concurrent use.
type reviews struct {
	mu      sync.Mutex        // guards the following
	rooms   map[string]uint64 // to the version of the last change
	version uint64
	all     bool // every room with members is due, whichever those are
}

// add notes that a room has changed.
func (r *reviews) add(room string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.version++
	r.rooms[room] = r.version
}

// addAll notes that any room may have changed.
func (r *reviews) addAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = true
}

// takeAll reports whether all rooms are due. The caller adds them one by one.
func (r *reviews) takeAll() (all bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all, r.all = r.all, false
	return all
}

// list returns the rooms that are due, with the versions for done.
func (r *reviews) list() map[string]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.rooms)
}

// done notes that a room was reviewed as of a version.
func (r *reviews) done(room string, version uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rooms[room] == version {
		delete(r.rooms, room)
	}
}
