package eventlog

import (
	"fmt"
	"time"

	"github.com/hometrip/gateway/internal/backoff"
)

// A Phase is what a Reader is doing.
type Phase uint8

// The phases.
const (
	PhaseIdle      Phase = iota // before Start
	PhaseOpening                // the driver opens the log
	PhaseVerifying              // open at the last entry that was read, which must come first
	PhaseProbing                // the driver opens the log to learn where it ends
	PhaseReading                // entries come
	PhaseWaiting                // a failure; tries again at a time
	PhaseDraining               // the log is another one; the rooms first get what was read of the previous one
)

var phaseNames = [...]string{"idle", "opening", "verifying", "probing", "reading", "waiting", "draining"}

// String implements fmt.Stringer.
func (p Phase) String() string { return phaseNames[p] }

// An InputKind is a kind of Input.
type InputKind uint8

// The inputs of a Reader.
const (
	Begin     InputKind = iota // start reading: From, and Position for FromPosition
	Opened                     // the log is open: Info
	Delivered                  // an entry came: Entry
	Closed                     // the log could not be opened, or reading has ended: Undecodable
	Taken                      // the rooms have taken the entry that was handed over last
	Tick                       // time has passed
)

// An Input is an event that the Reader reacts to.
type Input struct {
	Kind        InputKind
	Now         time.Time
	Start       Start // of Begin; its Window is not used
	Info        Info
	Entry       Entry
	Undecodable bool // reading ended at an entry that cannot be decoded
}

// An OutputKind is a kind of Output.
type OutputKind uint8

// The outputs of a Reader.
const (
	Open     OutputKind = iota // close what is open, and open the log at Start
	Hand                       // give Entry to the rooms, then say Taken
	Credit                     // entries up to Position were taken
	Gap                        // the entries From to Position will never come
	OtherLog                   // from here on the log is another one: positions restart
	Skipped                    // the entry at Position cannot be decoded and is skipped
)

var outputNames = [...]string{"open", "hand", "credit", "gap", "other log", "skipped"}

// String implements fmt.Stringer.
func (k OutputKind) String() string { return outputNames[k] }

// An Output is one thing that the driver is to do.
type Output struct {
	Kind     OutputKind
	Start    Start
	Entry    Entry
	From     Position
	Position Position
	Identity string // of the log from here on
}

// String implements fmt.Stringer.
func (o Output) String() string {
	switch o.Kind {
	case Open:
		return fmt.Sprintf("open at %v %v, window %d", o.Start.From, uint64(o.Start.Position), o.Start.Window)
	case Hand:
		return fmt.Sprintf("hand %d", uint64(o.Entry.Position))
	case Gap:
		return fmt.Sprintf("gap %d to %d", uint64(o.From), uint64(o.Position))
	}
	return fmt.Sprintf("%v %d", o.Kind, uint64(o.Position))
}

// Defaults of ReaderConfig.
const (
	creditBatch   = 64                   // entries handled before they are acknowledged to the log
	creditDelay   = 5 * time.Millisecond // the time after which fewer are acknowledged
	verifyTimeout = 2 * time.Second      // for the last entry to come again
	stableAfter   = 10 * time.Second     // a reading that lasted so long resets the pauses
)

// ReaderConfig is the configuration of a Reader.
type ReaderConfig struct {
	Window   int           // entries that may be on their way
	RetryMin time.Duration // first pause after a failure
	RetryMax time.Duration // longest pause
	Seed     uint64        // of the jitter of the pauses
}

// A Reader follows a log: it continues behind the last entry after every
// failure, notices entries that were removed before it has read them, notices
// that the log was replaced, and skips an entry that cannot be decoded. One
// entry at a time is with the rooms; those behind it wait here, at most a
// window of them.
//
// After a failure it opens the log at the last entry that it has read, not
// behind it. That entry proves that the log is still the same: if a position is
// beyond the end of a log that was created anew, RabbitMQ lets the reader wait,
// without an error (seen with 3.10).
//
// Owned by one goroutine.
type Reader struct {
	config ReaderConfig
	phase  Phase
	until  time.Time // of phases that end by time: Waiting, Verifying
	opened time.Time // when reading began

	identity string   // of the log; "" before the first Opened
	holes    Position // in a row that mean nothing; see Info
	last     Position // of the last entry that came; 0: none
	proof    Entry    // that entry, to know the log by; Position 0: there is none
	start    Start    // where to open
	whole    bool     // the log was made while this node did not read: it begins with position 1
	careful  bool     // one entry at a time, to find the one that cannot be decoded

	waiting []Entry // came, and not with the rooms yet
	head    int     // index of the oldest of these
	handed  Position
	busy    bool // an entry is with the rooms

	uncredited int
	creditAt   time.Time // zero: nothing to tell

	tries  int
	random uint64
	out    []Output
}

// NewReader returns a reader that waits for Begin.
func NewReader(c ReaderConfig) *Reader { return &Reader{config: c, random: c.Seed | 1} }

// Expect sets, before Begin, the log that the position belongs to at which
// reading is to begin. A log with another identity is read from its beginning.
func (r *Reader) Expect(identity string) { r.identity = identity }

// Phase returns the reader's phase.
func (r *Reader) Phase() Phase { return r.phase }

// Identity returns the identity of the log, "" before it was open.
func (r *Reader) Identity() string { return r.identity }

// Last returns the position of the last entry that was read, or behind which
// reading begins. 0: not known.
func (r *Reader) Last() Position { return r.last }

// Attempts returns how many attempts have failed since the last entry was read.
func (r *Reader) Attempts() int { return r.tries }

// Deadline returns when a Tick is due; zero: never.
func (r *Reader) Deadline() time.Time {
	t := r.creditAt
	if (r.phase == PhaseWaiting || r.phase == PhaseVerifying) && (t.IsZero() || r.until.Before(t)) {
		t = r.until
	}
	return t
}

// Step handles one input and returns what is to be done, in order. The slice is
// valid until the next call.
func (r *Reader) Step(in *Input) []Output {
	r.out = r.out[:0]
	switch in.Kind {
	case Begin:
		r.start = in.Start
		if r.start.From == FromPosition {
			r.last = r.start.Position - 1
		}
		r.open()
	case Opened:
		r.isOpen(in.Info, in.Now)
	case Delivered:
		r.deliver(&in.Entry)
	case Closed:
		r.closed(in.Undecodable, in.Now)
	case Taken:
		r.taken(in.Now)
	case Tick:
		r.tick(in.Now)
	}
	return r.out
}

func (r *Reader) do(o Output) { r.out = append(r.out, o) }

// open requests that the log be opened where reading is to continue.
func (r *Reader) open() {
	r.phase = PhaseOpening
	r.start.Window = r.config.Window
	if r.careful {
		r.start.Window = 1
	}
	r.uncredited, r.creditAt = 0, time.Time{} // of the reading before
	r.do(Output{Kind: Open, Start: r.start})
}

// resume sets where to open after a failure: at the last entry, or behind it if
// it could not be recognized.
func (r *Reader) resume() {
	switch {
	case r.proof.Position != 0:
		r.start = Start{From: FromPosition, Position: r.proof.Position}
	case r.last != 0:
		r.start = Start{From: FromPosition, Position: r.last + 1}
	}
}

func (r *Reader) isOpen(info Info, now time.Time) {
	if r.phase == PhaseProbing {
		r.probed(info, now)
		return
	}
	if r.phase != PhaseOpening {
		return
	}
	if r.identity != "" && r.identity != info.Identity {
		r.otherLog(info)
		return
	}
	r.identity, r.opened, r.holes = info.Identity, now, Position(info.Holes)
	r.phase = PhaseReading
	switch {
	case r.start.From == FromNext:
		r.last = info.Behind
	case info.End != 0 && info.End < r.last:
		r.wentBack()
	case r.proof.Position != 0 && r.start.Position == r.proof.Position:
		r.phase, r.until = PhaseVerifying, now.Add(verifyTimeout)
	}
}

// probed compares the end of the log with what was read of it.
func (r *Reader) probed(info Info, now time.Time) {
	switch {
	case info.Identity != r.identity:
		r.otherLog(info)
	case info.Behind != 0 && info.Behind <= r.last:
		r.wentBack()
	default: // the entry was only late, or the log does not tell
		r.failed(now)
	}
}

// wentBack handles a log that has lost entries that were read. Other entries
// may have their positions now; they count as a gap.
func (r *Reader) wentBack() {
	r.do(Output{Kind: Gap, From: r.last, Position: r.last})
	r.leave(r.identity, Start{From: FromNext, Renew: r.identity})
}

// otherLog begins to read a log with another identity, from its beginning: it
// was created while this node did not read. If it was renewed because it had lost
// entries, this node may have read those, or may not have read what has taken
// their positions until another node noticed: a gap.
func (r *Reader) otherLog(info Info) {
	if info.Renewed && (r.last != 0 || r.whole) {
		at := max(r.last, 1)
		r.do(Output{Kind: Gap, From: at, Position: at})
	}
	if info.Older {
		r.leave(info.Identity, Start{From: FromNext})
	} else {
		r.leave(info.Identity, Start{From: FromFirst})
	}
}

// leave begins to read another log, as soon as the rooms have what was read of
// the previous one.
func (r *Reader) leave(identity string, at Start) {
	r.identity, r.start = identity, at
	r.whole = at.From == FromFirst
	r.phase = PhaseDraining
	r.drained()
}

func (r *Reader) drained() {
	if r.busy || r.head < len(r.waiting) {
		return
	}
	r.last, r.proof, r.handed = 0, Entry{}, 0
	r.do(Output{Kind: OtherLog, Identity: r.identity})
	r.open()
}

func (r *Reader) deliver(e *Entry) {
	if r.phase != PhaseReading && r.phase != PhaseVerifying {
		return
	}
	if r.phase == PhaseVerifying && e.Position <= r.last {
		if e.Position != r.proof.Position {
			return // before it, of the same chunk
		}
		if !e.same(&r.proof) {
			r.wentBack()
			return
		}
		r.phase = PhaseReading
		r.credited(e.Position)
		return
	}
	if e.Position <= r.last {
		if e.Position == r.last && r.proof.Position == 0 {
			r.proof = *e
		}
		r.credited(e.Position)
		return
	}
	if (r.last != 0 || r.whole) && e.Position > r.last+1+r.holes {
		r.do(Output{Kind: Gap, From: r.last + 1, Position: e.Position - 1})
	}
	r.phase, r.tries = PhaseReading, 0
	r.last, r.proof = e.Position, *e
	r.waiting = append(r.waiting, *e)
	r.hand()
}

// credited acknowledges at once an entry that is not given to the rooms: in
// careful mode nothing else arrives before.
func (r *Reader) credited(p Position) {
	if len(r.waiting) == r.head && !r.busy {
		r.do(Output{Kind: Credit, Position: p})
	}
}

// hand gives the next entry to the rooms, unless they still have one.
func (r *Reader) hand() {
	if r.busy || r.head == len(r.waiting) {
		return
	}
	r.busy = true
	r.handed = r.waiting[r.head].Position
	r.do(Output{Kind: Hand, Entry: r.waiting[r.head]})
	r.waiting[r.head] = Entry{}
	if r.head++; r.head == len(r.waiting) {
		r.waiting, r.head = r.waiting[:0], 0
	}
}

func (r *Reader) taken(now time.Time) {
	if !r.busy {
		return
	}
	r.busy = false
	if r.phase == PhaseReading {
		r.credit(now)
	}
	r.hand()
	if r.phase == PhaseDraining {
		r.drained()
	}
}

// credit counts what was handled, and acknowledges it to the log from time to
// time.
func (r *Reader) credit(now time.Time) {
	if r.uncredited++; r.creditAt.IsZero() {
		r.creditAt = now.Add(creditDelay)
	}
	if r.uncredited >= creditBatch || r.careful {
		r.creditNow()
	}
}

func (r *Reader) creditNow() {
	r.uncredited, r.creditAt = 0, time.Time{}
	r.do(Output{Kind: Credit, Position: r.handed})
}

func (r *Reader) closed(undecodable bool, now time.Time) {
	if r.phase == PhaseIdle || r.phase == PhaseWaiting || r.phase == PhaseDraining {
		return
	}
	if now.Sub(r.opened) > stableAfter && (r.phase == PhaseReading || r.phase == PhaseVerifying) {
		r.tries = 0
	}
	switch {
	case !undecodable || r.phase != PhaseReading && r.phase != PhaseVerifying:
		r.careful = false
		r.failed(now)
	case !r.careful: // find out which one it is
		r.careful = true
		r.resume()
		r.open()
	default:
		r.skip()
	}
}

// skip skips the entry behind the last one.
func (r *Reader) skip() {
	r.careful = false
	if r.last == 0 && r.start.From == FromNext { // its time is not known, but it is over
		r.open()
		return
	}
	r.last++
	r.proof = Entry{}
	r.do(Output{Kind: Skipped, Position: r.last})
	r.resume()
	r.open()
}

// failed waits before the next attempt: twice as long each time, and between
// half and all of that, so that nodes that have lost the same server do not
// reconnect at the same time.
func (r *Reader) failed(now time.Time) {
	r.resume()
	r.tries++
	d := backoff.Pause(r.config.RetryMin, r.config.RetryMax, r.tries)
	r.uncredited, r.creditAt = 0, time.Time{}
	r.phase, r.until = PhaseWaiting, now.Add(d/2+time.Duration(r.next()%uint64(d/2+1)))
}

// next returns a random number (xorshift64).
func (r *Reader) next() uint64 {
	r.random ^= r.random << 13
	r.random ^= r.random >> 7
	r.random ^= r.random << 17
	return r.random
}

func (r *Reader) tick(now time.Time) {
	if !r.creditAt.IsZero() && !now.Before(r.creditAt) {
		r.creditNow()
	}
	if now.Before(r.until) {
		return
	}
	switch r.phase {
	case PhaseWaiting:
		r.open()
	case PhaseVerifying:
		r.phase = PhaseProbing
		r.do(Output{Kind: Open, Start: Start{From: FromNext, Window: 1}})
	}
}
