package adapter

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/redis/rueidis"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/rooms"
)

// noRooms fails the test when anything reaches the rooms.
type noRooms struct {
	Rooms
	t *testing.T
}

func (n noRooms) Emit(_ *rooms.Selection, m *codec.Message) { n.t.Errorf("emitted %.40s", m.Text()) }

func (n noRooms) Ask(*rooms.Selection, func(int64) *codec.Message, func(int), func([]byte, [][]byte)) func() {
	n.t.Error("clients were asked")
	return func() {}
}

func newReceiver(t *testing.T, lines *bytes.Buffer) *Adapter {
	t.Helper()
	a, err := New(Config{
		Key: "socket.io", Open: func() (rueidis.Client, error) { panic("not started") },
		Routed:   func(event string) bool { return event == "new_message" },
		MaxBytes: func() int { return 500 },
		Log:      slog.New(slog.NewTextHandler(lines, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	a.rooms = noRooms{t: t}
	a.publisher.setOpen(true)
	return a
}

func TestWhatIsDroppedIsCountedAndLoggedNowAndThen(t *testing.T) {
	var lines bytes.Buffer
	a := newReceiver(t, &lines)
	controls := strings.Repeat(`\u0001`, 100) // 100 bytes, of which JSON makes 600
	for range 3 {
		a.receive(a.names.Broadcast, encode(`["a",{"type":2,"data":["x","`+controls+`"],"nsp":"/"},{}]`))
		a.receive(a.names.Broadcast, bytes.Repeat([]byte{0xc0}, 501))
		a.receive(a.names.Request, bytes.Repeat([]byte{'{'}, 501))
	}
	if n := a.Stats().Dropped[Size]; n != 9 {
		t.Errorf("%d dropped for their size, want 9", n)
	}
	if n := strings.Count(lines.String(), "\n"); n != 1 || !strings.Contains(lines.String(), "MAX_PENDING_BYTES") {
		t.Errorf("%d lines, want one that names the limit: %s", n, lines.String())
	}
}

func TestAnEventOfTheLogIsNotAskedAboutEither(t *testing.T) {
	a := newReceiver(t, new(bytes.Buffer))
	a.receive(a.names.Request, encode(`{"uid":"u","requestId":"r","type":7,"packet":{"type":2,"data":["new_message"],"nsp":"/"},"opts":{"rooms":[]}}`))
	answers := a.publisher.take(10)
	if len(answers) != 1 || string(answers[0].payload) != `{"type":8,"requestId":"r","clientCount":0}` || a.Stats().Routed != 1 {
		t.Errorf("answers %+v, routed %d", answers, a.Stats().Routed)
	}
}

func TestWhatWaitsForRedisIsBoundedInBytes(t *testing.T) {
	a := newReceiver(t, new(bytes.Buffer))
	large := make([]byte, maxWaitingBytes)
	for i, k := range []struct {
		payload []byte
		taken   bool
	}{{large, true}, {[]byte("x"), false}} {
		if a.publisher.publish("c", k.payload) != k.taken {
			t.Errorf("message %d: taken %v", i, !k.taken)
		}
	}
	a.publisher.take(1)
	if !a.publisher.publish("c", []byte("x")) {
		t.Error("nothing is taken after the queue was emptied")
	}
}
