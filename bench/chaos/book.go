package main

import (
	"math"
	"sync"
	"time"
)

// A clock counts from the beginning of the run.
type clock struct{ began time.Time }

func (c clock) now() time.Duration { return time.Since(c.began) }

// never is a time that has not come.
const never = time.Duration(math.MaxInt64)

// An event is one that was published to a room. Its number is its index.
type event struct {
	published time.Duration // when the service began to
	sure      bool          // RabbitMQ has confirmed it
}

// A book has all events, by room. Safe for concurrent use.
type book struct {
	clock
	mu    sync.Mutex // guards the following
	rooms [][]event
}

// open enters an event that is about to be published and returns its number.
func (b *book) open(room int) (number int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rooms[room] = append(b.rooms[room], event{published: b.now()})
	return len(b.rooms[room]) - 1
}

// confirm notes that RabbitMQ has it.
func (b *book) confirm(room, number int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rooms[room][number].sure = true
}

// next is the number of the room's next event.
func (b *book) next(room int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.rooms[room])
}
