package upstream

import (
	"time"

	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/upstream/eventlog"
	"github.com/hometrip/gateway/upstream/routes"
)

// doneEvery is the number of entries without a dead letter after which the
// sorter stores how far it is. The next node reads at most that many again.
const doneEvery = 1000

// headerAppendedAgain marks an order that was appended again.
const headerAppendedAgain = "x-gateway-again"

// A Task is something that a Sorting requests.
type Task struct {
	Kind     TaskKind
	Letter   eventlog.Letter // of PutAside
	Entry    eventlog.Entry  // of Repeat
	Position eventlog.Position
}

// A TaskKind is a kind of task.
type TaskKind uint8

// The kinds. The tasks of one entry are done in order.
const (
	PutAside TaskKind = iota // store Letter durably before anything else is read
	Repeat                   // append Entry to the log; if that fails, leave the rest of the entry's tasks out
	Done                     // store that everything up to Position is done
)

// A Sorting decides what is done for the dead letters with each entry of the
// log: it is the Sorter without I/O. Owned by one goroutine.
type Sorting struct {
	table   *routes.Table
	encoder *routes.Encoder
	began   eventlog.Position // the end of the log when the turn began
	since   int               // entries since the last Done
	tasks   []Task            // scratch
}

// NewSorting returns a Sorting. Of c it uses Table and MaxBody.
func NewSorting(c Config) *Sorting {
	return &Sorting{table: c.Table, encoder: routes.NewEncoder(c.Table, c.MaxBody)}
}

// Begin begins a turn. done is the offset up to which the previous node was
// done, zero if there was none; end is that of the newest entry in the log,
// zero if it is not known. It returns where to read from, and the identity that
// the log should have, "" for any.
func (s *Sorting) Begin(done, end eventlog.Offset) (at eventlog.Start, identity string) {
	s.began, s.since = end.Position, 0
	if done.Log == "" {
		return eventlog.Start{From: eventlog.FromNext}, ""
	}
	return eventlog.Start{From: eventlog.FromPosition, Position: done.Position + 1}, done.Log
}

// Take returns what is to be done with an entry of a log. The slice is valid
// until the next call.
func (s *Sorting) Take(log string, e *eventlog.Entry) []Task {
	s.tasks = s.tasks[:0]
	lasts, bad := s.judge(e)
	switch {
	case bad != nil:
		return s.putAside(eventlog.Letter{Log: log, Entry: *e, Reason: bad.Reason.String(), Detail: bad.Detail})
	case lasts:
		return s.repeat(e)
	}
	if s.since++; s.since >= doneEvery {
		return s.done(e.Position)
	}
	return nil
}

// Skipped returns what is to be done about an entry that cannot be decoded.
func (s *Sorting) Skipped(log string, p eventlog.Position) []Task {
	s.tasks = s.tasks[:0]
	return s.putAside(eventlog.Letter{
		Log: log, Entry: eventlog.Entry{Position: p}, Reason: errUndecodable.Reason.String(), Detail: errUndecodable.Detail,
	})
}

func (s *Sorting) putAside(l eventlog.Letter) []Task {
	s.tasks = append(s.tasks, Task{Kind: PutAside, Letter: l})
	return s.done(l.Entry.Position)
}

// repeat requests that an order from before this turn be appended again,
// because it is possible that no node ran then. An order may be carried out
// twice without harm.
func (s *Sorting) repeat(e *eventlog.Entry) []Task {
	if _, again := e.Headers[headerAppendedAgain]; e.Position <= s.began && !again {
		s.tasks = append(s.tasks, Task{Kind: Repeat, Position: e.Position, Entry: eventlog.Entry{
			Exchange: e.Exchange, Key: e.Key, AppID: e.AppID, Trace: e.Trace, Published: e.Published, Body: e.Body,
			Headers: map[string]any{headerAppendedAgain: "1"},
		}})
	}
	return s.done(e.Position)
}

func (s *Sorting) done(p eventlog.Position) []Task {
	s.since = 0
	s.tasks = append(s.tasks, Task{Kind: Done, Position: p})
	return s.tasks
}

// judge returns why an entry cannot be delivered, nil if it can, and whether it
// is an order that lasts.
func (s *Sorting) judge(e *eventlog.Entry) (lasts bool, bad *routes.Poison) {
	r := s.table.Find(e.Key)
	switch {
	case e.Key == "":
		return false, nil
	case r == nil:
		return false, asPoison(routes.NoRoute(e.Key))
	}
	_, err := s.encoder.Read(r, e.Body)
	switch {
	case err != nil:
	case r.IsOrder():
		var o *rooms.Order
		o, err = s.encoder.Order(e.Key, time.Now())
		lasts = err == nil && !o.Until.IsZero()
	default:
		err = s.encoder.Address(r)
	}
	return lasts, asPoison(err)
}
