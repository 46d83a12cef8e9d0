package rabbitmq

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hometrip/gateway/upstream/eventlog"
)

// failingLog fails every Append while it is away, and records the others.
type failingLog struct {
	away atomic.Bool
	took []string
}

func (l *failingLog) Append(_ context.Context, e eventlog.Entry) func() (eventlog.Position, error) {
	if l.away.Load() {
		return func() (eventlog.Position, error) { return 0, errors.New("away") }
	}
	l.took = append(l.took, string(e.Body))
	return func() (eventlog.Position, error) { return 0, nil }
}

// The log fails while messages are forwarded to it. When it is back, the failed
// messages must be appended together, in order and before later ones, and all be
// acknowledged.
func TestFailedMessagesAreForwardedTogetherInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, acknowledged, ended := new(failingLog), 0, false
		log.away.Store(true)
		f := NewForwarder(Config{Logger: slog.New(slog.DiscardHandler)}, log)
		w := &forwarding{f: f, waiting: make(chan *forwarded, forwardWindow)}
		go func() {
			err := w.acknowledge(t.Context(), func(uint64) error { acknowledged++; return nil }, func() bool { return false })
			ended = err == nil
		}()
		var want []string
		take := func(n int) {
			for range n {
				body := strconv.Itoa(len(want))
				want = append(want, body)
				w.take(t.Context(), &forwarded{entry: eventlog.Entry{Body: []byte(body)}})
			}
			synctest.Wait()
		}
		take(100)
		time.Sleep(3*forwardRetry + forwardRetry/2)
		log.away.Store(false)
		take(50) // while the messages before wait for the next attempt
		time.Sleep(forwardRetry)
		synctest.Wait()
		take(50)
		if !slices.Equal(log.took, want) || acknowledged != len(want) {
			t.Errorf("the log has %q and %d are acknowledged, want %q", log.took, acknowledged, want)
		}
		if f.Trouble() != nil {
			t.Error(f.Trouble())
		}
		close(w.waiting)
		if synctest.Wait(); !ended {
			t.Error("acknowledge has not ended, or ended with an error")
		}
	})
}

// When the log is away for long, the messages are returned to RabbitMQ, so that
// another node can try: only this node may be cut off. Messages that were delivered
// often before are kept longer.
func TestMessagesAreReturnedWhenTheLogIsAwayForLong(t *testing.T) {
	for _, before := range []int64{0, 4} {
		synctest.Test(t, func(t *testing.T) {
			log := new(failingLog)
			log.away.Store(true)
			f := NewForwarder(Config{Logger: slog.New(slog.DiscardHandler)}, log)
			w := &forwarding{f: f, waiting: make(chan *forwarded, forwardWindow)}
			for range 2 {
				w.take(t.Context(), &forwarded{entry: eventlog.Entry{Headers: map[string]any{"x-delivery-count": before}}})
			}
			began := time.Now()
			err := w.acknowledge(t.Context(), func(uint64) error { return nil }, func() bool { return false })
			want := forwardPatience * time.Duration(1+before)
			if took := time.Since(began); err == nil || took < want || took > want+forwardRetry {
				t.Errorf("after %d deliveries: %v after %v, want an error after %v", before, err, took, want)
			}
		})
	}
}
