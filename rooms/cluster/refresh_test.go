package cluster

import (
	"testing"
	"time"

	"github.com/hometrip/gateway/rooms"
)

// A refreshed counts how often the records of sessions are written anew.
type refreshed struct {
	SessionHolder
	times int
}

func (r *refreshed) Refresh() { r.times++ }

// TestRecordsOfSessionsThatAreOpenForLongAreWrittenAnew, so that they outlast a
// day.
func TestRecordsOfSessionsThatAreOpenForLongAreWrittenAnew(t *testing.T) {
	holder := &refreshed{}
	s := &Sessions{holder: holder}
	for hour := range 49 {
		s.refresh(time.Unix(1_800_000_000, 0).Add(time.Duration(hour) * time.Hour))
	}
	if want := int(48 * time.Hour / rooms.RefreshSessions); holder.times != want {
		t.Errorf("written anew %d times in two days, want %d", holder.times, want)
	}
}
