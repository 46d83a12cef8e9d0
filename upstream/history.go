package upstream

import (
	"context"
	"hash/maphash"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/upstream/eventlog"
	"github.com/hometrip/gateway/upstream/routes"
)

const (
	// historyReaders is how many questions are answered at the same time.
	historyReaders = 4

	// historyQuestions is how many may wait; more are refused.
	historyQuestions = 1 << 14

	// orderSlack is how many positions an order may be before the one up to
	// which a session was given everything, and still not have been applied to
	// it.
	orderSlack = 4096

	// fillTimeout is how long reading older entries of the log may take. After
	// a hand-over, it is also how long a question waits: see stamp.
	fillTimeout = 10 * time.Second

	// fillTries is how often reading is tried if the oldest entry in memory
	// changes meanwhile: entries are kept only since the first client that may
	// come back, and dropped if they are too many.
	fillTries = 2
)

// A history is the newest part of the log in memory, for clients that come back
// to what they missed: the port rooms.History. If a question needs more, the
// older entries are read from the log and kept.
//
// The goroutine that follows the log adds entries and sets in each question how
// far the log has been delivered; historyReaders goroutines answer.
type history struct {
	log     eventlog.Log
	table   *routes.Table
	maxBody int
	limit   int
	seed    maphash.Seed

	asks chan *ask     // to the goroutine that follows the log
	jobs chan *ask     // from it to those that answer
	bell chan struct{} // has a token when there is an ask

	wanted atomic.Bool // clients may ask; nothing is kept before

	filling sync.Mutex // one goroutine reads older entries at a time

	mu    sync.Mutex // guards the following
	tail  *eventlog.Tail
	given eventlog.Position // up to there a process before this one has delivered the log

	// Of the goroutine that follows the log.
	keeping bool     // the entry in hand is to be kept
	keys    []uint64 // scratch
	first   *ask     // the oldest of those that wait; nil: look into asks
}

// An ask is a question of one client.
type ask struct {
	q       rooms.Question
	at      time.Time
	through uint64
	done    func(rooms.Missed)
}

func (a *ask) fail(why rooms.RecoveryResult) { a.done(rooms.Missed{Result: why}) }

func newHistory(c *Config) *history {
	return &history{
		log: c.Log, table: c.Table, maxBody: c.MaxBody, limit: c.Tail, seed: maphash.MakeSeed(),
		tail: eventlog.NewTail(c.Tail),
	}
}

// listen starts accepting questions.
func (h *history) listen() {
	h.asks, h.jobs, h.bell = make(chan *ask, historyQuestions), make(chan *ask, historyQuestions), make(chan struct{}, 1)
}

// Missed implements rooms.History.
func (c *Consumer) Missed(q rooms.Question, done func(rooms.Missed)) {
	a := &ask{q: q, at: time.Now(), done: done}
	if c.history == nil {
		a.fail(rooms.RecoveryLogShort)
		return
	}
	select {
	case c.history.asks <- a:
	default:
		a.fail(rooms.RecoveryBusy)
		return
	}
	select {
	case c.history.bell <- struct{}{}:
	default:
	}
}

// Wanted implements rooms.History.
func (c *Consumer) Wanted() {
	if c.history != nil && !c.history.wanted.Load() {
		c.history.wanted.Store(true)
	}
}

// Kept returns how many bytes of the log are in memory for clients that come
// back.
func (c *Consumer) Kept() int {
	if c.history == nil {
		return 0
	}
	c.history.mu.Lock()
	defer c.history.mu.Unlock()
	return c.history.tail.Bytes()
}

// stamp sets in the waiting questions how far the log has been delivered. The
// goroutine that follows the log calls it between two entries.
//
// After a hand-over, the entries that the previous process has delivered are
// read again, and not delivered. Questions wait until then.
func (h *history) stamp(now time.Time) {
	through, behind := h.read()
	for {
		a := h.first
		h.first = nil
		if a == nil {
			select {
			case a = <-h.asks:
			default:
				return
			}
		}
		if behind && now.Sub(a.at) < fillTimeout {
			h.first = a
			return
		}
		if behind {
			a.fail(rooms.RecoveryFailed)
			continue
		}
		a.through = uint64(through)
		select {
		case h.jobs <- a:
		default:
			a.fail(rooms.RecoveryBusy)
		}
	}
}

// read returns the position up to which the log has been read, and whether a
// previous process has delivered more than that.
func (h *history) read() (last eventlog.Position, behind bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tail.Last(), h.tail.Last() < h.given
}

// run answers questions until ctx is cancelled.
func (h *history) run(ctx context.Context) {
	for {
		select {
		case a := <-h.jobs:
			a.done(h.answer(ctx, a))
		case <-ctx.Done():
			return
		}
	}
}

func (h *history) answer(ctx context.Context, a *ask) rooms.Missed {
	m := h.look(a)
	for again, tries := m.Result == rooms.RecoveryLogShort, 0; again && tries < fillTries; tries++ {
		why := rooms.RecoveryDone
		if why, again = h.fill(ctx, a); why == rooms.RecoveryDone {
			m = h.look(a)
		} else {
			m = rooms.Missed{Result: why}
		}
	}
	return m
}

// look answers from memory. RecoveryLogShort: memory does not reach back far
// enough.
func (h *history) look(a *ask) rooms.Missed {
	entries, why := h.find(a)
	if why != rooms.RecoveryDone {
		return rooms.Missed{Result: why}
	}
	return h.encode(a, entries)
}

// oldest returns the position behind which entries are needed, and whether any
// are. h.mu is held.
func (h *history) oldest(a *ask) (eventlog.Position, bool) {
	oldest := a.q.Since
	for i := range a.q.Rooms {
		from := &a.q.Rooms[i].From
		if *from == 0 && a.q.Here {
			*from = uint64(h.tail.Began())
		}
		oldest = min(oldest, *from)
	}
	if oldest == 0 && a.q.Here {
		oldest = uint64(h.tail.Began())
	}
	return eventlog.Position(oldest), oldest < a.through
}

// find collects the entries that a client has missed.
func (h *history) find(a *ask) ([]eventlog.Entry, rooms.RecoveryResult) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.tail.Log() != a.q.Log {
		return nil, rooms.RecoveryOtherLog
	}
	oldest, needed := h.oldest(a)
	if needed && oldest < h.tail.After() {
		return nil, rooms.RecoveryLogShort
	}
	if h.ordered(a) { // also when nothing was missed: see orderSlack
		return nil, rooms.RecoveryOrder
	}
	if !needed {
		return nil, rooms.RecoveryDone
	}
	var entries []eventlog.Entry
	for _, room := range a.q.Rooms {
		entries = h.tail.Find(maphash.String(h.seed, room.Name), eventlog.Position(room.From),
			eventlog.Position(a.through), a.q.MaxEvents+1, entries)
	}
	slices.SortFunc(entries, func(a, b eventlog.Entry) int {
		if a.Position < b.Position {
			return -1
		}
		return 1
	})
	entries = slices.CompactFunc(entries, func(a, b eventlog.Entry) bool { return a.Position == b.Position })
	if len(entries) > a.q.MaxEvents {
		return nil, rooms.RecoveryTooMuch
	}
	return entries, rooms.RecoveryDone
}

// ordered reports whether an order of the back office applies to the session.
// h.mu is held.
func (h *history) ordered(a *ask) bool {
	keys := []uint64{h.userKey(a.q.User)}
	if a.q.Token != 0 {
		keys = append(keys, h.tokenKey(a.q.Token))
	}
	encoder := routes.NewEncoder(h.table, h.maxBody)
	since := max(a.q.Since-min(a.q.Since, orderSlack), a.q.Began)
	for _, key := range keys {
		found := h.tail.Find(key, eventlog.Position(since), eventlog.Position(a.through), math.MaxInt, nil)
		for i := range found {
			e, err := encoder.Encode(found[i].Key, found[i].Body, found[i].Published)
			if err == nil && e.Order != nil && e.Order.Means(a.q.User, a.q.Token, a.q.Issued) {
				return true
			}
		}
	}
	return false
}

// encode makes the messages of entries, except those for other rooms.
func (h *history) encode(a *ask, entries []eventlog.Entry) rooms.Missed {
	m := rooms.Missed{Through: a.through}
	from := make(map[string]uint64, len(a.q.Rooms))
	for _, room := range a.q.Rooms {
		from[room.Name] = room.From
	}
	encoder := routes.NewEncoder(h.table, h.maxBody)
	size := 0
	for i := range entries {
		e := &entries[i]
		event, err := encoder.Encode(e.Key, e.Body, e.Published)
		if err != nil || event.Message == nil {
			continue
		}
		if !slices.ContainsFunc(event.Rooms, func(room string) bool {
			at, in := from[room]
			return in && uint64(e.Position) > at
		}) {
			continue
		}
		if size += event.Message.Size(); size > a.q.MaxBytes {
			return rooms.Missed{Result: rooms.RecoveryTooMuch}
		}
		m.Events = append(m.Events, rooms.Numbered{Position: uint64(e.Position), Message: event.Message})
	}
	return m
}

// roomKeys returns the keys of the rooms that an encoder has found, valid until
// the next call.
func (h *history) roomKeys(encoder *routes.Encoder, keys []uint64) []uint64 {
	for i := range encoder.Rooms() {
		keys = append(keys, maphash.Bytes(h.seed, encoder.Room(i)))
	}
	return keys
}

func (h *history) orderKeys(o *rooms.Order, keys []uint64) []uint64 {
	if o.User != "" {
		return append(keys, h.userKey(o.User))
	}
	return append(keys, h.tokenKey(rooms.TokenMark(o.TokenID)))
}

// userKey is the key of the orders for a user. No room has such a name.
func (h *history) userKey(user string) uint64 { return maphash.String(h.seed, "\x00user:"+user) }

func (h *history) tokenKey(mark uint64) uint64 {
	return maphash.Comparable(h.seed, mark)
}

// add adds the next entry, which is for rooms or an order.
func (h *history) add(e *eventlog.Entry, published time.Time, keys []uint64) {
	if !h.keeping {
		return
	}
	kept := *e
	kept.Published = published
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tail.Add(kept, keys)
}

// next is called before each entry.
func (h *history) next() { h.keeping = h.wanted.Load() }

// pass records that the log has been read up to a position.
func (h *history) pass(p eventlog.Position) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.keeping {
		h.tail.Pass(p)
	} else {
		h.tail.Skip(p)
	}
}

func (h *history) begin(log string, behind eventlog.Position, known bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tail.Begin(log, behind, known)
	h.given = 0
}

func (h *history) gap(to eventlog.Position) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tail.Gap(to)
}

// fill reads the entries before those in memory from the log, as far back as a
// question needs. again: another try may succeed.
func (h *history) fill(ctx context.Context, a *ask) (why rooms.RecoveryResult, again bool) {
	h.filling.Lock()
	defer h.filling.Unlock()
	f, why := h.filler(a)
	if f == nil {
		return why, false
	}
	ctx, cancel := context.WithTimeout(ctx, fillTimeout)
	defer cancel()
	if why := f.read(ctx); why != rooms.RecoveryDone {
		return why, false
	}
	return f.end()
}
