package upstream

import (
	"context"
	"sync"

	"github.com/hometrip/gateway/upstream/eventlog"
)

// A process that takes another one's place continues in the log where that one
// is. The sockets that it takes over know their positions, and ignore events at
// or below them.

// A place is how far a log has been read. Safe for concurrent use.
type place struct {
	mu       sync.Mutex // guards the following
	log      string     // identity; "" before the log was open
	position eventlog.Position
}

func (p *place) set(log string, position eventlog.Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log, p.position = log, position
}

func (p *place) pass(position eventlog.Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.position = position
}

// Place returns the identity of the log that is read, and the position up to
// which everything was given to the rooms or is being given to them. The
// identity is "" if the log has not been opened.
func (c *Consumer) Place() (log string, position eventlog.Position) {
	c.at.mu.Lock()
	defer c.at.mu.Unlock()
	return c.at.log, c.at.position
}

// Hold stops giving entries to the rooms, until Release. It returns when the
// current entry is with them. The error is ctx's.
func (c *Consumer) Hold(ctx context.Context) error {
	select {
	case c.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Release ends Hold.
func (c *Consumer) Release() { <-c.turn }

// Resume sets that reading continues behind a position of a log. It is called
// before Run. If the log is another one by then, that one is read from its
// beginning.
func (c *Consumer) Resume(log string, behind eventlog.Position) {
	c.start = eventlog.Start{From: eventlog.FromPosition, Position: behind + 1}
	c.follower.reader.Expect(log)
	c.follower.fresh = false
	c.begun(log, behind, true)
}

// A Past is what a process knows about the part of the log that it has read.
type Past struct {
	Position eventlog.Position // everything up to there was given to its rooms
	Began    eventlog.Position // it has read what is behind; not known while Position is 0
	Seen     []eventlog.Seen   // to recognize events that come twice
}

// Past returns what this process knows. It is called between Hold and Release.
func (c *Consumer) Past() Past {
	_, position := c.Place()
	return c.intake.past(position)
}

// past returns what is known if everything up to a position was given to the
// rooms.
func (in *intake) past(position eventlog.Position) Past {
	p := Past{Position: position, Seen: in.duplicates.Seen()}
	if in.history != nil {
		in.history.mu.Lock()
		defer in.history.mu.Unlock()
		p.Began = in.history.tail.Began()
	}
	return p
}

// Inherit takes over what another process knows about the same log. It is
// called between Hold and Release, before the first entry. Entries that the
// other process has given to the rooms are read again: they are kept for
// clients that come back, and not delivered.
func (c *Consumer) Inherit(p Past) {
	_, position := c.Place()
	c.intake.inherit(p, position)
}

// inherit takes over what another process knows about a log that is read behind
// a position here.
func (in *intake) inherit(p Past, behind eventlog.Position) {
	n := 0
	for n < len(p.Seen) && p.Seen[n].Position <= behind {
		n++
	}
	in.duplicates.Remember(p.Seen[:n])
	in.given = p.Position
	in.rooms.Passed(uint64(p.Position))
	if in.history != nil && p.Position != 0 { // else nothing was read
		in.history.mu.Lock()
		defer in.history.mu.Unlock()
		in.history.tail.BeganAt(p.Began)
		in.history.given = p.Position
	}
}
