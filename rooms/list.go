package rooms

import (
	"unsafe"

	"github.com/hometrip/gateway/internal/shrink"
)

// A list is a slice with a header of 16 bytes instead of 24: each connection has
// one. It has at most 2^31 elements. The zero list is empty.
type list[T any] struct {
	first   *T
	n, room int32 // elements, and how many there is room for
}

func (l *list[T]) len() int { return int(l.n) }

// all returns the elements. It is valid until the list changes.
func (l *list[T]) all() []T { return unsafe.Slice(l.first, l.room)[:l.n] }

// set replaces the elements, by a slice that the list owns from now on.
func (l *list[T]) set(all []T) {
	l.first, l.n, l.room = unsafe.SliceData(all), int32(len(all)), int32(cap(all))
}

func (l *list[T]) add(element T) { l.set(append(l.all(), element)) }

// members are the sockets in a room. The first is stored without a list: most
// rooms are of one user with one client.
type members struct {
	only *Socket        // nil if there are none, or more
	more *list[*Socket] // nil while there is one at most
}

func (m *members) len() int { return len(m.all()) }

// all returns the members. It is valid until they change.
func (m *members) all() []*Socket {
	switch {
	case m.more != nil:
		return m.more.all()
	case m.only != nil:
		return unsafe.Slice(&m.only, 1)
	}
	return nil
}

func (m *members) add(s *Socket) {
	switch {
	case m.more != nil:
		m.more.add(s)
	case m.only != nil:
		m.more = &list[*Socket]{}
		m.more.set([]*Socket{m.only, s})
		m.only = nil
	default:
		m.only = s
	}
}

// drop takes the last one out.
func (m *members) drop() {
	if m.more == nil {
		m.only = nil
		return
	}
	all := m.more.all()
	last := len(all) - 1
	all[last] = nil
	if m.more.set(shrink.List(all[:last])); last == 1 {
		m.only, m.more = all[0], nil
	}
}
