package simulation

import "time"

// Most pending timers are seconds ahead, and most new ones are milliseconds
// ahead. So a timerQueue keeps near timers in a small heap, and the others,
// unsorted, in the slots of a timing wheel.
const (
	slotShift = 22      // a slot is 4.2 ms
	slots     = 1 << 13 // a turn of the wheel is 34 s
)

func slotOf(at time.Duration) int64 { return int64(at) >> slotShift }

// A timerQueue is a queue of timers ordered by their time. Timers with the same
// time keep the order in which they were added. It belongs to its schedule.
type timerQueue struct {
	near  []timer // a heap: the timers of slots up to slot
	slot  int64
	wheel []int32 // by slot modulo slots: index in far of the first timer of a list; -1: none
	far   []farTimer
	free  int32 // index of the first free element of far; -1: none
	away  int   // number of timers in far
	seq   uint64
}

type farTimer struct {
	timer
	next int32 // index in far of the next in the list; -1: none
}

func newTimerQueue() timerQueue {
	a := timerQueue{wheel: make([]int32, slots), free: -1}
	for i := range a.wheel {
		a.wheel[i] = -1
	}
	return a
}

func (m *timer) before(o *timer) bool { return m.at < o.at || m.at == o.at && m.seq < o.seq }

// add inserts a timer.
func (a *timerQueue) add(m timer) {
	a.seq++
	m.seq = a.seq
	slot := slotOf(m.at)
	if slot <= a.slot {
		a.push(m)
		return
	}
	i := a.free
	if i < 0 {
		i = int32(len(a.far))
		a.far = append(a.far, farTimer{})
	} else {
		a.free = a.far[i].next
	}
	place := &a.wheel[slot%slots]
	a.far[i] = farTimer{m, *place}
	*place = i
	a.away++
}

// next returns the time of the first timer; false: there is none.
func (a *timerQueue) next() (at time.Duration, any bool) {
	for len(a.near) == 0 {
		if a.away == 0 {
			return 0, false
		}
		a.turn()
	}
	return a.near[0].at, true
}

// turn advances to the next slot and moves its timers to the heap.
func (a *timerQueue) turn() {
	a.slot++
	link := &a.wheel[a.slot%slots]
	for *link >= 0 {
		i := *link
		x := &a.far[i]
		if slotOf(x.at) != a.slot { // of a later round of the wheel
			link = &x.next
			continue
		}
		a.push(x.timer)
		*link = x.next
		a.far[i] = farTimer{next: a.free}
		a.free = i
		a.away--
	}
}

// push adds a timer to the heap.
func (a *timerQueue) push(m timer) {
	h := append(a.near, m)
	i := len(h) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !m.before(&h[parent]) {
			break
		}
		h[i] = h[parent]
		i = parent
	}
	h[i] = m
	a.near = h
}

// take removes and returns the first timer; false: there is none.
func (a *timerQueue) take() (first timer, any bool) {
	if _, any = a.next(); !any {
		return first, false
	}
	h := a.near
	first = h[0]
	last := len(h) - 1
	x := h[last]
	h[last] = timer{}
	h = h[:last]
	if last > 0 {
		i := 0
		for {
			least := 2*i + 1
			if least >= last {
				break
			}
			if least+1 < last && h[least+1].before(&h[least]) {
				least++
			}
			if !h[least].before(&x) {
				break
			}
			h[i] = h[least]
			i = least
		}
		h[i] = x
	}
	a.near = h
	return first, true
}
