package eventlog

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// A Tail gives the same answers as a plain list, after random entries were added,
// dropped and prepended.
func TestTailAgreesWithAList(t *testing.T) {
	for seed := range uint64(30) {
		random := rand.New(rand.NewPCG(seed, 1))
		tail := NewTail(20_000)
		const start = 500
		tail.Begin("log1", start, true)
		rooms := map[Position][]uint64{}
		entry := func(p Position) (Entry, []uint64) {
			keys := rooms[p]
			if keys == nil {
				keys = []uint64{}
				for k := range uint64(5) {
					if random.IntN(3) == 0 {
						keys = append(keys, k)
					}
				}
				rooms[p] = keys
			}
			return Entry{Position: p, Body: make([]byte, random.IntN(50))}, keys
		}
		check := func() {
			t.Helper()
			for key := range uint64(5) {
				from := tail.After() + Position(random.IntN(20))
				to := tail.Last() - Position(random.IntN(5))
				var want, got []Position
				for p := to; p > from; p-- {
					if slices.Contains(rooms[p], key) {
						want = append(want, p)
					}
				}
				for _, e := range tail.Find(key, from, to, 1000, nil) {
					got = append(got, e.Position)
				}
				if !slices.Equal(got, want) {
					t.Fatalf("seed %d: room %d, positions after %d up to %d: %v, want %v", seed, key, from, to, got, want)
				}
			}
			if tail.Bytes() > 20_000 {
				t.Fatalf("seed %d: %d bytes, want at most 20,000", seed, tail.Bytes())
			}
		}
		for p := Position(start + 1); p < start+20; p++ {
			tail.Add(entry(p))
			check()
		}
		var older []Entry
		var keys [][]uint64
		for p := Position(start - 20); p <= start; p++ {
			if e, k := entry(p); len(k) > 0 {
				older, keys = append(older, e), append(keys, k)
			}
		}
		if !tail.Prepend(start-21, older, keys) || tail.After() != start-21 {
			t.Fatalf("seed %d: older entries were not prepended, the tail starts after %d", seed, tail.After())
		}
		check()
		for p := Position(start + 20); p < start+300; p++ {
			tail.Add(entry(p))
			check()
		}
		if tail.After() <= start {
			t.Errorf("seed %d: nothing was dropped from a full tail", seed)
		}
		if tail.Prepend(tail.After()-100, []Entry{{Position: 1, Body: make([]byte, 30_000)}}, [][]uint64{{1}}) {
			t.Errorf("seed %d: more than the tail may hold was prepended", seed)
		}
		tail.Gap(9000)
		if got := tail.Find(1, 0, 9999, 10, nil); len(got) != 0 || tail.After() != 9000 || tail.Bytes() != 0 {
			t.Errorf("seed %d: after a gap: found %v, starts after %d, want nothing after 9000", seed, got, tail.After())
		}
	}
}

func TestATailWithUnknownStartBeginsAtTheFirstPosition(t *testing.T) {
	tail := NewTail(1000)
	tail.Begin("log1", 0, false)
	tail.Pass(77)
	if tail.Began() != 76 || tail.After() != 76 || tail.Last() != 77 {
		t.Errorf("began %d, after %d, last %d; want 76, 76 and 77", tail.Began(), tail.After(), tail.Last())
	}
	tail.Gap(0) // up to an unknown position
	tail.Pass(90)
	if tail.Began() != 89 || tail.After() != 89 {
		t.Errorf("after a gap: began %d, after %d, want 89 and 89", tail.Began(), tail.After())
	}
}
