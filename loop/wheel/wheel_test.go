package wheel

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"
)

// An alarm is an Owner that counts how often its timer has expired.
type alarm struct {
	timer    Timer // the first field, see newWheel
	expired  int
	onExpire func(now time.Time) // may be nil
}

// newWheel returns a wheel for alarms.
func newWheel(start time.Time) *Wheel {
	return New(start, func(t *Timer) Owner { return (*alarm)(unsafe.Pointer(t)) })
}

func (a *alarm) Expire(now time.Time) {
	a.expired++
	if a.onExpire != nil {
		a.onExpire(now)
	}
}

func ticks(n int64) time.Duration { return time.Duration(n) * Tick }

func TestTimersExpireAtTheFirstTickAfterTheirDeadline(t *testing.T) {
	start := time.Now()
	for _, c := range []struct {
		after time.Duration
		tick  int64
	}{
		{-time.Hour, 1}, {0, 1}, {1, 1}, {Tick, 1}, {Tick + 1, 2}, {ticks(2), 2},
		{ticks(63), 63}, {ticks(64), 64}, {ticks(65), 65}, {ticks(127), 127}, {ticks(128), 128},
		{ticks(4095), 4095}, {ticks(4096), 4096}, {ticks(4097), 4097},
		{ticks(64*64*64 - 1), 64*64*64 - 1}, {ticks(64 * 64 * 64), 64 * 64 * 64}, {ticks(64*64*64 + 1), 64*64*64 + 1},
	} {
		w := newWheel(start)
		var a alarm
		w.Arm(&a.timer, 0, start.Add(c.after))
		w.Advance(start.Add(ticks(c.tick) - 1))
		if a.expired != 0 {
			t.Errorf("after %v: expired before tick %d", c.after, c.tick)
		}
		w.Advance(start.Add(ticks(c.tick)))
		if a.expired != 1 || w.armed != 0 {
			t.Errorf("after %v: %d expirations at tick %d, %d armed", c.after, a.expired, c.tick, w.armed)
		}
	}
}

// Timers are armed at distances around the boundaries of the levels, from
// starts around them. Each must expire at its tick.
func TestWheelCascades(t *testing.T) {
	start := time.Now()
	for _, from := range []int64{0, 1, 63, 64, 65, 4095, 4096, 4097, 262143, 262144} {
		w := newWheel(start)
		w.Advance(start.Add(ticks(from)))
		var alarms []*alarm
		var due []int64
		for _, ahead := range []int64{1, 2, 62, 63, 64, 65, 66, 127, 128, 129, 4031, 4032, 4095, 4096, 4097, 8191, 8192} {
			a := &alarm{}
			a.onExpire = func(now time.Time) {
				if got := w.now; got != from+ahead {
					t.Errorf("from tick %d, %d ahead: expired at %d, want %d", from, ahead, got, from+ahead)
				}
			}
			w.Arm(&a.timer, 0, start.Add(ticks(from+ahead)))
			alarms, due = append(alarms, a), append(due, from+ahead)
		}
		w.Advance(start.Add(ticks(from + 9000)))
		for i, a := range alarms {
			if a.expired != 1 {
				t.Errorf("from tick %d: the timer of tick %d has expired %d times, want once", from, due[i], a.expired)
			}
		}
	}
}

// Timers are armed, moved and disarmed at random, also while others expire. The
// wheel must agree with a list of deadlines.
func TestWheelAgreesWithAModel(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 2))
			start := time.Now()
			w := newWheel(start)
			alarms := make([]*alarm, 300)
			due := make(map[*alarm]int64) // deadlines of the armed timers
			arm := func(a *alarm) {
				ahead := int64(1) << random.IntN(19) // up to 14 hours
				at := w.now + 1 + random.Int64N(ahead)
				w.Arm(&a.timer, 0, start.Add(ticks(at)))
				due[a] = at
			}
			disarm := func(a *alarm) {
				w.Disarm(&a.timer)
				delete(due, a)
			}
			for i := range alarms {
				a := &alarm{}
				a.onExpire = func(time.Time) {
					if at, armed := due[a]; !armed || at != w.now {
						t.Fatalf("expired at tick %d, due %d, armed %v", w.now, at, armed)
					}
					delete(due, a)
					switch other := alarms[random.IntN(len(alarms))]; random.IntN(4) {
					case 0:
						arm(a)
					case 1:
						arm(other)
					case 2:
						disarm(other) // perhaps one of the same tick
					}
				}
				alarms[i] = a
			}
			now := int64(0)
			for range 2000 {
				switch a := alarms[random.IntN(len(alarms))]; random.IntN(3) {
				case 0:
					disarm(a)
				case 1:
					arm(a)
				default:
					now += random.Int64N(1 << random.IntN(12))
					w.Advance(start.Add(ticks(now)))
				}
				for a, at := range due {
					if at <= now {
						t.Fatalf("at tick %d the timer of %d has not expired (%d expirations)", now, at, a.expired)
					}
				}
				if w.armed != len(due) {
					t.Fatalf("%d armed, want %d", w.armed, len(due))
				}
			}
		})
	}
}

// Timers are due later than the wheel reaches. They must expire at the right
// tick, after an early call of Expire when the wheel has come round.
func TestTimersBeyondTheReachOfTheWheel(t *testing.T) {
	start := time.Now()
	for _, late := range []time.Duration{ticks(reach), ticks(reach + 70_000)} {
		w := newWheel(start)
		w.now = reach - 5 // as if it had been running for 19 days
		at := start.Add(ticks(w.now) + late)
		var a alarm
		expiredAt := int64(0)
		a.onExpire = func(now time.Time) {
			if now.Before(at) {
				w.Arm(&a.timer, 0, at)
				return
			}
			expiredAt = w.now
		}
		w.Arm(&a.timer, 0, at)
		// With one call of Advance each Expire would get the same late time.
		for now := w.now; expiredAt == 0 && now < 3*reach; now += slots {
			w.Advance(start.Add(ticks(now)))
		}
		want := reach - 5 + int64(late/Tick)
		if expiredAt < want || expiredAt > want+slots {
			t.Errorf("%v away: expired at tick %d, want %d", late, expiredAt, want)
		}
	}
}

// Timers are due in centuries, as those of tokens may be. They must not expire
// within the hour.
func TestTimersInTheFarFuture(t *testing.T) {
	start := time.Now()
	for _, at := range []time.Time{
		start.AddDate(100, 0, 0), start.AddDate(290, 0, 0), start.AddDate(300, 0, 0), start.AddDate(7000, 0, 0),
	} {
		w := newWheel(start)
		var a alarm
		w.Arm(&a.timer, 0, at)
		w.Advance(start.Add(time.Hour))
		if a.expired != 0 {
			t.Errorf("a timer for the year %d has expired within the hour", at.Year())
		}
	}
}

func TestWheelDisarmTwice(t *testing.T) {
	start := time.Now()
	w := newWheel(start)
	var a alarm
	w.Disarm(&a.timer) // never armed
	w.Arm(&a.timer, 0, start.Add(time.Second))
	w.Disarm(&a.timer)
	w.Disarm(&a.timer)
	w.Advance(start.Add(time.Minute))
	if a.expired != 0 || w.armed != 0 {
		t.Errorf("%d expirations, %d armed, want none", a.expired, w.armed)
	}
}

func TestRearmedTimerExpiresOnce(t *testing.T) {
	start := time.Now()
	w := newWheel(start)
	var a alarm
	for _, after := range []time.Duration{time.Hour, time.Second, time.Second, time.Minute, 2 * time.Second} {
		w.Arm(&a.timer, 0, start.Add(after))
	}
	w.Advance(start.Add(2*time.Second - 1))
	if a.expired != 0 {
		t.Error("expired for a deadline that was moved")
	}
	w.Advance(start.Add(2 * time.Hour))
	if a.expired != 1 {
		t.Errorf("%d expirations, want 1", a.expired)
	}
}

func TestWheelAllocatesNothing(t *testing.T) {
	start := time.Now()
	w := newWheel(start)
	now := start
	alarms := make([]alarm, 100)
	for i := range alarms {
		a := &alarms[i]
		a.onExpire = func(now time.Time) { w.Arm(&a.timer, 0, now.Add(ticks(int64(1+i)))) }
		a.onExpire(now)
	}
	allocs := testing.AllocsPerRun(1000, func() {
		now = now.Add(Tick)
		w.Advance(now)
		w.Disarm(&alarms[7].timer)
		w.Arm(&alarms[7].timer, 0, now.Add(time.Minute))
	})
	if allocs != 0 {
		t.Errorf("%v allocations a tick, want none", allocs)
	}
}

func BenchmarkWheelTick(b *testing.B) {
	for _, sessions := range []int{0, 10_000, 100_000} {
		b.Run(fmt.Sprint(sessions), func(b *testing.B) {
			start := time.Now()
			w := newWheel(start)
			alarms := make([]alarm, sessions)
			for i := range alarms {
				a := &alarms[i]
				a.onExpire = func(now time.Time) { w.Arm(&a.timer, 0, now.Add(25*time.Second)) }
				w.Arm(&a.timer, 0, start.Add(25*time.Second*time.Duration(i)/time.Duration(sessions)))
			}
			now := start
			b.ReportAllocs()
			for b.Loop() {
				now = now.Add(Tick)
				w.Advance(now)
			}
		})
	}
}

// The wheel is advanced to each tick that Next returns. Every timer must expire
// at its tick, and the number of steps must be limited.
func TestNextIsNeverTooLate(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, reach := range []int64{50, 5_000, 500_000, 20_000_000} {
		start := time.Now()
		w := newWheel(start)
		w.Advance(start.Add(ticks(random.Int64N(10_000))))
		due := make(map[*alarm]int64)
		for range 50 {
			a := &alarm{}
			due[a] = w.now + 1 + random.Int64N(reach)
			w.Arm(&a.timer, 0, w.At(due[a]))
		}
		looks := 0
		for ; w.armed > 0; looks++ {
			next := w.Next()
			w.Advance(w.At(next))
			for a, at := range due {
				if late := at <= next; late != (a.expired == 1) {
					t.Fatalf("reach %d: due at %d, at %d it has expired %d times", reach, at, next, a.expired)
				}
			}
		}
		if looks > 50*levels {
			t.Errorf("reach %d: %d steps for 50 timers, want %d at most", reach, looks, 50*levels)
		}
		if w.Next() != farthestTick {
			t.Errorf("Next of an empty wheel is %d, want %d", w.Next(), farthestTick)
		}
	}
}
