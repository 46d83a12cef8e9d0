package load

import (
	"time"

	"golang.org/x/sys/unix"
)

// idler is the phase in which clients only answer pings.
type idler struct {
	l       *Loop
	until   int64 // ns
	events  uint64
	dropped uint64
}

func newIdler(l *Loop, length time.Duration) *idler {
	for i := range l.conns {
		l.conns[i].fresh()
	}
	return &idler{l: l, until: clock() + int64(length)}
}

func (w *idler) tick(now int64) (int64, bool)   { return w.until, now >= w.until }
func (w *idler) connected(*conn)                {}
func (w *idler) event(*conn, eventName, []byte) { w.events++ }
func (w *idler) ack(*conn, []byte)              {}
func (w *idler) closed(*conn, step)             { w.dropped++ }

// finish tells how many pings the connection got that got least.
func (w *idler) finish(r *Result) {
	r.Strays, r.Closed = w.events, w.dropped
	first := true
	for i := range w.l.conns {
		c := &w.l.conns[i]
		if n := uint64(c.pings); c.step == stepReady && (first || n < r.Least) {
			r.Least, first = n, false
		}
	}
}

// stall makes a ready connection stop reading; its server finds out by a full
// socket.
func (l *Loop) stall(c *conn) error {
	c.step = stepStalled
	return l.watch(unix.EPOLL_CTL_MOD, int(c.fd), 0, kindConn, l.indexOf(c))
}

// kicked notes that the server has given a stalled connection up. What the
// kernel holds for it can still be read.
func (l *Loop) kicked(c *conn) {
	c.step = stepKicked
	_ = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, int(c.fd), nil)
	l.phase.closed(c, stepStalled)
}

// resumer is the phase in which stalled connections read again, until the
// server has nothing more for them.
type resumer struct {
	l           *Loop
	first, last int32
	quiet       int64 // ns without a byte after which the phase is over
	doubled     uint64
	kicked      uint64
	began       int64
}

func newResumer(l *Loop, args ResumeArgs) (*resumer, error) {
	s := &resumer{l: l, first: args.First, last: args.Last, quiet: int64(args.Quiet), began: clock()}
	for i := args.First; i < args.Last; i++ {
		c := &l.conns[i]
		c.fresh()
		op := unix.EPOLL_CTL_MOD
		switch c.step {
		case stepKicked:
			s.kicked++
			op = unix.EPOLL_CTL_ADD
		case stepStalled:
		default:
			continue
		}
		c.step = stepReady
		if err := l.watch(op, int(c.fd), unix.EPOLLIN|unix.EPOLLRDHUP, kindConn, i); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *resumer) tick(now int64) (int64, bool) {
	end := max(s.l.now, s.began) + s.quiet
	return end, now >= end
}

func (s *resumer) event(c *conn, _ eventName, p []byte) {
	seq, _, ok := parseMark(p)
	if !ok {
		return
	}
	if c.count > 0 && seq < c.seq {
		s.doubled++
	}
	c.seq = seq + 1
	c.count++
}

// finish counts what the stalled got: Units in all, Least by the worst off.
func (s *resumer) finish(r *Result) {
	r.Doubled, r.Closed = s.doubled, s.kicked
	for i := s.first; i < s.last; i++ {
		n := uint64(s.l.conns[i].count)
		r.Units += n
		if i == s.first || n < r.Least {
			r.Least = n
		}
	}
}

func (s *resumer) connected(*conn)   {}
func (s *resumer) ack(*conn, []byte) {}

func (s *resumer) closed(_ *conn, was step) {
	if was == stepReady {
		s.kicked++
	}
}
