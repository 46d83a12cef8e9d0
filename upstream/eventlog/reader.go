package eventlog

import (
	"slices"
	"time"

	"github.com/hometrip/gateway/internal/backoff"
)

// Defaults of ReaderConfig.
const (
	creditBatch   = 64                   // entries handled before they are acknowledged to the log
	creditDelay   = 5 * time.Millisecond // longest delay before fewer than creditBatch are acknowledged
	verifyTimeout = 2 * time.Second      // limit for the last entry to be sent again
	stableAfter   = 10 * time.Second     // reading without a failure for this time resets the pauses
	formerMost    = 16                   // logs that are recognized when they come back
)

// ReaderConfig is the configuration of a Reader.
type ReaderConfig struct {
	Window   int           // entries that may be sent before they are acknowledged
	RetryMin time.Duration // first pause after a failure
	RetryMax time.Duration // longest pause
	Seed     uint64        // seed of the random part of the pauses
}

// A Reader is the state machine that follows a log. After a failure it continues
// behind the last entry. It detects entries that were removed before it has read
// them, and a log that was replaced. It skips an entry that cannot be decoded.
// It passes one entry at a time to the rooms; up to a window of others wait
// here.
//
// After a failure it opens the log at the last entry that it has read, not
// behind it. That entry proves that the log is still the same. RabbitMQ reports
// no error for a position beyond the end of a log that was created again, and
// the reader would wait (seen with 3.10).
//
// Owned by one goroutine.
type Reader struct {
	config ReaderConfig
	phase  Phase
	until  time.Time // end of the phases Waiting and Verifying
	opened time.Time // when reading began; zero: this log was not open yet

	identity string   // of the log; "" before the first Opened
	holes    Position // see Info.Holes
	last     Position // position of the last entry received; 0: none
	proof    Entry    // that entry, to recognize the log; Position 0: there is none
	start    Start    // where the log is opened
	whole    bool     // the log was created while this node did not read: it is read from position 1 on
	careful  bool     // entries are read one at a time, to find the one that cannot be decoded
	former   []string // identities of the logs before, the oldest first
	missed   bool     // the log is opened at its end, and not all entries before it may have been read

	waiting []Entry // received entries that the rooms do not have yet
	head    int     // index in waiting of the oldest entry
	handed  Position
	busy    bool // the rooms have not accepted the last entry yet

	uncredited int
	creditAt   time.Time // when to acknowledge; zero: there is nothing to acknowledge

	tries  int
	random uint64
	out    []Output
}

// NewReader returns a reader that waits for Begin.
func NewReader(c ReaderConfig) *Reader { return &Reader{config: c, random: c.Seed | 1} }

// Expect sets the identity of the log to which the starting position belongs. It
// must be called before Begin. A log with another identity is read from its
// beginning.
func (r *Reader) Expect(identity string) { r.identity = identity }

// Phase returns the reader's phase.
func (r *Reader) Phase() Phase { return r.phase }

// Identity returns the identity of the log, "" before it was opened.
func (r *Reader) Identity() string { return r.identity }

// Last returns the position of the last entry that was read, or the position
// behind which reading begins; 0 if it is not known.
func (r *Reader) Last() Position { return r.last }

// Attempts returns how many attempts have failed since the last entry was read.
func (r *Reader) Attempts() int { return r.tries }

// Deadline returns when a Tick is due. Zero means not before another input.
func (r *Reader) Deadline() time.Time {
	t := r.creditAt
	if (r.phase == PhaseWaiting || r.phase == PhaseVerifying) && (t.IsZero() || r.until.Before(t)) {
		t = r.until
	}
	return t
}

// Step handles one input and returns what the driver has to do, in order. The
// slice is valid until the next call.
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

// open asks the driver to open the log where reading continues.
func (r *Reader) open() {
	r.phase = PhaseOpening
	r.start.Window = r.config.Window
	if r.careful {
		r.start.Window = 1
	}
	r.uncredited, r.creditAt = 0, time.Time{} // they belong to the previous source
	r.do(Output{Kind: Open, Start: r.start})
}

// resume sets where the log is opened after a failure: at the last entry, or
// behind it if that entry could not be recognized. If the position is not known
// because nothing was read, that is the end of the log.
func (r *Reader) resume() {
	switch {
	case r.proof.Position != 0:
		r.start = Start{From: FromPosition, Position: r.proof.Position}
	case r.last != 0:
		r.start = Start{From: FromPosition, Position: r.last + 1}
	case r.start.From == FromNext && !r.opened.IsZero():
		r.missed = true
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
		r.begins(info.Behind)
	case info.End != 0 && info.End < r.last:
		r.wentBack()
	case r.proof.Position != 0 && r.start.Position == r.proof.Position:
		r.phase, r.until = PhaseVerifying, now.Add(verifyTimeout)
	}
}

// begins begins behind a position, the end of the log. If it is not the first
// beginning, what was added since then is not read, and clients may have come
// meanwhile: this is a gap for them.
func (r *Reader) begins(behind Position) {
	r.last = behind
	if r.missed {
		r.missed = false
		r.do(Output{Kind: Gap, From: behind, Position: behind})
	}
}

// probed compares the end of the log with the last entry that was read.
func (r *Reader) probed(info Info, now time.Time) {
	switch {
	case info.Identity != r.identity:
		r.otherLog(info)
	case info.Behind != 0 && info.Behind <= r.last:
		r.wentBack()
	default: // the entry was only late, or the log does not report its end
		r.failed(now)
	}
}

// wentBack handles a log that has lost entries that were read. Other entries may
// have taken their positions; this is reported as a gap.
func (r *Reader) wentBack() {
	r.do(Output{Kind: Gap, From: r.last, Position: r.last})
	r.leave(r.identity, Start{From: FromNext, Renew: r.identity})
}

// otherLog begins to read a log with another identity, from its beginning: it
// was created while this node did not read. If it was renewed because it had
// lost entries, otherLog reports a gap: this node may have read the lost
// entries, or may have missed entries that took their positions before the log
// was renewed. This is also so if wentBack has reported the loss: clients may
// have come since, and entries were added to the log until it was renewed.
//
// A log that was read before and comes back is an older state of it. It has lost
// what was added later, so it is renewed, too.
func (r *Reader) otherLog(info Info) {
	back := slices.Contains(r.former, info.Identity)
	if info.Renewed || back {
		at := max(r.last, 1)
		r.do(Output{Kind: Gap, From: at, Position: at})
	}
	switch {
	case back:
		r.leave(info.Identity, Start{From: FromNext, Renew: info.Identity})
	case info.Older:
		r.leave(info.Identity, Start{From: FromNext})
	default:
		r.leave(info.Identity, Start{From: FromFirst})
	}
}

// leave begins to read another log, as soon as the rooms have the entries that
// were read from the previous one.
func (r *Reader) leave(identity string, at Start) {
	if identity != r.identity {
		if r.former = append(r.former, r.identity); len(r.former) > formerMost {
			r.former = r.former[1:]
		}
	}
	r.identity, r.start, r.opened = identity, at, time.Time{}
	r.missed = at.Renew != "" // entries can be added until the log is renewed
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
			return // an earlier entry of the same chunk
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

// credited acknowledges an entry that is not passed to the rooms. It does so at
// once, because in careful mode no other entry is sent before that.
func (r *Reader) credited(p Position) {
	if len(r.waiting) == r.head && !r.busy {
		r.do(Output{Kind: Credit, Position: p})
	}
}

// hand passes the next entry to the rooms, unless they have not accepted the
// last one yet.
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

// credit counts handled entries, and acknowledges them to the log in batches.
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
	case !r.careful: // find the entry that cannot be decoded
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
	if r.last == 0 && r.start.From == FromNext { // its position is not known, but it is behind the place where reading begins
		r.missed = true
		r.open()
		return
	}
	r.last++
	r.proof = Entry{}
	r.do(Output{Kind: Skipped, Position: r.last})
	r.resume()
	r.open()
}

// failed begins a pause before the next attempt. The pause doubles with each
// failure. A random part of up to half of it is left out, so that nodes that
// have lost the same server do not reconnect at the same time.
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
