package sessions

import (
	"strconv"
	"testing"
	"time"

	"github.com/hometrip/gateway/rooms"
)

// Node b has taken a session of node a while a could not be asked. A later
// write and a removal by a must not change the record of b, and a must be told
// that the session is displaced.
func TestRecordOfATakenSessionIsNotOverwritten(t *testing.T) {
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
		t.Errorf("displaced sessions %+v, want p with 3 moves", got)
	}
	if !a.results[saved].Saved {
		t.Error("Saved is false although Redis has a newer record")
	}
	a.core.Forget("p", 3)
	w.settle()
	if r, err := rooms.ParseRecord([]byte(w.redis[names.SessionRecord("p")])); err != nil || r.Node != "b" {
		t.Errorf("Redis has %+v, %v, want the record of b", r, err)
	}
	save(b, other)
	b.core.Forget("p", 4)
	w.settle()
	if got := b.core.Displaced(); got != nil || w.redis[names.SessionRecord("p")] != "" {
		t.Errorf("displaced sessions %+v and records %q after Forget by b, want none", got, w.redis)
	}
}

func TestScriptParsesRecordsOfThisVersion(t *testing.T) {
	if version != strconv.Itoa(rooms.RecordVersion) {
		t.Errorf("the script parses records of version %s, want %d", version, rooms.RecordVersion)
	}
}
