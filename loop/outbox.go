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

// pendingSize is the size of a pending.
const pendingSize = 16 // bytes

// A pending is a message in the queue of one session: next and prev are the
// indexes of the adjacent ones in the outbox.
type pending struct {
	message    *codec.Message
	next, prev int32
}

// A queue is one session's list in the outbox. The zero queue is empty.
type queue struct {
	first, last int32
	bytes       int32 // of frames; bounded by MaxPending and one message
}

// push queues m and returns its node.
func (o *outbox) push(q *queue, m *codec.Message) int32 {
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
	o.nodes[i] = pending{message: m, prev: q.last}
	if q.last != 0 {
		o.nodes[q.last].next = i
	} else {
		q.first = i
	}
	q.last = i
	q.bytes += int32(m.Size())
	o.used++
	return i
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
	if q.first == 0 {
		return nil
	}
	return o.remove(q, q.first)
}

// remove takes the message of a node out of q.
func (o *outbox) remove(q *queue, i int32) *codec.Message {
	n := &o.nodes[i]
	m := n.message
	if n.prev != 0 {
		o.nodes[n.prev].next = n.next
	} else {
		q.first = n.next
	}
	if n.next != 0 {
		o.nodes[n.next].prev = n.prev
	} else {
		q.last = n.prev
	}
	q.bytes -= int32(m.Size())
	*n = pending{next: o.free}
	o.free = i
	if o.used--; o.used == 0 && len(o.nodes) > shrinkOutbox {
		*o = outbox{}
	}
	return m
}

// each calls f with the nodes of q. f may remove nodes up to the one that it
// is called with, but not that one.
func (o *outbox) each(q *queue, f func(i int32)) {
	for i := q.first; i != 0; i = o.nodes[i].next {
		f(i)
	}
}

// drop empties q.
func (o *outbox) drop(q *queue) {
	for o.pop(q) != nil {
	}
}
