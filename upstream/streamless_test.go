package upstream

import (
	"errors"
	"strings"
	"testing"

	"github.com/hometrip/gateway/upstream/brokertest"
	"github.com/hometrip/gateway/upstream/eventlog"
)

// TestRabbitMQWithoutStreamsIsNamed: as before 3.9, and in a cluster that was
// upgraded from there.
func TestRabbitMQWithoutStreamsIsNamed(t *testing.T) {
	t.Parallel()
	b, err := brokertest.Start("RABBITMQ_FEATURE_FLAGS=quorum_queue")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	w := newWorld(t, b)
	l := w.log(table(t))
	_, err = l.Open(t.Context(), eventlog.Start{From: eventlog.FromNext, Window: 1})
	t.Log(err)
	if !errors.Is(err, eventlog.ErrNoLog) || !strings.Contains(err.Error(), "stream_queue") {
		t.Errorf("reading: %v", err)
	}
	if _, err := l.Append(t.Context(), eventlog.Entry{Key: "message.sent"})(); !errors.Is(err, eventlog.ErrNoLog) {
		t.Errorf("appending: %v", err)
	}
}
