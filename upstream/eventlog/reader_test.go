package eventlog

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

var dawn = time.Unix(1_800_000_000, 0)

// A desk is a reader with somebody who does what it wants, a step at a time.
type desk struct {
	t      *testing.T
	reader *Reader
	now    time.Time
	start  Start // where to open
}

func newDesk(t *testing.T) *desk {
	return &desk{t: t, now: dawn, reader: NewReader(ReaderConfig{
		Window: 10, RetryMin: time.Second, RetryMax: time.Minute, Seed: 1,
	})}
}

// step gives the reader an input and wants these outputs.
func (d *desk) step(in Input, want ...string) {
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

func (d *desk) opened(identity string, behind Position, want ...string) {
	d.t.Helper()
	d.step(Input{Kind: Opened, Info: Info{Identity: identity, Behind: behind}}, want...)
}

func entry(p Position) Entry {
	return Entry{Position: p, Key: "message.sent", Body: fmt.Append(nil, uint64(p))}
}

// takes has an entry come, and the rooms take it.
func (d *desk) takes(p Position) {
	d.t.Helper()
	d.step(Input{Kind: Delivered, Entry: entry(p)}, fmt.Sprintf("hand %d", uint64(p)))
	d.step(Input{Kind: Taken})
}

// reading returns a desk whose reader has read 5 to 7 of the log "a".
func reading(t *testing.T) *desk {
	d := newDesk(t)
	d.step(Input{Kind: Begin}, "open at next 0, window 10")
	d.opened("a", 4)
	for p := Position(5); p <= 7; p++ {
		d.takes(p)
	}
	return d
}

// again has the reading end and the log opened anew.
func (d *desk) again(identity string, want ...string) {
	d.t.Helper()
	d.step(Input{Kind: Closed})
	d.now = d.reader.Deadline()
	d.step(Input{Kind: Tick}, "open at position 7, window 10")
	d.opened(identity, 0, want...)
}

func (d *desk) wantPhase(want Phase) {
	d.t.Helper()
	if got := d.reader.Phase(); got != want {
		d.t.Errorf("%v, want %v", got, want)
	}
}

func TestAfterALossReadingGoesOnBehindTheLastEntry(t *testing.T) {
	d := reading(t)
	d.again("a")
	d.wantPhase(PhaseVerifying)
	d.step(Input{Kind: Delivered, Entry: entry(6)}) // of the same chunk
	d.step(Input{Kind: Delivered, Entry: entry(7)}, "credit 7")
	d.wantPhase(PhaseReading)
	d.takes(8)
}

func TestPausesGrowToTheirLimitAndDiffer(t *testing.T) {
	d := reading(t)
	seen := make(map[time.Duration]bool)
	for _, most := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60} {
		d.step(Input{Kind: Closed})
		pause := d.reader.Deadline().Sub(d.now)
		if most *= time.Second; pause < most/2 || pause > most || seen[pause] {
			t.Errorf("pause of %v, want half to all of %v and not one that was there", pause, most)
		}
		seen[pause] = true
		d.now = d.reader.Deadline()
		d.step(Input{Kind: Tick}, "open at position 7, window 10")
	}
	d.opened("a", 0)
	d.takes(8)
	if n := d.reader.Attempts(); n != 0 {
		t.Errorf("%d attempts after an entry has come", n)
	}
}

// TestOneEntryIsWithTheRooms: those behind it wait, in order.
func TestOneEntryIsWithTheRooms(t *testing.T) {
	d := reading(t)
	d.step(Input{Kind: Delivered, Entry: entry(8)}, "hand 8")
	d.step(Input{Kind: Delivered, Entry: entry(9)})
	d.step(Input{Kind: Delivered, Entry: entry(10)})
	d.step(Input{Kind: Closed}) // what has come is handed over all the same
	d.step(Input{Kind: Taken}, "hand 9")
	d.step(Input{Kind: Taken}, "hand 10")
	d.step(Input{Kind: Taken})
	d.now = d.reader.Deadline()
	d.step(Input{Kind: Tick}, "open at position 10, window 10")
}

func TestTheLogIsToldInBatchesAndSoon(t *testing.T) {
	d := newDesk(t)
	d.step(Input{Kind: Begin}, "open at next 0, window 10")
	d.opened("a", 0)
	for p := Position(1); p < creditBatch; p++ {
		d.takes(p)
	}
	d.step(Input{Kind: Delivered, Entry: entry(creditBatch)}, "hand 64")
	d.step(Input{Kind: Taken}, "credit 64")
	d.takes(65)
	if due := d.reader.Deadline().Sub(d.now); due != creditDelay {
		t.Errorf("due in %v, want %v", due, creditDelay)
	}
	d.now = d.now.Add(creditDelay)
	d.step(Input{Kind: Tick}, "credit 65")
	if !d.reader.Deadline().IsZero() {
		t.Error("something is due")
	}
}

func TestPositionsThatTheLogUsesForItselfAreNoGap(t *testing.T) {
	d := newDesk(t)
	d.step(Input{Kind: Begin}, "open at next 0, window 10")
	d.step(Input{Kind: Opened, Info: Info{Identity: "a", Behind: 4, Holes: 1}})
	d.takes(6)
	d.takes(8)
	d.step(Input{Kind: Delivered, Entry: entry(11)}, "gap 9 to 10", "hand 11")
}

func TestEntriesThatWereRemovedAreAGap(t *testing.T) {
	d := reading(t)
	d.step(Input{Kind: Delivered, Entry: entry(11)}, "gap 8 to 10", "hand 11")
	d.step(Input{Kind: Taken})
	d.step(Input{Kind: Closed})
	d.now = d.reader.Deadline()
	d.step(Input{Kind: Tick}, "open at position 11, window 10")
	d.opened("a", 0)
	d.step(Input{Kind: Delivered, Entry: entry(14)}, "gap 12 to 13", "hand 14")
}

func TestALogOfAnotherIdentityIsReadFromItsBeginning(t *testing.T) {
	d := reading(t)
	d.again("b", "other log 0", "open at first 0, window 10")
	d.opened("b", 0)
	d.takes(1)
	if d.reader.Identity() != "b" || d.reader.Last() != 1 {
		t.Errorf("at %d of %s", d.reader.Last(), d.reader.Identity())
	}
}

// TestTheRoomsTakeWhatCameOfTheLogBefore: and then it is another one.
func TestTheRoomsTakeWhatCameOfTheLogBefore(t *testing.T) {
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

func TestALogThatWasThereBeforeIsReadFromItsEnd(t *testing.T) {
	d := reading(t)
	d.step(Input{Kind: Closed})
	d.now = d.reader.Deadline()
	d.step(Input{Kind: Tick}, "open at position 7, window 10")
	d.step(Input{Kind: Opened, Info: Info{Identity: "b", Older: true}}, "other log 0", "open at next 0, window 10")
}

// TestALogThatHasLostItsEndIsAnotherOne: of the same identity, such as a broker
// that comes back without what it had written last.
func TestALogThatHasLostItsEndIsAnotherOne(t *testing.T) {
	t.Run("and has other entries there", func(t *testing.T) {
		d := reading(t)
		d.again("a")
		other := entry(7)
		other.Body = []byte("other")
		d.step(Input{Kind: Delivered, Entry: other}, "gap 7 to 7", "other log 0", "open at next 0, window 10")
	})
	t.Run("and has nothing there", func(t *testing.T) {
		d := reading(t)
		d.again("a")
		d.now = d.now.Add(verifyTimeout)
		d.step(Input{Kind: Tick}, "open at next 0, window 1")
		d.wantPhase(PhaseProbing)
		d.opened("a", 3, "gap 7 to 7", "other log 0", "open at next 0, window 10")
		d.opened("a", 3, "gap 3 to 3")
		d.takes(4)
	})
	t.Run("or is only slow", func(t *testing.T) {
		d := reading(t)
		d.again("a")
		d.now = d.now.Add(verifyTimeout)
		d.step(Input{Kind: Tick}, "open at next 0, window 1")
		d.opened("a", 8)
		d.now = d.reader.Deadline()
		d.step(Input{Kind: Tick}, "open at position 7, window 10")
		d.opened("a", 0)
		d.step(Input{Kind: Delivered, Entry: entry(7)}, "credit 7")
		d.takes(8)
	})
}

// TestALogThatEndsEarlierHasGoneBack: it tells where it ends when it is opened,
// and is to have another identity.
func TestALogThatEndsEarlierHasGoneBack(t *testing.T) {
	d := reading(t)
	d.step(Input{Kind: Closed})
	d.now = d.reader.Deadline()
	d.step(Input{Kind: Tick}, "open at position 7, window 10")
	d.step(Input{Kind: Opened, Info: Info{Identity: "a", End: 6}}, "gap 7 to 7", "other log 0", "open at next 0, window 10")
	if d.start.Renew != "a" {
		t.Errorf("the log %q is to be renewed, want a", d.start.Renew)
	}
	d.step(Input{Kind: Opened, Info: Info{Identity: "b", Behind: 1, End: 1, Renewed: true}}, "gap 1 to 1", "other log 0", "open at first 0, window 10")
	d.opened("b", 0)
	d.takes(1)
}

// TestWhatIsAddedBeforeALogThatWentBackIsOpenAgainIsAGap: it is not read, and
// clients may have come since the first gap was reported.
func TestWhatIsAddedBeforeALogThatWentBackIsOpenAgainIsAGap(t *testing.T) {
	wentBack := func(t *testing.T) *desk {
		d := reading(t)
		d.step(Input{Kind: Closed})
		d.now = d.reader.Deadline()
		d.step(Input{Kind: Tick}, "open at position 7, window 10")
		d.step(Input{Kind: Opened, Info: Info{Identity: "a", End: 3}}, "gap 7 to 7", "other log 0", "open at next 0, window 10")
		d.step(Input{Kind: Closed}) // Redis refuses to give it another identity
		d.now = d.reader.Deadline()
		d.step(Input{Kind: Tick}, "open at next 0, window 10")
		return d
	}
	t.Run("when it has another identity", func(t *testing.T) {
		d := wentBack(t)
		d.step(Input{Kind: Opened, Info: Info{Identity: "b", Behind: 1, End: 1, Renewed: true}},
			"gap 1 to 1", "other log 0", "open at first 0, window 10")
		d.step(Input{Kind: Opened, Info: Info{Identity: "b", End: 1, Renewed: true}}) // once
		d.takes(1)
	})
	t.Run("when it has kept its identity", func(t *testing.T) {
		d := wentBack(t)
		d.opened("a", 5, "gap 5 to 5")
		d.takes(6)
		d.step(Input{Kind: Closed})
		d.now = d.reader.Deadline()
		d.step(Input{Kind: Tick}, "open at position 6, window 10")
		d.opened("a", 0) // once
	})
}

// TestALogThatOthersHaveRenewedIsAGap: this node may have read what it has lost.
func TestALogThatOthersHaveRenewedIsAGap(t *testing.T) {
	d := reading(t)
	d.step(Input{Kind: Closed})
	d.now = d.reader.Deadline()
	d.step(Input{Kind: Tick}, "open at position 7, window 10")
	d.step(Input{Kind: Opened, Info: Info{Identity: "b", End: 3, Renewed: true}}, "gap 7 to 7", "other log 0", "open at first 0, window 10")
}

// TestALogThatOthersHaveRenewedBeforeAnythingCameIsAGap: it was to be read whole.
func TestALogThatOthersHaveRenewedBeforeAnythingCameIsAGap(t *testing.T) {
	d := reading(t)
	d.again("b", "other log 0", "open at first 0, window 10")
	d.step(Input{Kind: Opened, Info: Info{Identity: "c", End: 1, Renewed: true}}, "gap 1 to 1", "other log 0", "open at first 0, window 10")
}

// TestALogIsKnownByTheEntryBeforeItsFirstOne: nothing was read of it when it went
// back.
func TestALogIsKnownByTheEntryBeforeItsFirstOne(t *testing.T) {
	d := newDesk(t)
	d.step(Input{Kind: Begin}, "open at next 0, window 10")
	d.opened("a", 7)
	d.step(Input{Kind: Delivered, Entry: entry(7)}, "credit 7")
	d.step(Input{Kind: Closed})
	d.now = d.reader.Deadline()
	d.step(Input{Kind: Tick}, "open at position 7, window 10")
	d.opened("a", 0)
	d.wantPhase(PhaseVerifying)
	other := entry(7)
	other.Body = []byte("other")
	d.step(Input{Kind: Delivered, Entry: other}, "gap 7 to 7", "other log 0", "open at next 0, window 10")
}

// TestAnEntryThatCannotBeDecodedIsPassedOver: it ends the connection, and
// perhaps takes with it entries that had come before it.
func TestAnEntryThatCannotBeDecodedIsPassedOver(t *testing.T) {
	d := reading(t)
	bad := Input{Kind: Closed, Undecodable: true}
	d.step(bad, "open at position 7, window 1")
	d.opened("a", 0)
	d.step(Input{Kind: Delivered, Entry: entry(7)}, "credit 7")
	d.step(Input{Kind: Delivered, Entry: entry(8)}, "hand 8")
	d.step(Input{Kind: Taken}, "credit 8")
	d.step(bad, "skipped 9", "open at position 10, window 10")
	d.opened("a", 0)
	d.takes(10)
	d.step(bad, "open at position 10, window 1") // the next one
	d.opened("a", 0)
	d.step(Input{Kind: Delivered, Entry: entry(10)}, "credit 10")
	d.step(bad, "skipped 11", "open at position 12, window 10")
}

func TestAnUndecodableEntryOfUnknownPositionIsPastWhenReadingBeginsAnew(t *testing.T) {
	d := newDesk(t)
	d.step(Input{Kind: Begin}, "open at next 0, window 10")
	d.opened("a", 0)
	bad := Input{Kind: Closed, Undecodable: true}
	d.step(bad, "open at next 0, window 1")
	d.opened("a", 0, "gap 0 to 0")
	d.step(bad, "open at next 0, window 10")
	d.opened("a", 0, "gap 0 to 0")
}

// TestAReadingThatEndsBeforeItsPositionIsKnownIsAGap: what is added until the log
// is open again is not read.
func TestAReadingThatEndsBeforeItsPositionIsKnownIsAGap(t *testing.T) {
	d := newDesk(t)
	again := func() {
		t.Helper()
		d.step(Input{Kind: Closed})
		d.now = d.reader.Deadline()
		d.step(Input{Kind: Tick}, "open at next 0, window 10")
	}
	d.step(Input{Kind: Begin}, "open at next 0, window 10")
	again() // nobody expects entries yet
	d.opened("a", 0)
	again()
	again()
	d.opened("a", 5, "gap 5 to 5")
	d.takes(6)
}

func TestReadingCanBeginAnywhere(t *testing.T) {
	d := newDesk(t)
	d.step(Input{Kind: Begin, Start: Start{From: FromPosition, Position: 5}}, "open at position 5, window 10")
	d.opened("a", 0)
	d.takes(5)
	d = newDesk(t)
	d.step(Input{Kind: Begin, Start: Start{From: FromPosition, Position: 5}}, "open at position 5, window 10")
	d.opened("a", 0)
	d.step(Input{Kind: Delivered, Entry: entry(9)}, "gap 5 to 8", "hand 9")
}

func TestWhatALogMadeAnewHasLostAlreadyIsAGap(t *testing.T) {
	d := reading(t)
	d.again("b", "other log 0", "open at first 0, window 10")
	d.opened("b", 0)
	d.step(Input{Kind: Delivered, Entry: entry(4)}, "gap 1 to 3", "hand 4")
}
