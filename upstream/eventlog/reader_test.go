package eventlog

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

var dawn = time.Unix(1_800_000_000, 0)

// readerDriver drives a Reader step by step, in place of the code that opens logs and delivers
// entries.
type readerDriver struct {
	t      *testing.T
	reader *Reader
	now    time.Time
	start  Start // of the last Open output
}

func newReaderDriver(t *testing.T) *readerDriver {
	return &readerDriver{t: t, now: dawn, reader: NewReader(ReaderConfig{
		Window: 10, RetryMin: time.Second, RetryMax: time.Minute, Seed: 1,
	})}
}

// step gives the reader an input and compares its outputs.
func (d *readerDriver) step(in Input, want ...string) {
	d.t.Helper()
	in.Now = d.now
	var got []string
	for _, out := range d.reader.Step(&in) {
		got = append(got, out.String())
		if out.Kind == Open {
			d.start = out.Start
		}
	}
	if strings.Join(got, "; ") != strings.Join(want, "; ") {
		d.t.Fatalf("%d: got %q, want %q", in.Kind, got, want)
	}
}

func (d *readerDriver) opened(identity string, behind Position, want ...string) {
	d.t.Helper()
	d.step(Input{Kind: Opened, Info: Info{Identity: identity, Behind: behind}}, want...)
}

func entry(p Position) Entry {
	return Entry{Position: p, Key: "message.sent", Body: fmt.Append(nil, uint64(p))}
}

// takeEntry delivers an entry, which the rooms accept.
func (d *readerDriver) takeEntry(p Position) {
	d.t.Helper()
	d.step(Input{Kind: Delivered, Entry: entry(p)}, fmt.Sprintf("hand %d", uint64(p)))
	d.step(Input{Kind: Taken})
}

// reading returns a driver whose reader has read the entries 5 to 7 of the log "a".
func reading(t *testing.T) *readerDriver {
	d := newReaderDriver(t)
	d.step(Input{Kind: Begin}, "open at next 0, window 10")
	d.opened("a", 4)
	for p := Position(5); p <= 7; p++ {
		d.takeEntry(p)
	}
	return d
}

// retry closes the log and waits for the end of the pause. want is where the
// reader then opens the log.
func (d *readerDriver) retry(want string) {
	d.t.Helper()
	d.step(Input{Kind: Closed})
	d.now = d.reader.Deadline()
	d.step(Input{Kind: Tick}, want)
}

// reopen closes the log and opens it again, with this identity.
func (d *readerDriver) reopen(identity string, want ...string) {
	d.t.Helper()
	d.retry("open at position 7, window 10")
	d.opened(identity, 0, want...)
}

// wantRenewal checks that the reader wants to renew a log, and reads the new log
// from its first entry.
func (d *readerDriver) wantRenewal(of, identity string) {
	d.t.Helper()
	if d.start.Renew != of {
		d.t.Errorf("the reader wants to renew log %q, want %q", d.start.Renew, of)
	}
	d.step(Input{Kind: Opened, Info: Info{Identity: identity, Behind: 1, End: 1, Renewed: true}},
		"gap 1 to 1", "other log 0", "open at first 0, window 10")
	d.opened(identity, 0)
	d.takeEntry(1)
}

func (d *readerDriver) wantPhase(want Phase) {
	d.t.Helper()
	if got := d.reader.Phase(); got != want {
		d.t.Errorf("%v, want %v", got, want)
	}
}

// After a lost connection the reader opens the log at its last entry, verifies that
// entry, and goes on after it.
func TestAfterAReconnectReadingResumesAfterTheLastEntry(t *testing.T) {
	d := reading(t)
	d.reopen("a")
	d.wantPhase(PhaseVerifying)
	d.step(Input{Kind: Delivered, Entry: entry(6)}) // from the same chunk
	d.step(Input{Kind: Delivered, Entry: entry(7)}, "credit 7")
	d.wantPhase(PhaseReading)
	d.takeEntry(8)
}

func TestPausesBetweenAttemptsDoubleWithJitter(t *testing.T) {
	d := reading(t)
	seen := make(map[time.Duration]bool)
	for _, most := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60} {
		d.step(Input{Kind: Closed})
		pause := d.reader.Deadline().Sub(d.now)
		if most *= time.Second; pause < most/2 || pause > most || seen[pause] {
			t.Errorf("pause of %v, want %v or down to half of it, different from all pauses before", pause, most)
		}
		seen[pause] = true
		d.now = d.reader.Deadline()
		d.step(Input{Kind: Tick}, "open at position 7, window 10")
	}
	d.opened("a", 0)
	d.takeEntry(8)
	if n := d.reader.Attempts(); n != 0 {
		t.Errorf("%d attempts after an entry was read, want 0", n)
	}
}

// Only one entry at a time is handed to the rooms. The entries after it wait, in
// order, also when the connection is lost.
func TestEntriesAreHandedToTheRoomsOneByOne(t *testing.T) {
	d := reading(t)
	d.step(Input{Kind: Delivered, Entry: entry(8)}, "hand 8")
	d.step(Input{Kind: Delivered, Entry: entry(9)})
	d.step(Input{Kind: Delivered, Entry: entry(10)})
	d.step(Input{Kind: Closed}) // entries that have arrived are still handed over
	d.step(Input{Kind: Taken}, "hand 9")
	d.step(Input{Kind: Taken}, "hand 10")
	d.step(Input{Kind: Taken})
	d.now = d.reader.Deadline()
	d.step(Input{Kind: Tick}, "open at position 10, window 10")
}

// The reader acknowledges entries to the log in batches of 64, and after a delay if
// fewer were read.
func TestEntriesAreAcknowledgedInBatchesOrAfterADelay(t *testing.T) {
	d := newReaderDriver(t)
	d.step(Input{Kind: Begin}, "open at next 0, window 10")
	d.opened("a", 0)
	for p := Position(1); p < creditBatch; p++ {
		d.takeEntry(p)
	}
	d.step(Input{Kind: Delivered, Entry: entry(creditBatch)}, "hand 64")
	d.step(Input{Kind: Taken}, "credit 64")
	d.takeEntry(65)
	if due := d.reader.Deadline().Sub(d.now); due != creditDelay {
		t.Errorf("due in %v, want %v", due, creditDelay)
	}
	d.now = d.now.Add(creditDelay)
	d.step(Input{Kind: Tick}, "credit 65")
	if !d.reader.Deadline().IsZero() {
		t.Error("a deadline is set although nothing is left to acknowledge")
	}
}

// The log tells the reader that it uses some positions itself. A missing position is
// then no gap, more of them in a row are one.
func TestPositionsUsedByTheLogAreNoGap(t *testing.T) {
	d := newReaderDriver(t)
	d.step(Input{Kind: Begin}, "open at next 0, window 10")
	d.step(Input{Kind: Opened, Info: Info{Identity: "a", Behind: 4, Holes: 1}})
	d.takeEntry(6)
	d.takeEntry(8)
	d.step(Input{Kind: Delivered, Entry: entry(11)}, "gap 9 to 10", "hand 11")
}

// Positions missing between two entries are reported as a gap, also after a reconnect.
func TestRemovedEntriesAreAGap(t *testing.T) {
	d := reading(t)
	d.step(Input{Kind: Delivered, Entry: entry(11)}, "gap 8 to 10", "hand 11")
	d.step(Input{Kind: Taken})
	d.retry("open at position 11, window 10")
	d.opened("a", 0)
	d.step(Input{Kind: Delivered, Entry: entry(14)}, "gap 12 to 13", "hand 14")
}

// When the log has another identity after a reconnect, it is read from its first
// entry.
func TestALogOfAnotherIdentityIsReadFromItsBeginning(t *testing.T) {
	d := reading(t)
	d.reopen("b", "other log 0", "open at first 0, window 10")
	d.opened("b", 0)
	d.takeEntry(1)
	if d.reader.Identity() != "b" || d.reader.Last() != 1 {
		t.Errorf("at position %d of log %s, want 1 of b", d.reader.Last(), d.reader.Identity())
	}
}

// After a reconnect the log is another one. Entries of the old log that have already
// arrived must be handed to the rooms first.
func TestEntriesOfTheOldLogAreHandedOverFirst(t *testing.T) {
	d := reading(t)
	d.step(Input{Kind: Delivered, Entry: entry(8)}, "hand 8")
	d.step(Input{Kind: Delivered, Entry: entry(9)})
	d.step(Input{Kind: Closed})
	d.now = d.now.Add(time.Minute)
	d.step(Input{Kind: Tick}, "open at position 9, window 10")
	d.opened("b", 0)
	d.wantPhase(PhaseDraining)
	d.step(Input{Kind: Taken}, "hand 9")
	d.step(Input{Kind: Taken}, "other log 0", "open at first 0, window 10")
}

// The log has another identity but existed before. It is read from its end, not from
// its first entry.
func TestAnotherButOlderLogIsReadFromItsEnd(t *testing.T) {
	d := reading(t)
	d.retry("open at position 7, window 10")
	d.step(Input{Kind: Opened, Info: Info{Identity: "b", Older: true}}, "other log 0", "open at next 0, window 10")
}

// A log of the same identity lacks the entries read last, as a broker may after a
// crash. It counts as another log. If the check only takes long, it does not.
func TestALogWithoutItsLastEntriesCountsAsAnotherLog(t *testing.T) {
	t.Run("and has other entries there", func(t *testing.T) {
		d := reading(t)
		d.reopen("a")
		other := entry(7)
		other.Body = []byte("other")
		d.step(Input{Kind: Delivered, Entry: other}, "gap 7 to 7", "other log 0", "open at next 0, window 10")
	})
	t.Run("and has nothing there", func(t *testing.T) {
		d := reading(t)
		d.reopen("a")
		d.now = d.now.Add(verifyTimeout)
		d.step(Input{Kind: Tick}, "open at next 0, window 1")
		d.wantPhase(PhaseProbing)
		d.opened("a", 3, "gap 7 to 7", "other log 0", "open at next 0, window 10")
		d.opened("a", 3, "gap 3 to 3")
		d.takeEntry(4)
	})
	t.Run("or is only slow", func(t *testing.T) {
		d := reading(t)
		d.reopen("a")
		d.now = d.now.Add(verifyTimeout)
		d.step(Input{Kind: Tick}, "open at next 0, window 1")
		d.opened("a", 8)
		d.now = d.reader.Deadline()
		d.step(Input{Kind: Tick}, "open at position 7, window 10")
		d.opened("a", 0)
		d.step(Input{Kind: Delivered, Entry: entry(7)}, "credit 7")
		d.takeEntry(8)
	})
}

// The log ends before the last entry that was read. The reader reports a gap and has
// the log renewed with another identity.
func TestALogThatEndsTooEarlyIsRenewed(t *testing.T) {
	d := reading(t)
	d.retry("open at position 7, window 10")
	d.step(Input{Kind: Opened, Info: Info{Identity: "a", End: 6}}, "gap 7 to 7", "other log 0", "open at next 0, window 10")
	d.wantRenewal("a", "b")
}

// A log has lost entries and cannot be opened again at once. What is added to it until
// it is open is not read, so the reader must report a gap: clients may have connected
// since the first gap was reported.
func TestEntriesAddedBeforeALogThatWentBackIsOpenAreAGap(t *testing.T) {
	wentBack := func(t *testing.T) *readerDriver {
		d := reading(t)
		d.retry("open at position 7, window 10")
		d.step(Input{Kind: Opened, Info: Info{Identity: "a", End: 3}}, "gap 7 to 7", "other log 0", "open at next 0, window 10")
		d.retry("open at next 0, window 10") // Redis cannot give it another identity
		return d
	}
	t.Run("when it has another identity", func(t *testing.T) {
		d := wentBack(t)
		d.step(Input{Kind: Opened, Info: Info{Identity: "b", Behind: 1, End: 1, Renewed: true}},
			"gap 1 to 1", "other log 0", "open at first 0, window 10")
		d.step(Input{Kind: Opened, Info: Info{Identity: "b", End: 1, Renewed: true}}) // reported once
		d.takeEntry(1)
	})
	t.Run("when it has kept its identity", func(t *testing.T) {
		d := wentBack(t)
		d.opened("a", 5, "gap 5 to 5")
		d.takeEntry(6)
		d.retry("open at position 6, window 10")
		d.opened("a", 0) // reported once
	})
}

// Redis has an older state of a log that was read before another one. The log has
// lost entries that clients got later, so the reader has it renewed.
func TestALogThatComesBackIsRenewed(t *testing.T) {
	d := reading(t)
	d.reopen("b", "other log 0", "open at first 0, window 10")
	d.opened("b", 0)
	for p := Position(1); p <= 7; p++ {
		d.takeEntry(p)
	}
	d.reopen("a", "gap 7 to 7", "other log 0", "open at next 0, window 10")
	d.wantRenewal("a", "c")
}

// Another node has renewed the log with another identity. The reader reports a gap,
// because it may have read entries that the log has lost.
func TestALogRenewedByOthersIsAGap(t *testing.T) {
	d := reading(t)
	d.retry("open at position 7, window 10")
	d.step(Input{Kind: Opened, Info: Info{Identity: "b", End: 3, Renewed: true}}, "gap 7 to 7", "other log 0", "open at first 0, window 10")
}

// Another node renews the log before the reader has read its first entry. As it was to
// be read from the beginning, the lost entries are a gap.
func TestALogRenewedByOthersBeforeItsFirstEntryIsAGap(t *testing.T) {
	d := reading(t)
	d.reopen("b", "other log 0", "open at first 0, window 10")
	d.step(Input{Kind: Opened, Info: Info{Identity: "c", End: 1, Renewed: true}}, "gap 1 to 1", "other log 0", "open at first 0, window 10")
}

// The reader has read no entry of its own yet when the log goes back. It must detect
// that by the entry before its first one.
func TestALogIsVerifiedByTheEntryBeforeTheFirstOneRead(t *testing.T) {
	d := newReaderDriver(t)
	d.step(Input{Kind: Begin}, "open at next 0, window 10")
	d.opened("a", 7)
	d.step(Input{Kind: Delivered, Entry: entry(7)}, "credit 7")
	d.retry("open at position 7, window 10")
	d.opened("a", 0)
	d.wantPhase(PhaseVerifying)
	other := entry(7)
	other.Body = []byte("other")
	d.step(Input{Kind: Delivered, Entry: other}, "gap 7 to 7", "other log 0", "open at next 0, window 10")
}

// An entry that cannot be decoded ends the connection, and entries that had arrived
// before it may be lost with it. The reader reads one by one up to that entry and
// skips it.
func TestAnUndecodableEntryIsSkipped(t *testing.T) {
	d := reading(t)
	bad := Input{Kind: Closed, Undecodable: true}
	d.step(bad, "open at position 7, window 1")
	d.opened("a", 0)
	d.step(Input{Kind: Delivered, Entry: entry(7)}, "credit 7")
	d.step(Input{Kind: Delivered, Entry: entry(8)}, "hand 8")
	d.step(Input{Kind: Taken}, "credit 8")
	d.step(bad, "skipped 9", "open at position 10, window 10")
	d.opened("a", 0)
	d.takeEntry(10)
	d.step(bad, "open at position 10, window 1") // another undecodable entry
	d.opened("a", 0)
	d.step(Input{Kind: Delivered, Entry: entry(10)}, "credit 10")
	d.step(bad, "skipped 11", "open at position 12, window 10")
}

// An entry at an unknown position cannot be decoded. The reader starts again at the
// end of the log, after it.
func TestAnUndecodableEntryOfUnknownPositionIsSkippedByStartingAtTheEnd(t *testing.T) {
	d := newReaderDriver(t)
	d.step(Input{Kind: Begin}, "open at next 0, window 10")
	d.opened("a", 0)
	bad := Input{Kind: Closed, Undecodable: true}
	d.step(bad, "open at next 0, window 1")
	d.opened("a", 0, "gap 0 to 0")
	d.step(bad, "open at next 0, window 10")
	d.opened("a", 0, "gap 0 to 0")
}

// The connection ends before the first entry has told the reader its position. What is
// added until the log is open again is not read, so the reader must report a gap.
func TestAReconnectBeforeThePositionIsKnownIsAGap(t *testing.T) {
	d := newReaderDriver(t)
	reopen := func() {
		t.Helper()
		d.retry("open at next 0, window 10")
	}
	d.step(Input{Kind: Begin}, "open at next 0, window 10")
	reopen() // no entries are expected yet
	d.opened("a", 0)
	reopen()
	reopen()
	d.opened("a", 5, "gap 5 to 5")
	d.takeEntry(6)
}

func TestReadingCanStartAtAPosition(t *testing.T) {
	d := newReaderDriver(t)
	d.step(Input{Kind: Begin, Start: Start{From: FromPosition, Position: 5}}, "open at position 5, window 10")
	d.opened("a", 0)
	d.takeEntry(5)
	d = newReaderDriver(t)
	d.step(Input{Kind: Begin, Start: Start{From: FromPosition, Position: 5}}, "open at position 5, window 10")
	d.opened("a", 0)
	d.step(Input{Kind: Delivered, Entry: entry(9)}, "gap 5 to 8", "hand 9")
}

// A new log has already lost its first entries when it is read. They are a gap.
func TestMissingFirstEntriesOfANewLogAreAGap(t *testing.T) {
	d := reading(t)
	d.reopen("b", "other log 0", "open at first 0, window 10")
	d.opened("b", 0)
	d.step(Input{Kind: Delivered, Entry: entry(4)}, "gap 1 to 3", "hand 4")
}
