package upstream

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hometrip/gateway/upstream/routes"

	"github.com/hometrip/gateway/upstream/eventlog"
)

// Status is the state of reading the log.
type Status struct {
	Connected   bool      // the log is being read
	Since       time.Time // when it became so
	Attempts    int       // failed, since entries came last
	LastError   string    // of those; "" when connected from the start
	Host        string    // host:port, of the last attempt; "" when the log is in this process
	Connections int       // made so far
	Foreign     []string  // queues and exchanges used as they were found
	Log         string    // identity of the log; "" before it was read
}

// A board holds the Status. Safe for concurrent use.
type board struct {
	tried chan struct{} // closed when the first attempt has succeeded or failed
	begun chan struct{} // closed when the log has been opened for the first time

	mu     sync.Mutex
	status Status // guarded by mu
}

func newBoard(now time.Time) board {
	return board{tried: make(chan struct{}), begun: make(chan struct{}), status: Status{Since: now}}
}

func (b *board) snapshot() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.status
}

func (b *board) connected(now time.Time, identity string) (number int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &b.status
	if s.Connections == 0 {
		close(b.begun) // before tried: whoever waits for tried then checks begun
		if s.Attempts == 0 {
			close(b.tried)
		}
	}
	s.Connected, s.Since, s.Attempts, s.Log = true, now, 0, identity
	s.Connections++
	return s.Connections
}

// lost records a failed attempt or the end of reading.
func (b *board) lost(now time.Time, err error) (attempts int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &b.status
	if s.Connected {
		s.Connected, s.Since = false, now
	}
	if s.Connections == 0 && s.Attempts == 0 {
		close(b.tried)
	}
	s.Attempts++
	s.LastError = err.Error()
	return s.Attempts
}

// counters count what happened so far. Any goroutine may read them.
type counters struct {
	received   atomic.Int64
	delivered  atomic.Int64
	elsewhere  atomic.Int64
	rooms      atomic.Int64
	marks      atomic.Int64
	duplicates atomic.Int64
	gaps       atomic.Int64
	missed     atomic.Int64
	logs       atomic.Int64
	position   atomic.Uint64
	lag        atomic.Int64 // ns
	poison     [routes.NumReasons]atomic.Int64

	badTimestamps atomic.Int64
}

// Totals are the counters at one time.
type Totals struct {
	Received   int64             // entries read
	Delivered  int64             // events for rooms of this node, and orders
	Elsewhere  int64             // events for rooms that this node does not hold
	Rooms      int64             // rooms that the delivered events went to
	Marks      int64             // entries that are not events
	Duplicates int64             // events that their publisher had published before
	Gaps       int64             // times that entries were removed before they were read
	Missed     int64             // entries removed before they were read
	Logs       int64             // times that the log had been created anew
	Position   eventlog.Position // of the last entry
	Lag        time.Duration     // age of the last event read, by its publisher's clock; 0 if it has no time
	Poison     map[string]int64  // by Reason

	BadTimestamps int64 // timestamps that were corrected or not believed
}

func (c *counters) totals() Totals {
	t := Totals{
		Received: c.received.Load(), Delivered: c.delivered.Load(), Elsewhere: c.elsewhere.Load(),
		Rooms: c.rooms.Load(), Marks: c.marks.Load(), Duplicates: c.duplicates.Load(),
		Gaps: c.gaps.Load(), Missed: c.missed.Load(), Logs: c.logs.Load(),
		Position: eventlog.Position(c.position.Load()), Lag: time.Duration(c.lag.Load()),
		BadTimestamps: c.badTimestamps.Load(),
		Poison:        make(map[string]int64, routes.NumReasons),
	}
	for r := range routes.NumReasons {
		t.Poison[r.String()] = c.poison[r].Load()
	}
	return t
}
