package upstream

import "hash/maphash"

// recentPerPrefetch is how many ids are remembered for each event that can be
// unacknowledged: only those are redelivered.
const recentPerPrefetch = 4

// A recent remembers the ids of the events delivered last, as 64-bit hashes.
// Owned by one goroutine at a time.
type recent struct {
	seed maphash.Seed
	ring []uint64
	next int // index of the oldest, once the ring is full
	seen map[uint64]struct{}
}

// noID is the hash of an event without an id.
const noID = 0

func newRecent(size int) *recent {
	return &recent{seed: maphash.MakeSeed(), ring: make([]uint64, 0, size), seen: make(map[uint64]struct{}, size)}
}

// identify returns the hash of an event's id, the property messageId or else
// the member eventId as JSON text, and whether it is known.
func (r *recent) identify(messageID string, eventID []byte) (id uint64, known bool) {
	switch {
	case messageID != "":
		id = maphash.String(r.seed, messageID)
	case !absent(eventID):
		id = maphash.Bytes(r.seed, eventID)
	default:
		return noID, false
	}
	_, known = r.seen[id]
	return id, known
}

// add remembers an id and forgets the oldest.
func (r *recent) add(id uint64) {
	if _, known := r.seen[id]; known || id == noID {
		return
	}
	if len(r.ring) < cap(r.ring) {
		r.ring = append(r.ring, id)
	} else {
		delete(r.seen, r.ring[r.next])
		r.ring[r.next] = id
		r.next = (r.next + 1) % len(r.ring)
	}
	r.seen[id] = struct{}{}
}
