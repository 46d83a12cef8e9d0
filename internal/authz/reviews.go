package authz

import (
	"maps"
	"sync"
)

// reviews has the rooms whose members are to be checked again. A room is
// removed when its check has succeeded, and only if the room has not changed
// since the check began. Safe for concurrent use.
type reviews struct {
	mu      sync.Mutex        // guards the following
	rooms   map[string]uint64 // to the version of the last change
	version uint64
	all     bool // every room with members is due, whichever those are
}

// add records that a room has changed.
func (r *reviews) add(room string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.version++
	r.rooms[room] = r.version
}

// addAll records that any room may have changed.
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

// done records that a room was checked as of a version.
func (r *reviews) done(room string, version uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rooms[room] == version {
		delete(r.rooms, room)
	}
}
