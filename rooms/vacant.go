package rooms

import (
	"sync"
	"sync/atomic"
	"time"
)

// vacant has the rooms without members that are still in the directory, for
// Limits.Linger. They count for the user who left last; otherwise a user who
// joins and leaves again and again would exceed every limit. Safe for
// concurrent use; the lock is held for one map access.
type vacant struct {
	bytes atomic.Int64

	mu    sync.Mutex // guards the following
	rooms map[string]vacancy
	users map[string]int64 // bytes
	queue []vacated        // the oldest first
}

// A vacancy is a vacant room.
type vacancy struct {
	user  string
	bytes int64
	until time.Time
}

// A vacated room counts for the user who left last, until a time.
type vacated struct {
	room  string
	until time.Time
}

// add records a room that its last member has left.
func (v *vacant) add(room, user string, until time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.rooms == nil {
		v.rooms, v.users = make(map[string]vacancy), make(map[string]int64)
	}
	v.drop(room)
	e := vacancy{user, roomCost(len(room)), until}
	v.rooms[room] = e
	v.users[user] += e.bytes
	v.bytes.Add(e.bytes)
	v.queue = append(v.queue, vacated{room, until})
}

// occupied records that a room has members again.
func (v *vacant) occupied(room string) {
	if v.bytes.Load() == 0 {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.drop(room)
}

// of returns the bytes of a user's vacant rooms as of now.
func (v *vacant) of(user string, now time.Time) int64 {
	if v.bytes.Load() == 0 {
		return 0
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.forget(now)
	return v.users[user]
}

// forget drops the rooms that are no longer in the directory.
func (v *vacant) forget(now time.Time) {
	n := 0
	for n < len(v.queue) && !now.Before(v.queue[n].until) {
		if v.rooms[v.queue[n].room].until.Equal(v.queue[n].until) {
			v.drop(v.queue[n].room)
		}
		n++
	}
	if v.queue = v.queue[n:]; len(v.queue) == 0 {
		v.queue, v.rooms, v.users = nil, nil, nil // maps do not shrink
	}
}

func (v *vacant) drop(room string) {
	e, ok := v.rooms[room]
	if !ok {
		return
	}
	delete(v.rooms, room)
	if v.users[e.user] -= e.bytes; v.users[e.user] == 0 {
		delete(v.users, e.user)
	}
	v.bytes.Add(-e.bytes)
}
