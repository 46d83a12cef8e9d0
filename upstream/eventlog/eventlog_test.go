package eventlog

import (
	"context"
	"fmt"
	"testing"
	"time"
)

func TestOffsetsRoundTrip(t *testing.T) {
	for _, o := range []Offset{{"k3f9a", 1}, {"x", 35}, {"x", 36}, {"x", 1<<64 - 1}} {
		if got, ok := ParseOffset(o.String()); !ok || got != o {
			t.Errorf("%v is read as %v, %v", o, got, ok)
		}
	}
	for _, bad := range []string{"", ".", "x", "x.", ".1", "x.0", "x.01", "x.1Z", "x.-1", "x.1.1", "x.3w5e11264sgsg", "x. 1"} {
		if o, ok := ParseOffset(bad); ok {
			t.Errorf("%q is read as %v", bad, o)
		}
	}
}

// An entry with the same id, key, exchange, app and body within the last 10 positions
// is a duplicate, any other is not. The memory for ids is bounded.
func TestDuplicatesAreDetectedWithinTheWindow(t *testing.T) {
	d := NewDuplicates(10)
	first := Entry{Key: "k", Exchange: "e", AppID: "a", Body: []byte("b")}
	repeats := func(p Position, id string, change func(*Entry)) bool {
		e := first
		e.Position = p
		if change != nil {
			change(&e)
		}
		return d.Repeats(&e, []byte(id))
	}
	for i, c := range []struct {
		position Position
		id       string
		change   func(*Entry)
		want     bool
	}{
		{1, "1", nil, false},
		{2, "1", nil, true},
		{3, "2", nil, false},
		{4, "", nil, false},
		{5, "", nil, false},
		{6, "1", func(e *Entry) { e.Key = "other" }, false},
		{7, "1", func(e *Entry) { e.Exchange = "other" }, false},
		{8, "1", func(e *Entry) { e.AppID = "other" }, false},
		{9, "1", func(e *Entry) { e.Body = []byte("other") }, false},
		{10, "1", nil, true},
		{11, "1", nil, false}, // more than 10 positions ago
		{20, "1", nil, true},
	} {
		if got := repeats(c.position, c.id, c.change); got != c.want {
			t.Errorf("%d: %v, want %v", i, got, c.want)
		}
	}
	for p := Position(100); p < 10_000; p++ {
		repeats(p, fmt.Sprint(p), nil)
	}
	if len(d.seen) > 10 || len(d.order)-d.head > 10 || cap(d.order) > 100 {
		t.Errorf("remembers %d ids, %d in order, capacity %d; want at most 10, 10 and 100", len(d.seen), len(d.order), cap(d.order))
	}
	d.Reset()
	if repeats(9_999, "9999", nil) {
		t.Error("an id is remembered after Reset")
	}
}

func TestARingKeepsTheNewestEntries(t *testing.T) {
	e := entry(1)
	r := NewRing(5 * e.Size())
	if r.First() != 0 || r.Last() != 0 || len(r.From(0, 10, nil)) != 0 {
		t.Error("an empty ring has entries")
	}
	for p := Position(1); p <= 9; p++ {
		r.Add(entry(p))
	}
	if r.First() != 5 || r.Last() != 9 || r.Bytes() != 5*e.Size() {
		t.Errorf("entries %d to %d, %d bytes; want 5 to 9", r.First(), r.Last(), r.Bytes())
	}
	for from, want := range map[Position]string{0: "[5 6 7]", 5: "[5 6 7]", 8: "[8 9]", 10: "[]"} {
		var got []uint64
		for _, e := range r.From(from, 3, nil) {
			got = append(got, uint64(e.Position))
		}
		if fmt.Sprint(got) != want {
			t.Errorf("from %d: %v, want %s", from, got, want)
		}
	}
	big := entry(10)
	big.Body = make([]byte, 100*e.Size())
	if r.Add(big); r.First() != 10 || r.Last() != 10 {
		t.Errorf("entries %d to %d, want the newest one only", r.First(), r.Last())
	}
}

// Each start position of the log in memory gives the entries from there on.
func TestTheMemoryLogIsReadFromAnyPosition(t *testing.T) {
	m := NewMemory(1 << 20)
	ctx := t.Context()
	add := func() { _, _ = m.Append(ctx, Entry{Key: "k"})() } // cannot fail
	for range 5 {
		add()
	}
	for _, c := range []struct {
		at     Start
		behind Position
		want   string
	}{
		{Start{From: FromNext, Window: 2}, 5, "[6]"},
		{Start{From: FromFirst, Window: 10}, 0, "[1 2 3 4 5]"},
		{Start{From: FromPosition, Position: 4, Window: 10}, 0, "[4 5]"},
		{Start{From: FromPosition, Position: 4, Window: 1}, 0, "[4]"},
	} {
		s, err := m.Open(ctx, c.at)
		if err != nil || s.Info().Behind != c.behind || s.Info().Identity != m.identity {
			t.Fatalf("%+v, %v", s.Info(), err)
		}
		if c.at.From == FromNext {
			if entries, err := s.Next(ctx, time.Nanosecond); len(entries) != 0 || err != nil {
				t.Fatalf("got %v, %v", entries, err)
			}
			go add()
		}
		entries, err := s.Next(ctx, time.Minute)
		var got []uint64
		for _, e := range entries {
			got = append(got, uint64(e.Position))
		}
		if fmt.Sprint(got) != c.want || err != nil {
			t.Errorf("%+v: %v, %v, want %s", c.at, got, err, c.want)
		}
		if c.at.From == FromNext {
			m = NewMemory(1 << 20)
			for range 5 {
				add()
			}
		}
	}
	s, _ := m.Open(ctx, Start{From: FromNext})
	over, cancel := context.WithCancel(ctx)
	cancel()
	if entries, err := s.Next(over, time.Hour); len(entries) != 0 || err != nil {
		t.Errorf("got %v, %v", entries, err)
	}
}
