package loop

import (
	"time"
	"unsafe"

	"github.com/hometrip/gateway/loop/wheel"
)

// What the timers of a loop belong to.
const (
	timerSession wheel.Kind = iota
	timerHTTP
	timerDeadline
	timerDeparted
)

// newWheel returns a wheel for the timers of a loop. A timer is the first field of
// what it belongs to, so that both have the same address.
func newWheel(now time.Time) *wheel.Wheel {
	return wheel.New(now,
		func(t *wheel.Timer) wheel.Owner { return (*session)(unsafe.Pointer(t)) },
		func(t *wheel.Timer) wheel.Owner { return (*httpConn)(unsafe.Pointer(t)) },
		func(t *wheel.Timer) wheel.Owner { return (*deadline)(unsafe.Pointer(t)) },
		func(t *wheel.Timer) wheel.Owner { return (*departed)(unsafe.Pointer(t)) },
	)
}

// The timers are first: the lengths of these arrays are 0.
var (
	_ [unsafe.Offsetof(session{}.timer)]struct{}  = [0]struct{}{}
	_ [unsafe.Offsetof(httpConn{}.timer)]struct{} = [0]struct{}{}
	_ [unsafe.Offsetof(deadline{}.timer)]struct{} = [0]struct{}{}
	_ [unsafe.Offsetof(departed{}.timer)]struct{} = [0]struct{}{}
)
