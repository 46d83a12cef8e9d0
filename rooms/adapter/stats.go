package adapter

import "sync/atomic"

// counters are what the adapter counts.
type counters struct {
	connected   atomic.Bool
	received    atomic.Int64
	routed      atomic.Int64
	requests    atomic.Int64
	answers     atomic.Int64
	published   atomic.Int64
	unpublished atomic.Int64
	dropped     [Reasons]atomic.Int64
}

// Totals is a snapshot of the adapter's counters.
type Totals struct {
	Connected     bool
	Subscriptions int   // to rooms' channels
	Received      int64 // events of other servers, handed to the rooms
	Routed        int64 // events left to the services' log
	Requests      int64 // of other servers
	Answers       int64 // to them
	Published     int64 // events for the other servers
	Unpublished   int64 // messages that could not be published: Redis away, or too many waiting
	Dropped       map[Reason]int64
}

// Stats returns the counters.
func (a *Adapter) Stats() Totals {
	t := Totals{
		Connected: a.stats.connected.Load(), Received: a.stats.received.Load(), Routed: a.stats.routed.Load(),
		Requests: a.stats.requests.Load(), Answers: a.stats.answers.Load(),
		Published: a.stats.published.Load(), Unpublished: a.stats.unpublished.Load(),
		Dropped: make(map[Reason]int64, Reasons),
	}
	for i := range a.stats.dropped {
		t.Dropped[Reason(i)] = a.stats.dropped[i].Load()
	}
	a.mu.Lock()
	t.Subscriptions = len(a.subscriptions.rooms)
	a.mu.Unlock()
	return t
}
