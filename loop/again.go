package loop

import (
	"fmt"
	"net"
	"os"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"
)

// An again is how a loop comes back to unfinished work after a round of epoll:
// one end of a socket pair is enrolled in the loop, and a byte written to the
// other is an event like any other. Owned by its event loop.
type again struct {
	w   *worker // nil until it is enrolled
	far int     // descriptor of the end that is written to
}

// newAgain makes a socket pair and returns the end to enroll.
func newAgain() (*again, net.Conn, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket pair for an event loop: %w", err)
	}
	f := os.NewFile(uintptr(pair[0]), "again")
	defer f.Close()
	near, err := net.FileConn(f)
	if err != nil {
		unix.Close(pair[1])
		return nil, nil, fmt.Errorf("socket pair for an event loop: %w", err)
	}
	return &again{far: pair[1]}, near, nil
}

// ask has the loop see an event in its next round. One byte at most is under
// way, so the pair's buffer never fills.
func (a *again) ask() {
	if _, err := unix.Write(a.far, []byte{0}); err != nil {
		a.w.asked = false
		a.w.ring() // starves the sockets for a turn, but loses nothing
	}
}

// close ends the pair, when the engine stops. Its descriptor may be anybody's
// from then on.
func (a *again) close() {
	_ = unix.Close(a.far)
	a.w.again, a.w.asked = nil, false
}

// traffic is that event.
func (a *again) traffic(c gnet.Conn) gnet.Action {
	_, _ = c.Discard(-1)
	a.w.onAgain()
	return gnet.None
}
