package loop

import (
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/testkit"
)

func TestHistogramBuckets(t *testing.T) {
	var h Histogram
	for _, d := range []time.Duration{0, 100 * time.Microsecond, 101 * time.Microsecond, time.Second, time.Minute} {
		h.record(d)
	}
	var d Durations
	d.add(&h)
	d.add(&Histogram{})
	buckets := d.Buckets()
	for bound, want := range map[float64]uint64{0.0001: 2, 0.00025: 3, 0.5: 3, 1: 4} {
		if buckets[bound] != want {
			t.Errorf("up to %v s: %d, want %d", bound, buckets[bound], want)
		}
	}
	if d.Count != 5 || d.Sum != time.Minute+time.Second+201*time.Microsecond || len(buckets) != len(durationBounds) {
		t.Errorf("%d durations in %d buckets with the sum %v, want 5 and the sum of all", d.Count, len(buckets), d.Sum)
	}
}

func TestBroadcastsAreTimed(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	members := []socket{connectWS(t, s, "ann"), connectWS(t, s, "bob")}
	for _, c := range members {
		c.join("1")
	}
	testkit.Await(t, "the broadcasts of the joins to be timed", func() bool {
		idle := s.config.Hub.Stats().MailboxWaiting == 0
		s.onAll(func(w *worker, _ time.Time) { idle = idle && w.turns.began.IsZero() })
		return idle
	})
	before := s.Stats().Broadcast.Count
	deliver(t, s, "conversation:1", `42["news"]`)
	testkit.Await(t, "the broadcast to be timed", func() bool { return s.Stats().Broadcast.Count > before })
	for range 10 {
		s.on(0, func(*worker, time.Time) {})
	}
	if n := s.Stats().Broadcast.Count; n > before+2 { // one for each loop
		t.Errorf("%d durations for one broadcast, want one for each loop at most", n-before)
	}
}
