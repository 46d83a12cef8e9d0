package loop

import "time"

// The wheel's shape: four levels of 64 slots. With ticks of 100 ms the first
// level reaches 6.4 s, the last 19 days; what is due later is looked at then.
const (
	wheelTick   = 100 * time.Millisecond
	wheelBits   = 6
	wheelSlots  = 1 << wheelBits
	wheelLevels = 4
	wheelReach  = 1<<(wheelBits*wheelLevels) - 1 // ticks
)

// farthest is as late as a timer can be armed for: 200 years, short of what a
// Duration holds.
const (
	farthest     = 200 * 365 * 24 * time.Hour
	farthestTick = int64(farthest / wheelTick)
)

// timed is what a timer rings for. expire may come early for deadlines beyond
// the wheel's reach, so it looks at what is really due and arms the timer
// again.
type timed interface {
	expire(now time.Time)
}

// A timer is one entry of a wheel, part of what it rings for. Owned by the
// wheel's event loop. The zero timer is not armed.
type timer struct {
	next, prev *timer // nil when not armed
	due        int64  // tick
	owner      timed
}

// A wheel is one event loop's timers: a hierarchical timing wheel with
// intrusive entries. Arming, disarming and ringing cost the same whatever the
// number of timers, and allocate nothing. Owned by its event loop.
type wheel struct {
	start time.Time
	now   int64 // tick up to which everything has rung
	armed int
	slots [wheelLevels][wheelSlots]timer // list heads
	due   timer                          // head of the list being worked through
}

func newWheel(now time.Time) *wheel {
	w := &wheel{start: now}
	for l := range w.slots {
		for i := range w.slots[l] {
			head := &w.slots[l][i]
			head.next, head.prev = head, head
		}
	}
	return w
}

// ms is a time in milliseconds since the wheel started. It follows the
// monotonic clock.
func (w *wheel) ms(t time.Time) int64 { return t.Sub(w.start).Milliseconds() }

// arm has t ring at the first tick not before at, and not before the next
// one. An armed timer is moved.
func (w *wheel) arm(t *timer, owner timed, at time.Time) {
	ahead := min(at.Sub(w.start), farthest)
	due := max(int64((ahead+wheelTick-1)/wheelTick), w.now+1)
	if t.next != nil {
		if t.due == due {
			return
		}
		w.disarm(t)
	}
	t.owner, t.due = owner, due
	w.insert(t)
	w.armed++
}

// disarm takes t out of the wheel.
func (w *wheel) disarm(t *timer) {
	if t.next == nil {
		return
	}
	t.unlink()
	w.armed--
}

func (t *timer) unlink() {
	t.prev.next, t.next.prev = t.next, t.prev
	t.next, t.prev = nil, nil
}

// insert links t into the slot of the coarsest level that still tells its
// tick from now's.
func (w *wheel) insert(t *timer) {
	due := min(t.due, w.now+wheelReach)
	level := 0
	for ahead := due - w.now; ahead >= wheelSlots && level < wheelLevels-1; level++ {
		ahead >>= wheelBits
	}
	head := &w.slots[level][due>>(wheelBits*level)&(wheelSlots-1)]
	t.prev, t.next = head.prev, head
	head.prev.next, head.prev = t, t
}

// advance rings everything due by now, and reports whether a tick has passed.
func (w *wheel) advance(now time.Time) (ticked bool) {
	for last := int64(now.Sub(w.start) / wheelTick); w.now < last; {
		w.now++
		w.cascade()
		w.ring(&w.slots[0][w.now&(wheelSlots-1)], now)
		ticked = true
	}
	return ticked
}

// at returns when a tick is.
func (w *wheel) at(tick int64) time.Time { return w.start.Add(time.Duration(tick) * wheelTick) }

// next returns the tick before which advance has nothing to do: that of the
// first timer, or an earlier one at which timers go to a finer level. It is
// farthestTick when no timer is armed.
func (w *wheel) next() int64 {
	first := farthestTick
	for level := range w.slots {
		shift := wheelBits * level
		for slot := w.now>>shift + 1; slot<<shift < first && slot <= w.now>>shift+wheelSlots; slot++ {
			if head := &w.slots[level][slot&(wheelSlots-1)]; head.next != head {
				first = slot << shift
			}
		}
	}
	return first
}

// cascade moves the timers of a coarse slot to finer ones when its turn has
// come, the coarsest first.
func (w *wheel) cascade() {
	top := 0
	for top < wheelLevels-1 && w.now&(1<<(wheelBits*(top+1))-1) == 0 {
		top++
	}
	for level := top; level > 0; level-- {
		head := &w.slots[level][w.now>>(wheelBits*level)&(wheelSlots-1)]
		for list := w.detach(head); list.next != list; {
			t := list.next
			t.unlink()
			w.insert(t)
		}
	}
}

// ring expires the timers of a slot. What they arm lands in later ticks.
func (w *wheel) ring(head *timer, now time.Time) {
	for list := w.detach(head); list.next != list; {
		t := list.next
		w.disarm(t)
		t.owner.expire(now)
	}
}

// detach moves a slot's timers to the list of those being worked through.
func (w *wheel) detach(head *timer) *timer {
	list := &w.due
	list.next, list.prev = list, list
	if head.next != head {
		list.next, list.prev = head.next, head.prev
		list.next.prev, list.prev.next = list, list
		head.next, head.prev = head, head
	}
	return list
}
