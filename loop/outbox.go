package loop

import "github.com/hometrip/gateway/codec"

// shrinkOutbox is how many nodes an empty outbox may keep.
const shrinkOutbox = 1 << 16

// An outbox holds the pending messages of all sessions of a loop, as linked
// lists in one slice: an idle session has no queue of its own, and a burst
// allocates nothing once the slice has grown. Owned by its event loop.
type outbox struct {
	nodes []pending // 0 is not used: index 0 means none
	free  int32     // first of the unused nodes
	used  int
}

type pending struct {
	message *codec.Message
	next    int32
}

// A queue is one session's list in the outbox. The zero queue is empty.
type queue struct {
	first, last int32
	bytes       int32 // of frames; bounded by MaxPending and one message
}

func (o *outbox) push(q *queue, m *codec.Message) {
	i := o.free
	if i != 0 {
		o.free = o.nodes[i].next
	} else {
		if len(o.nodes) == 0 {
			o.nodes = append(o.nodes, pending{})
		}
		i = int32(len(o.nodes))
		o.nodes = append(o.nodes, pending{})
	}
	o.nodes[i] = pending{message: m}
	if q.last != 0 {
		o.nodes[q.last].next = i
	} else {
		q.first = i
	}
	q.last = i
	q.bytes += int32(m.Size())
	o.used++
}

// first returns the oldest message of q, nil when there is none.
func (o *outbox) first(q *queue) *codec.Message {
	if q.first == 0 {
		return nil
	}
	return o.nodes[q.first].message
}

// pop takes the oldest message out of q, nil when there is none.
func (o *outbox) pop(q *queue) *codec.Message {
	i := q.first
	if i == 0 {
		return nil
	}
	n := &o.nodes[i]
	m := n.message
	q.first = n.next
	if q.first == 0 {
		q.last = 0
	}
	q.bytes -= int32(m.Size())
	*n = pending{next: o.free}
	o.free = i
	if o.used--; o.used == 0 && len(o.nodes) > shrinkOutbox {
		*o = outbox{}
	}
	return m
}

// drop empties q.
func (o *outbox) drop(q *queue) {
	for o.pop(q) != nil {
	}
}
