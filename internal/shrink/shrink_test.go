package shrink

import (
	"maps"
	"slices"
	"testing"
)

func TestShrunkMapsKeepTheirEntries(t *testing.T) {
	var p Peak
	m, want, copies := make(map[int]int), make(map[int]int), 0
	for i := range 10 * from {
		m[i], want[i] = i, i
	}
	for i := range 10*from - 5 {
		before := p
		delete(m, i)
		delete(want, i)
		m = Map(m, &p)
		if p < before {
			copies++
		}
		if !maps.Equal(m, want) {
			t.Fatalf("%d deletions left %d entries, want %d", i+1, len(m), len(want))
		}
	}
	if copies == 0 || copies > 3 {
		t.Errorf("%d copies, want 1 to 3", copies)
	}
}

func TestLargeEmptyQueuesReleaseTheirArray(t *testing.T) {
	q := make([]int, 2*largeLeft)
	q[len(q)-1] = 7
	if q = Queue(q, len(q)-1); !slices.Equal(q, []int{7}) || cap(q) != 2*largeLeft {
		t.Errorf("%v with room for %d", q, cap(q))
	}
	if q = Queue(q, 1); q != nil {
		t.Errorf("an empty queue keeps a capacity of %d", cap(q))
	}
	if q = Queue(make([]int, 3), 3); cap(q) != 3 {
		t.Error("a small queue was reallocated")
	}
}
