// Package wheel is a hierarchical timing wheel: the timers of one event loop.
// The caller tells it the time; it starts no goroutine and reads no clock.
package wheel

import "time"

// Tick is the resolution of a wheel.
const Tick = 100 * time.Millisecond

// The wheel has four levels of 64 slots. The first level reaches 6.4 s, the
// last 19 days; timers beyond that are inserted again when they come up.
const (
	bits   = 6
	slots  = 1 << bits
	levels = 4
	reach  = 1<<(bits*levels) - 1 // ticks
)

// farthest is the latest time a timer can be armed for: ten years, less than 32
// bits of ticks hold.
const (
	farthest     = 10 * 365 * 24 * time.Hour
	farthestTick = int64(farthest / Tick)
)

// An Owner has a timer whose expiry it handles. Expire may be called early for
// deadlines beyond the wheel's reach, so it checks what is due and arms the
// timer again.
type Owner interface {
	Expire(now time.Time)
}

// A Timer is an entry of a wheel, a field of its owner. Owned by the wheel's
// event loop. The zero Timer is not armed.
type Timer struct {
	next, prev *Timer // nil when not armed
	due        uint32 // tick
	kind       Kind
}

// A Kind is what a timer belongs to: an index of what New was passed. With it a
// timer has 24 bytes; with the owner itself it has 40, and each client has one.
type Kind uint8

// A Finder returns the owner of a timer of one kind.
type Finder func(*Timer) Owner

// A Wheel has the timers of one event loop: a hierarchical timing wheel with
// intrusive entries. Arming, disarming and expiring cost the same whatever the
// number of timers, and allocate nothing. Owned by its event loop.
type Wheel struct {
	start time.Time
	kinds []Finder
	now   int64 // tick up to which everything has expired
	armed int
	slots [levels][slots]Timer // list heads
	due   Timer                // head of the list of timers being expired
}

// New returns a wheel without timers, at tick 0. Kind i is that of kinds[i].
func New(now time.Time, kinds ...Finder) *Wheel {
	w := &Wheel{start: now, kinds: kinds}
	for l := range w.slots {
		for i := range w.slots[l] {
			head := &w.slots[l][i]
			head.next, head.prev = head, head
		}
	}
	return w
}

// MS converts t to milliseconds since the start of the wheel, on the monotonic
// clock.
func (w *Wheel) MS(t time.Time) int64 { return t.Sub(w.start).Milliseconds() }

// FromMS is the inverse of MS.
func (w *Wheel) FromMS(ms int64) time.Time {
	return w.start.Add(time.Duration(ms) * time.Millisecond)
}

// Now returns the tick up to which all timers have expired.
func (w *Wheel) Now() int64 { return w.now }

// Armed returns how many timers are armed.
func (w *Wheel) Armed() int { return w.armed }

// Arm sets t to expire at the first tick not before at, and not before the next
// tick. An armed timer is moved.
func (w *Wheel) Arm(t *Timer, kind Kind, at time.Time) {
	ahead := min(at.Sub(w.start), farthest)
	due := uint32(max(int64((ahead+Tick-1)/Tick), w.now+1))
	if t.next != nil {
		if t.due == due {
			return
		}
		w.Disarm(t)
	}
	t.kind, t.due = kind, due
	w.insert(t)
	w.armed++
}

// Disarm removes t from the wheel.
func (w *Wheel) Disarm(t *Timer) {
	if t.next == nil {
		return
	}
	t.unlink()
	w.armed--
}

func (t *Timer) unlink() {
	t.prev.next, t.next.prev = t.next, t.prev
	t.next, t.prev = nil, nil
}

// insert links t into the slot of the level that its distance from now needs.
func (w *Wheel) insert(t *Timer) {
	due := min(int64(t.due), w.now+reach)
	level := 0
	for ahead := due - w.now; ahead >= slots && level < levels-1; level++ {
		ahead >>= bits
	}
	head := &w.slots[level][due>>(bits*level)&(slots-1)]
	t.prev, t.next = head.prev, head
	head.prev.next, head.prev = t, t
}

// Advance expires everything due by now, and reports whether a tick has passed.
func (w *Wheel) Advance(now time.Time) (ticked bool) {
	for last := int64(now.Sub(w.start) / Tick); w.now < last; {
		w.now++
		w.cascade()
		w.ring(&w.slots[0][w.now&(slots-1)], now)
		ticked = true
	}
	return ticked
}

// At returns when a tick is.
func (w *Wheel) At(tick int64) time.Time { return w.start.Add(time.Duration(tick) * Tick) }

// Next returns the tick before which Advance has nothing to do: that of the
// first timer, or an earlier one at which timers go to a finer level. It is
// farthestTick, ten years from the start, when no timer is armed.
func (w *Wheel) Next() int64 {
	first := farthestTick
	for level := range w.slots {
		shift := bits * level
		for slot := w.now>>shift + 1; slot<<shift < first && slot <= w.now>>shift+slots; slot++ {
			if head := &w.slots[level][slot&(slots-1)]; head.next != head {
				first = slot << shift
			}
		}
	}
	return first
}

// cascade moves the timers of a coarse slot to finer ones when its turn has
// come, the coarsest first.
func (w *Wheel) cascade() {
	top := 0
	for top < levels-1 && w.now&(1<<(bits*(top+1))-1) == 0 {
		top++
	}
	for level := top; level > 0; level-- {
		head := &w.slots[level][w.now>>(bits*level)&(slots-1)]
		for list := w.detach(head); list.next != list; {
			t := list.next
			t.unlink()
			w.insert(t)
		}
	}
}

// ring expires the timers of a slot. Timers armed meanwhile expire in later
// ticks.
func (w *Wheel) ring(head *Timer, now time.Time) {
	for list := w.detach(head); list.next != list; {
		t := list.next
		w.Disarm(t)
		w.kinds[t.kind](t).Expire(now)
	}
}

// detach moves a slot's timers to the list of timers being expired.
func (w *Wheel) detach(head *Timer) *Timer {
	list := &w.due
	list.next, list.prev = list, list
	if head.next != head {
		list.next, list.prev = head.next, head.prev
		list.next.prev, list.prev.next = list, list
		head.next, head.prev = head, head
	}
	return list
}

// Each calls f with the owner of every armed timer.
func (w *Wheel) Each(f func(owner Owner)) {
	for l := range w.slots {
		for i := range w.slots[l] {
			head := &w.slots[l][i]
			for t := head.next; t != head; t = t.next {
				f(w.kinds[t.kind](t))
			}
		}
	}
}

// Left returns how long it is until t expires.
func (w *Wheel) Left(t *Timer, now time.Time) time.Duration {
	return max(time.Duration(t.due)*Tick-now.Sub(w.start), 0)
}
