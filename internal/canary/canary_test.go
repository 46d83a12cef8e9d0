package canary

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"
)

func TestEventsThatDoNotArriveAreLost(t *testing.T) {
	var seen []time.Duration
	c := New(Config{
		User: "x", Publish: func(context.Context, []byte) error { return nil },
		Observe: func(d time.Duration) { seen = append(seen, d) }, Log: slog.New(slog.DiscardHandler),
	})
	for range 3 {
		c.publish(t.Context())
	}
	start := c.sent[2]
	c.arrive(arrival{2, start.Add(time.Second)})
	c.arrive(arrival{2, start.Add(time.Second)}) // a second time
	c.arrive(arrival{9, start})                  // from another process
	c.expire(start.Add(lostAfter / 2))
	if s := c.Stats(); s.Arrived != 1 || s.Lost != 0 || len(seen) != 1 || seen[0] != time.Second {
		t.Errorf("%+v, latencies %v; want one arrival after 1s", s, seen)
	}
	c.expire(start.Add(lostAfter + time.Minute))
	c.arrive(arrival{1, start}) // too late
	if s := c.Stats(); s.Published != 3 || s.Arrived != 1 || s.Lost != 2 || len(c.sent) != 0 {
		t.Errorf("%+v, %d still pending, want 1 arrived, 2 lost, none pending", s, len(c.sent))
	}
}

func TestEventsThatCannotBePublishedAreNotLost(t *testing.T) {
	c := New(Config{
		Publish: func(context.Context, []byte) error { return errors.New("no RabbitMQ") },
		Log:     slog.New(slog.DiscardHandler),
	})
	c.publish(t.Context())
	c.expire(time.Now().Add(time.Hour))
	if s := c.Stats(); s.Failed != 1 || s.Published != 0 || s.Lost != 0 {
		t.Errorf("%+v, want one failure, nothing published or lost", s)
	}
}
