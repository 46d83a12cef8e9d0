// Package orders stores the orders that last, which refuse tokens that are
// otherwise valid. It keeps them in memory, and in Redis for nodes that start
// later. It is a state machine without goroutines and I/O: inputs and outputs
// are values, and the time is an argument.
package orders

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

const (
	// Most is how many orders are kept in Redis and on every node, some 200
	// bytes each. Beyond it, Redis drops those that end first.
	Most = 1 << 18

	// countEvery is how often the orders in Redis are counted. If there are
	// more than this node knows, they are read again: a node that was suspended
	// or could not reach Redis saves an order long after it was published, and
	// a node that has started meanwhile has not read it in the log.
	countEvery = 10 * time.Second

	batchSize  = 512 // orders written at once
	scanCount  = 2048
	retryDelay = 50 * time.Millisecond
)

// A step says what the batch under way does.
type step uint8

const (
	resting step = iota
	scanning
	saving
	trimming
	counting
)

// Orders has the orders that a node knows. It is not safe for concurrent use.
type Orders struct {
	names   wire.Names
	session int64 // 0: none
	loaded  int64 // session in which all were read

	known map[string]int64 // an order's form → Unix s at which it ends
	queue []string         // forms of orders that Redis does not have

	step   step
	flight uint64
	batch  []string        // orders that are being saved
	trim   bool            // Redis is to remove orders that have ended, and those beyond Most
	cursor string          // of the scan; "": no scan is under way
	found  map[string]bool // orders that the scan has found
	stored int64           // number of lasting orders that the last scan found
	retry  time.Time
	count  time.Time // when the orders in Redis are counted next; zero: they were not read yet

	obey      []rooms.Order
	Malformed int64 // orders in Redis that cannot be parsed
	Surplus   int64 // orders that were removed from Redis because there were more than Most
}

// New returns Orders without any order.
func New(names wire.Names) *Orders {
	return &Orders{names: names, known: make(map[string]int64)}
}

// Session begins a session, or ends one with 0. In each session the orders in
// Redis are read, and those that it has lost are written again.
func (o *Orders) Session(session int64) {
	o.session = session
	o.flight, o.retry = 0, time.Time{}
	o.queue = append(o.batch, o.queue...)
	o.batch = nil
	o.step, o.trim, o.count = resting, false, time.Time{}
	o.scan()
}

// Read reads the orders in Redis again, because this node may have missed some.
func (o *Orders) Read() {
	if o.step != scanning { // otherwise a page is under way
		o.scan()
	}
}

func (o *Orders) scan() { o.cursor, o.found, o.stored = "0", make(map[string]bool), 0 }

// Loaded reports whether the orders in Redis have been read at least once.
func (o *Orders) Loaded() bool { return o.loaded != 0 }

// Current reports whether the orders in Redis have been read in this session.
func (o *Orders) Current() bool { return o.session != 0 && o.loaded == o.session }

// Saved reports whether Redis has all orders.
func (o *Orders) Saved() bool { return len(o.queue)+len(o.batch) == 0 }

// Unsaved returns the forms of orders that Redis does not have.
func (o *Orders) Unsaved() []string { return slices.Concat(o.batch, o.queue) }

// Inherit takes over orders that another process could not save.
func (o *Orders) Inherit(forms []string, now time.Time) {
	for _, form := range forms {
		if order, err := wire.ParseOrder([]byte(form), now); err == nil {
			o.Keep(*order, now)
		}
	}
}

// Obey returns the orders that were found in Redis since the last call and that
// this node did not know.
func (o *Orders) Obey() (list []rooms.Order) { list, o.obey = o.obey, nil; return list }

// Keep stores an order in Redis, if it lasts.
func (o *Orders) Keep(order rooms.Order, now time.Time) {
	until := wire.Seconds(order.Until)
	if until <= now.Unix() {
		return
	}
	form := wire.Order(&order)
	switch {
	case !o.note(form, until, now.Unix()):
	case len(o.queue) >= Most:
		o.Surplus++
	default:
		o.queue = append(o.queue, form)
	}
}

// note stores an order in memory, and reports whether it is new.
func (o *Orders) note(form string, until, now int64) bool {
	if _, known := o.known[form]; known {
		return false
	}
	if len(o.known) >= Most {
		o.prune(now)
	}
	if len(o.known) < Most {
		o.known[form] = until
	}
	return true
}

// prune forgets the orders that have ended.
func (o *Orders) prune(now int64) {
	maps.DeleteFunc(o.known, func(_ string, until int64) bool { return until <= now })
}

// Take returns the batch that is to be sent now.
func (o *Orders) Take(id uint64, now time.Time) (b wire.Batch, ok bool) {
	if o.session == 0 || o.flight != 0 || now.Before(o.retry) {
		return b, false
	}
	o.retry = time.Time{}
	if o.step == resting && !o.choose(now) {
		return b, false
	}
	key := []string{o.names.Orders()}
	switch o.step {
	case scanning:
		b.Commands = []wire.Command{{Name: "ZSCAN", Keys: key, Args: []string{o.cursor, "COUNT", wire.Decimal(scanCount)}}}
	case saving:
		add := wire.Command{Name: "ZADD", Keys: key}
		for _, form := range o.batch {
			add.Args = append(add.Args, wire.Decimal(o.until(form)), form)
		}
		b.Commands = []wire.Command{add}
	case trimming:
		b.Commands = []wire.Command{
			{Name: "ZREMRANGEBYSCORE", Keys: key, Args: []string{"-inf", wire.Decimal(now.Unix())}},
			{Name: "ZREMRANGEBYRANK", Keys: key, Args: []string{"0", wire.Decimal(-Most - 1)}},
		}
	case counting:
		b.Commands = []wire.Command{{Name: "ZCOUNT", Keys: key, Args: []string{"(" + wire.Decimal(now.Unix()), "+inf"}}}
	}
	b.ID, o.flight = id, id
	return b, true
}

// choose sets the next step, and reports whether there is one. Saving comes
// before reading.
func (o *Orders) choose(now time.Time) bool {
	switch {
	case o.trim:
		o.step = trimming
	case len(o.queue) > 0:
		o.step = saving
		n := min(len(o.queue), batchSize)
		o.batch = slices.Clone(o.queue[:n])
		o.queue = slices.Delete(o.queue, 0, n)
	case o.cursor != "":
		o.step = scanning
	case !o.count.IsZero() && !now.Before(o.count):
		o.step = counting
	default:
		return false
	}
	return true
}

// until returns when an order ends. An order that is not in memory any more was
// dropped for lack of space.
func (o *Orders) until(form string) int64 {
	if until, known := o.known[form]; known {
		return until
	}
	order, err := wire.ParseOrder([]byte(form), time.Time{}) // the time at which it was given is not used
	if err != nil {
		return 0
	}
	return wire.Seconds(order.Until)
}

// Reply handles the reply to the batch of that id, and reports whether the
// batch was one of these.
func (o *Orders) Reply(id uint64, replies []wire.Reply, now time.Time) bool {
	if id != o.flight {
		return false
	}
	o.flight = 0
	if wire.FirstError(replies) != nil {
		o.retry = now.Add(retryDelay)
		return true
	}
	switch o.step {
	case scanning:
		o.scanned(replies[0], now)
	case saving:
		o.batch, o.trim = nil, true
	case trimming:
		o.Surplus += replies[1].Int
		o.trim = false
	case counting:
		o.counted(replies[0].Int, now)
	}
	o.step = resting
	return true
}

// scanned handles a page of the orders in Redis.
func (o *Orders) scanned(r wire.Reply, now time.Time) {
	for i := 0; i+1 < len(r.List); i += 2 { // each with its score
		form := r.List[i]
		o.found[form] = true
		if end, err := strconv.ParseInt(r.List[i+1], 10, 64); err == nil && end > now.Unix() {
			o.stored++
		}
		order, err := wire.ParseOrder([]byte(form), now)
		if err != nil {
			o.Malformed++
			continue
		}
		if until := wire.Seconds(order.Until); until > now.Unix() && o.note(form, until, now.Unix()) {
			o.obey = append(o.obey, *order)
		}
	}
	if o.cursor = r.Next; o.cursor != "0" {
		return
	}
	o.loaded, o.count = o.session, now.Add(countEvery)
	o.restore(now.Unix())
	o.cursor, o.trim = "", true
}

// counted handles the number of lasting orders in Redis. Orders that cannot be
// parsed are not in memory, but are no reason to read all of them again.
func (o *Orders) counted(n int64, now time.Time) {
	o.prune(now.Unix())
	o.count = now.Add(countEvery)
	if n > max(int64(len(o.known)), o.stored) {
		o.scan()
	}
}

// restore queues the orders that Redis has lost.
func (o *Orders) restore(now int64) {
	o.prune(now)
	queued := make(map[string]bool, len(o.queue))
	for _, form := range o.queue {
		queued[form] = true
	}
	var lost []string
	for form := range o.known {
		if !o.found[form] && !queued[form] {
			lost = append(lost, form)
		}
	}
	slices.SortFunc(lost, func(a, b string) int { return int(o.known[a] - o.known[b]) })
	o.queue = append(lost, o.queue...)
	o.found = nil
}

// Next returns when Take is to be called. Zero means not before another input.
func (o *Orders) Next() time.Time {
	switch {
	case o.session == 0:
		return time.Time{}
	case o.retry.IsZero():
		return o.count
	}
	return o.retry
}
