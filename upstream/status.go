package upstream

import (
	"sync"
	"sync/atomic"
	"time"
)

// Status is what is known about the connection to RabbitMQ.
type Status struct {
	Connected   bool
	Since       time.Time // when it became so
	Attempts    int       // failed, since the last connection
	LastError   string    // of those; "" when connected from the start
	Host        string    // host:port, of the last attempt
	Connections int       // made so far
	Foreign     []string  // queues and exchanges used as they were found, see the log
}

// A board holds the Status. Safe for concurrent use.
type board struct {
	mu     sync.Mutex
	status Status // guarded by mu
}

func (b *board) snapshot() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.status
}

func (b *board) trying(host string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.status.Host = host
}

func (b *board) connected(now time.Time, foreign []string) (number int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &b.status
	s.Connected, s.Since, s.Attempts, s.Foreign = true, now, 0, foreign
	s.Connections++
	return s.Connections
}

// lost notes a failed attempt or the end of a connection.
func (b *board) lost(now time.Time, err error) (attempts int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &b.status
	if s.Connected {
		s.Connected, s.Since = false, now
	}
	s.Attempts++
	s.LastError = err.Error()
	return s.Attempts
}

// counters are what happened so far. The goroutines that do it add, anybody
// reads.
type counters struct {
	received    atomic.Int64
	delivered   atomic.Int64
	rooms       atomic.Int64
	passedOver  atomic.Int64
	duplicates  atomic.Int64
	retries     atomic.Int64
	acked       atomic.Int64
	unacked     atomic.Int64
	lag         atomic.Int64 // ns
	poison      [reasons]atomic.Int64
	deadLetters atomic.Int64

	badTimestamps atomic.Int64
}

// Totals are the counters at one time.
type Totals struct {
	Received    int64            // deliveries of RabbitMQ
	Delivered   int64            // events handed to all of their rooms
	Rooms       int64            // rooms those went to
	PassedOver  int64            // left to another queue, where patterns overlap
	Duplicates  int64            // redelivered, and delivered by this node before
	Retries     int64            // further attempts to deliver or to synchronize
	Acked       int64            // acknowledged
	Unacked     int64            // on their way: taken and not acknowledged yet
	Lag         time.Duration    // how old the event taken last was, by its publisher's clock; 0 when that set no time
	Poison      map[string]int64 // by Reason
	DeadLetters int64            // confirmed to be in their queue

	BadTimestamps int64 // of events, that were corrected or not believed
}

func (c *counters) totals() Totals {
	t := Totals{
		Received: c.received.Load(), Delivered: c.delivered.Load(), Rooms: c.rooms.Load(),
		PassedOver: c.passedOver.Load(), Duplicates: c.duplicates.Load(), Retries: c.retries.Load(),
		Acked: c.acked.Load(), Unacked: c.unacked.Load(), Lag: time.Duration(c.lag.Load()),
		DeadLetters: c.deadLetters.Load(), BadTimestamps: c.badTimestamps.Load(),
		Poison: make(map[string]int64, reasons),
	}
	for r := range reasons {
		t.Poison[r.String()] = c.poison[r].Load()
	}
	return t
}
