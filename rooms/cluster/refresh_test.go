package cluster

import (
	"testing"
	"time"

	"github.com/hometrip/gateway/rooms"
)

// A refreshCounter counts the calls of Refresh.
type refreshCounter struct {
	SessionHolder
	times int
}

func (r *refreshCounter) Refresh() { r.times++ }

// Records of sessions expire after a day. They must be written again every
// rooms.RefreshSessions for as long as a session is open.
func TestRecordsOfOpenSessionsAreRefreshed(t *testing.T) {
	holder := &refreshCounter{}
	s := &Sessions{holder: holder}
	for hour := range 49 {
		s.refresh(time.Unix(1_800_000_000, 0).Add(time.Duration(hour) * time.Hour))
	}
	if want := int(48 * time.Hour / rooms.RefreshSessions); holder.times != want {
		t.Errorf("records were written %d times in two days, want %d", holder.times, want)
	}
}
