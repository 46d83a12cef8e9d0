// Package cut divides the messages of a channel between two processes, one of
// which takes the other's place.
package cut

import (
	"strings"
	"sync"
	"time"
)

// A Cut divides the messages of a channel between a process and the one that
// takes its place. For a while both receive everything, in the same order. The
// first one publishes a mark there and handles what arrives before it; the
// other one handles what follows. Safe for concurrent use.
type Cut struct {
	Take func(body []byte) // is called by one goroutine at a time

	mu      sync.Mutex // guards the following
	phase   cutPhase
	mark    string
	reached chan struct{} // closed when the mark has come
	kept    [][]byte
	size    int
	until   time.Time // of cutSkips
	dropped bool      // something that the other process may not have taken
}

// A cutPhase says what is done with messages that arrive.
type cutPhase uint8

const (
	cutTakes cutPhase = iota // messages are handled
	cutEnds                  // messages are handled until the mark, and kept from then on
	cutKeeps                 // messages are kept
	cutSkips                 // messages are dropped until the mark, and handled from then on
)

// MarkPrefix is the start of every mark. No message starts with it.
const MarkPrefix = "\x00hand-over "

const (
	maxKept = 32 << 20 // bytes that wait for a hand-over; what is older is dropped

	// skipTime is how long a mark is awaited that may have been lost with a
	// connection.
	skipTime = 2 * time.Second
)

// Receive handles the messages, in order. One goroutine calls it.
func (c *Cut) Receive(body []byte, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	marked := c.mark != "" && string(body) == c.mark
	if c.phase == cutSkips && (marked || now.After(c.until)) {
		c.phase = cutTakes
		c.dropped = c.dropped && !marked
	}
	switch c.phase {
	case cutTakes:
		c.pass(body)
	case cutEnds:
		c.pass(body)
		if marked {
			c.phase = cutKeeps
			close(c.reached)
		}
	case cutKeeps:
		c.keep(body)
	case cutSkips:
		c.dropped = true
	}
}

// Missed reports once that something was dropped which the other process may not
// have taken: there was no mark, or it has not come.
func (c *Cut) Missed(now time.Time) (missed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase == cutSkips && now.After(c.until) {
		c.phase = cutTakes
	}
	if c.phase != cutTakes {
		return false
	}
	missed, c.dropped = c.dropped, false
	return missed
}

// pass handles a message that is not a mark.
func (c *Cut) pass(body []byte) {
	if !strings.HasPrefix(string(body[:min(len(body), len(MarkPrefix))]), MarkPrefix) {
		c.Take(body)
	}
}

func (c *Cut) keep(body []byte) {
	c.kept = append(c.kept, body)
	for c.size += len(body); c.size > maxKept; c.kept = c.kept[1:] {
		c.size -= len(c.kept[0])
	}
}

// End keeps the messages from mark on. reached is closed when the mark has
// arrived. Without a mark, the messages from now on are kept.
func (c *Cut) End(mark string) (reached <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mark, c.reached = mark, make(chan struct{})
	if c.phase = cutEnds; mark == "" {
		c.phase = cutKeeps
		close(c.reached)
	}
	return c.reached
}

// StandBy keeps all messages until Begin.
func (c *Cut) StandBy() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.phase = cutKeeps
}

// Begin handles the kept messages from mark on, and all later ones. Without a
// mark the kept ones are dropped, because it is not known how many of them the
// other process has handled. GoOn undoes End, in the process that called it.
func (c *Cut) Begin(mark string, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mark = mark
	c.phase, c.until = cutTakes, now.Add(skipTime)
	from := len(c.kept)
	if mark != "" {
		c.phase = cutSkips
		for i, body := range c.kept {
			if string(body) == mark {
				c.phase, from = cutTakes, i+1
				break
			}
		}
	}
	c.dropped = from == len(c.kept) && from > 0 && string(c.kept[from-1]) != mark
	c.flush(from)
}

// GoOn undoes End.
func (c *Cut) GoOn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase != cutEnds && c.phase != cutKeeps {
		return
	}
	c.phase = cutTakes
	c.flush(0)
}

// flush handles the kept messages. c.mu is held.
func (c *Cut) flush(from int) {
	for _, body := range c.kept[from:] {
		c.pass(body)
	}
	c.kept, c.size = nil, 0
}
