package loop

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// beatInterval is how often each loop takes a turn although nobody wants
// anything of it. Timers need one every wheelTick; the rest is for the Go
// runtime, which takes the processor from a goroutine that waits in epoll for
// 10 ms. When the loop wakes, the runtime's monitor thread expects more of the
// same and looks every 20 us for a while: 65 wake-ups for each event that
// comes to an idle gateway. Measured on a virtual machine, where each costs
// 30 us: idle 20 ms of CPU a second without beats and 13 with them; 20 events
// a second to a room of 1,000 cost 13 us a delivery without and 10 with them,
// where the floor of the benchmark costs 9.
const beatInterval = 8 * time.Millisecond

// beat has the loops take turns until the engine ends. It sleeps in the kernel
// and keeps its processor meanwhile, which a timer of the runtime's would not:
// that would be two threads woken instead of one. Gosched tells the monitor
// that the goroutine is not stuck.
func (s *Server) beat() {
	pause := unix.NsecToTimespec(int64(beatInterval))
	swept := time.Now()
	for s.ctx.Err() == nil {
		_ = unix.Nanosleep(&pause, nil) // short when a signal comes
		runtime.Gosched()
		for _, w := range s.workers {
			w.postTick()
		}
		if now := time.Now(); now.Sub(swept) > sweepInterval {
			swept = now
			s.guard.sweep(now)
		}
	}
}
