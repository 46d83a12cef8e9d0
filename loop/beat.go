package loop

import (
	"net"
	"os"
	"time"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"

	"github.com/hometrip/gateway/loop/wheel"
)

// beatInterval is how often a loop that is awake takes a turn although nothing
// has happened. Timers need one every wheel.Tick; the rest is for the Go
// runtime, which takes the processor from a goroutine that waits in epoll for
// 10 ms. When the loop then wakes, the runtime's monitor thread looks every
// 20 us for a while: 65 wake-ups for each event. Measured on a virtual machine,
// where each costs 30 us: 20 events a second to a room of 1,000 cost 13 us a
// delivery without beats, where the floor of the benchmark costs 9.
const beatInterval = 8 * time.Millisecond

// awakeBeats is the number of ticks without any event after which a loop
// sleeps. A tick costs two wake-ups, the loop's and the monitor's; being woken
// from sleep costs 65. So after about 32 ticks staying awake has cost as much
// as sleeping would have: a loop never pays more than twice what it would if it
// knew when the next event comes. Idle gateways, measured: 2 loops cost 17 ms
// of CPU a second if they always tick, and 32 loops 113 ms.
const awakeBeats = 32

// longestSleep is the longest time a loop sleeps. All loops of a process wake
// up together for it, and so wake the monitor once.
const longestSleep = time.Minute

// A beat is the ticker of an event loop, a timerfd among its connections. Each
// tick costs one wake-up. Owned by its event loop.
type beat struct {
	w  *worker // nil until it is registered
	fd int     // of the timer, beside the registered duplicate
}

// newBeat creates the timerfd and returns it as a connection for gnet.
func newBeat() (*beat, net.Conn, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, nil, os.NewSyscallError("timerfd_create", err)
	}
	b := &beat{fd: fd}
	conn, err := disguise(fd)
	if err == nil {
		err = b.set(beatInterval, beatInterval)
	}
	if err != nil {
		unix.Close(fd)
		return nil, nil, err
	}
	return b, conn, nil
}

// set sets the timer to expire after a time, and then at intervals; 0: once.
func (b *beat) set(after, interval time.Duration) error {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(after)), Interval: unix.NsecToTimespec(int64(interval))}
	return os.NewSyscallError("timerfd_settime", unix.TimerfdSettime(b.fd, 0, &spec, nil))
}

// traffic is called at each tick.
func (b *beat) traffic(c gnet.Conn) gnet.Action {
	_, _ = c.Discard(-1)
	b.w.onBeat()
	return gnet.None
}

// close closes the timer when the engine stops.
func (b *beat) close() {
	_ = unix.Close(b.fd)
	b.w.beat, b.w.asleep = nil, false
}

// stir records that something happens on the loop. A sleeping loop ticks again.
func (w *worker) stir() {
	w.quiet = 0
	if w.asleep {
		w.wake(time.Now())
	}
}

func (w *worker) wake(now time.Time) {
	w.asleep = false
	w.turned(now)
	_ = w.beat.set(beatInterval, beatInterval) // fails for bad arguments only
}

// rest is called at the end of each beat: a loop on which nothing happens
// sleeps until its next deadline.
func (w *worker) rest(now time.Time) {
	if w.quiet++; w.quiet <= awakeBeats && !w.asleep || w.beat == nil {
		return
	}
	until := w.nextDeadline()
	nap := until.Sub(now)
	if nap <= awakeBeats*beatInterval || !w.idle() {
		if w.quiet = 0; w.asleep {
			w.wake(now)
		}
		return
	}
	w.asleep = true
	w.turned(until) // it is not late before that
	_ = w.beat.set(nap, 0)
}

// idle reports whether nothing needs a turn every wheel.Tick.
func (w *worker) idle() bool {
	w.lookAtPolls()
	return w.drain == nil && len(w.owed.by)+len(w.blocked.sessions) == 0 && !w.touched.left() && len(w.paused) == 0
}

// nextDeadline is until when the loop may sleep if nothing happens.
func (w *worker) nextDeadline() time.Time {
	const most = int64(longestSleep / wheel.Tick)
	until := w.wheel.At(min(w.wheel.Next(), (w.wheel.Now()/most+1)*most))
	if at := w.shard.Deadline(); !at.IsZero() && at.Before(until) {
		return at
	}
	return until
}
