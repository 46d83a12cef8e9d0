package sessions

import (
	"strconv"
	"testing"
	"time"

	"github.com/hometrip/gateway/rooms"
)

// TestANodeDoesNotWriteOverASessionThatWasTaken from it while it could not be
// asked, and learns that it was.
func TestANodeDoesNotWriteOverASessionThatWasTaken(t *testing.T) {
	w := newCluster(t, "a", "b")
	a, b := w.nodes["a"], w.nodes["b"]
	mine, other := record("a", "ann"), record("b", "ann")
	mine.Moves, other.Moves = 3, 4
	save(a, mine)
	save(b, other)
	w.settle()
	saved := a.core.SaveAndTell("p", rooms.AppendRecord(nil, mine), time.Minute, w.now)
	w.settle()
	if got := a.core.Displaced(); len(got) != 2 && len(got) != 1 || got[0] != (Displaced{"p", 3}) {
		t.Errorf("displaced %+v", got)
	}
	if !a.results[saved].Saved {
		t.Error("a newer record does not count as written")
	}
	a.core.Forget("p", 3)
	w.settle()
	if r, err := rooms.ParseRecord([]byte(w.redis[names.SessionRecord("p")])); err != nil || r.Node != "b" {
		t.Errorf("Redis has %+v, %v", r, err)
	}
	save(b, other)
	b.core.Forget("p", 4)
	w.settle()
	if got := b.core.Displaced(); got != nil || w.redis[names.SessionRecord("p")] != "" {
		t.Errorf("displaced %+v, Redis has %q", got, w.redis)
	}
}

func TestTheScriptReadsRecordsOfThisVersion(t *testing.T) {
	if version != strconv.Itoa(rooms.RecordVersion) {
		t.Errorf("the script is for version %s, records have %d", version, rooms.RecordVersion)
	}
}
