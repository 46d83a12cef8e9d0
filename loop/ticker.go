package loop

import (
	"net"
	"os"
	"time"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"

	"github.com/hometrip/gateway/loop/wheel"
)

// tickerInterval is how often a loop that is awake takes a turn although nothing
// has happened. Timers need one every wheel.Tick; the rest is for the Go
// runtime, which takes the processor from a goroutine that waits in epoll for
// 10 ms. When the loop then wakes, the runtime's monitor thread looks every
// 20 us for a while: 65 wake-ups for each event. Measured on a virtual machine,
// where each costs 30 us: 20 events a second to a room of 1,000 cost 13 us a
// delivery without ticks, where the floor of the benchmark costs 9.
const tickerInterval = 8 * time.Millisecond

// awakeTicks is the number of ticks without any event after which a loop
// sleeps. A tick costs two wake-ups, the loop's and the monitor's; being woken
// from sleep costs 65. So after about 32 ticks staying awake has cost as much
// as sleeping would have: a loop never pays more than twice what it would if it
// knew when the next event comes. Idle gateways, measured: 2 loops cost 17 ms
// of CPU a second if they always tick, and 32 loops 113 ms.
const awakeTicks = 32

// longestSleep is the longest time a loop sleeps. All loops of a process wake
// up together for it, and so wake the monitor once.
const longestSleep = time.Minute

// A ticker wakes its event loop at intervals: a timerfd among its connections. Each
// tick costs one wake-up. Owned by its event loop.
type ticker struct {
	w  *worker // nil until it is registered
	fd int     // of the timer, beside the registered duplicate
}

// newTicker creates the timerfd and returns it as a connection for gnet.
func newTicker() (*ticker, net.Conn, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, nil, os.NewSyscallError("timerfd_create", err)
	}
	b := &ticker{fd: fd}
	conn, err := asSocket(fd)
	if err == nil {
		err = b.set(tickerInterval, tickerInterval)
	}
	if err != nil {
		unix.Close(fd)
		return nil, nil, err
	}
	return b, conn, nil
}

// set sets the timer to expire after a time, and then at intervals; 0: once.
func (b *ticker) set(after, interval time.Duration) error {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(after)), Interval: unix.NsecToTimespec(int64(interval))}
	return os.NewSyscallError("timerfd_settime", unix.TimerfdSettime(b.fd, 0, &spec, nil))
}

// traffic is called at each tick.
func (b *ticker) traffic(c gnet.Conn) gnet.Action {
	_, _ = c.Discard(-1)
	b.w.onTick()
	return gnet.None
}

// close closes the timer when the engine stops.
func (b *ticker) close() {
	_ = unix.Close(b.fd)
	b.w.ticker, b.w.asleep = nil, false
}

// wake is called when something happens on the loop. A sleeping loop ticks again.
func (w *worker) wake() {
	w.quietTicks = 0
	if w.asleep {
		w.startTicker(time.Now())
	}
}

func (w *worker) startTicker(now time.Time) {
	w.asleep = false
	w.turned(now)
	_ = w.ticker.set(tickerInterval, tickerInterval) // fails for bad arguments only
}

// sleepIfIdle is called at the end of each tick: a loop on which nothing happens
// sleeps until its next deadline.
func (w *worker) sleepIfIdle(now time.Time) {
	if w.quietTicks++; w.quietTicks <= awakeTicks && !w.asleep || w.ticker == nil {
		return
	}
	until := w.nextDeadline()
	nap := until.Sub(now)
	if nap <= awakeTicks*tickerInterval || !w.idle() {
		if w.quietTicks = 0; w.asleep {
			w.startTicker(now)
		}
		return
	}
	w.asleep = true
	w.turned(until) // it is not late before that
	_ = w.ticker.set(nap, 0)
}

// idle reports whether nothing needs a turn every wheel.Tick.
func (w *worker) idle() bool {
	w.checkPolls()
	return w.drain == nil && len(w.held.by)+len(w.blocked.sessions) == 0 && !w.turns.touched.left() && len(w.turns.paused) == 0
}

// nextDeadline returns until when the loop may sleep if nothing happens.
func (w *worker) nextDeadline() time.Time {
	const most = int64(longestSleep / wheel.Tick)
	until := w.wheel.At(min(w.wheel.Next(), (w.wheel.Now()/most+1)*most))
	if at := w.shard.Deadline(); !at.IsZero() && at.Before(until) {
		return at
	}
	return until
}
