// Package shrink lets maps, lists and queues release the memory of their
// largest size, which the runtime otherwise keeps as long as they live.
package shrink

import "slices"

// A Peak is the largest size of a map since it was made. The zero Peak is ready.
type Peak int

const (
	from      = 256  // a map of fewer entries is not worth the copy
	share     = 8    // a map is copied when it has shrunk to one part in share
	largeLeft = 1024 // elements an empty queue has room for that gives its array back
)

// Map is to be called after an entry of m has been deleted. It returns m, or a
// copy of its own size if m has shrunk to an eighth of its peak. A loop that
// ranges over m meanwhile continues with the old map.
func Map[K comparable, V any](m map[K]V, p *Peak) map[K]V {
	*p = max(*p, Peak(len(m)+1))
	if *p < from || len(m) > int(*p)/share {
		return m
	}
	small := make(map[K]V, len(m))
	for key, value := range m {
		small[key] = value
	}
	*p = Peak(len(m))
	return small
}

// Queue returns a queue without its first n elements.
func Queue[T any](queue []T, n int) []T {
	if queue = slices.Delete(queue, 0, n); len(queue) == 0 && cap(queue) > largeLeft {
		return nil
	}
	return queue
}

// List releases memory after most of a list was removed.
func List[T any](list []T) []T {
	const floor = 64 // elements; below this it is not worth a copy
	if c := cap(list); c > floor && len(list) < c/4 {
		return append(make([]T, 0, c/2), list...)
	}
	return list
}
