package upstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hometrip/gateway/upstream/eventlog"
	"github.com/hometrip/gateway/upstream/routes"
)

// lookTimeout is how long the log may take to send one entry. After it, there
// is none.
const lookTimeout = 2 * time.Second

// A Sight is an entry of the log as Look describes it.
type Sight struct {
	Log       string // identity
	Found     bool   // there is an entry at the position
	Key       string
	Event     string    // that clients are sent
	Rooms     []string  // whose members are sent it
	Published time.Time // zero: nobody has told
	Volatile  bool
	Latest    bool
	Trouble   string // why nobody is sent it, or why it was not found
}

// Look reads the entry at a position from the log, and describes what becomes
// of it. log is the identity of the log that the position belongs to; "": the
// one that is read now.
func (c *Consumer) Look(ctx context.Context, log string, p eventlog.Position) (Sight, error) {
	source, err := c.config.Log.Open(ctx, eventlog.Start{From: eventlog.FromPosition, Position: p, Window: 1})
	if err != nil {
		return Sight{}, fmt.Errorf("read the log: %w", err)
	}
	defer source.Close()
	s := Sight{Log: source.Info().Identity}
	if log != "" && log != s.Log {
		s.Trouble = fmt.Sprintf("the position is of the log %q, and this one is %q: it was deleted and made anew", log, s.Log)
		return s, nil
	}
	for end := time.Now().Add(lookTimeout); ; {
		entries, err := source.Next(ctx, time.Until(end))
		if err != nil {
			return Sight{}, fmt.Errorf("read the log: %w", err)
		}
		for i := range entries {
			if e := &entries[i]; e.Position >= p {
				c.see(&s, e, p)
				return s, nil
			}
		}
		if len(entries) == 0 || !time.Now().Before(end) {
			s.Trouble = "there is no such position in the log yet"
			return s, nil
		}
		source.Taken(entries[len(entries)-1].Position)
	}
}

// see describes the first entry at or behind the requested position.
func (c *Consumer) see(s *Sight, e *eventlog.Entry, p eventlog.Position) {
	if e.Position > p {
		s.Trouble = fmt.Sprintf("the log has no such position: the next one is %s; it has been removed, or the log has used it for itself", e.Position)
		return
	}
	s.Found, s.Key = true, e.Key
	published, _ := publishedAt(e.Published, time.Now())
	if !e.Published.IsZero() {
		s.Published = published
	}
	if e.Key == "" {
		s.Trouble = "it is an entry of the log's own, and no event"
		return
	}
	event, err := routes.NewEncoder(c.config.Table, c.config.MaxBody).Encode(e.Key, e.Body, published)
	switch bad, isPoison := errors.AsType[*routes.Poison](err); {
	case isPoison:
		s.Trouble = fmt.Sprintf("it cannot be delivered: %s", bad)
	case err != nil:
		s.Trouble = err.Error()
	case event.Order != nil:
		s.Trouble = "it is an order of the back office, which clients are not sent"
	default:
		r := c.config.Table.Find(e.Key)
		s.Event, s.Rooms = r.Emit, event.Rooms
		s.Volatile, s.Latest = r.Volatile, r.Latest != ""
		if len(s.Rooms) == 0 {
			s.Trouble = "it names nobody"
		}
	}
	if s.Trouble == "" && c.intake.repeated.has(e.Position) {
		s.Trouble = "it repeats an event that was published before, and is skipped"
	}
}

// maxRepeated is how many repeated events are remembered.
const maxRepeated = 1024

// A repeats remembers the positions of the newest repeated events. Safe for
// concurrent use.
type repeats struct {
	mu   sync.Mutex // guards the following
	list []eventlog.Position
	next int // where the oldest is, once there are maxRepeated
}

func (r *repeats) add(p eventlog.Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.list) < maxRepeated {
		r.list = append(r.list, p)
		return
	}
	r.list[r.next] = p
	r.next = (r.next + 1) % maxRepeated
}

func (r *repeats) has(p eventlog.Position) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Contains(r.list, p)
}
