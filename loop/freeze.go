package loop

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

// settlePause is how long a freeze waits between two looks at whether
// everything under way has ended.
const settlePause = time.Millisecond

// ErrBusy says that something was under way that a hand-over cannot describe.
// It passes: the freeze is worth trying again.
var ErrBusy = errors.New("loop: something is under way that cannot be handed over")

// A Frozen is a server whose event loops stand still: they read nothing, write
// nothing and expire no timer. Each waits, inside of a task of its mailbox, for
// functions to run. Nothing has been changed, so Thaw has them go on as if
// nothing had been. Owned by the goroutine that called Freeze.
type Frozen struct {
	server *Server
	loops  []*frozenLoop
	rest   Rest
}

// A Rest is what a freeze needs of those outside the event loops who give them
// something to do.
type Rest struct {
	// Hold has them give nothing more. It is called when the loops stand still.
	Hold func(ctx context.Context) error

	// Behind says what they have not finished of before; "" is nothing.
	Behind func() string
}

// A frozenLoop is how to have a frozen loop run something.
type frozenLoop struct {
	w    *worker
	do   chan func()
	done chan struct{} // has a token after each function
	list census        // of its connections; owned by the loop
}

// Freeze stops the event loops and waits until nothing is under way between
// them, or between them and goroutines that answer requests, or elsewhere, of
// which rest tells. On an error they go on.
func (s *Server) Freeze(ctx context.Context, rest Rest) (*Frozen, error) {
	f := &Frozen{server: s, rest: rest}
	arrived := make(chan struct{}, len(s.workers))
	for _, w := range s.workers {
		l := &frozenLoop{w: w, do: make(chan func()), done: make(chan struct{}, 1)}
		f.loops = append(f.loops, l)
		w.shard.Post(func(time.Time) { l.stand(arrived) })
	}
	for range f.loops {
		select {
		case <-arrived:
		case <-ctx.Done():
			f.Thaw()
			return nil, fmt.Errorf("%w: an event loop, which did not stop in time", ErrBusy)
		}
	}
	err := f.settle(ctx, f.asked)
	if err == nil {
		err = rest.Hold(ctx)
	}
	if err == nil {
		err = f.settle(ctx, f.underWay)
	}
	if err != nil {
		f.Thaw()
		return nil, err
	}
	return f, nil
}

// stand runs on the loop, from the freeze to the thaw.
func (l *frozenLoop) stand(arrived chan<- struct{}) {
	l.w.frozen = true
	arrived <- struct{}{}
	for f := range l.do {
		l.run(f)
	}
	l.w.frozen = false
}

func (l *frozenLoop) run(f func()) {
	defer func() { l.done <- struct{}{} }()
	defer l.w.recoverPanic("hand-over")
	f()
}

// each runs a function on all loops at once and waits for them.
func (f *Frozen) each(do func(*frozenLoop)) {
	for _, l := range f.loops {
		l.do <- func() { do(l) }
	}
	for _, l := range f.loops {
		<-l.done
	}
}

// Thaw has the loops go on.
func (f *Frozen) Thaw() {
	for _, l := range f.loops {
		close(l.do)
	}
}

// settle has the loops do what their mailboxes hold, which answers requests and
// fills queues, until left, which is told which of them wait for nobody, says
// that nothing is.
func (f *Frozen) settle(ctx context.Context, left func(quiet []bool) string) error {
	for {
		quiet := make([]bool, len(f.loops))
		f.each(func(l *frozenLoop) { quiet[l.w.index] = l.w.settleMail() })
		why := left(quiet)
		switch {
		case why == "":
			return nil
		case ctx.Err() != nil || f.server.moving.Load() > 0: // who moves needs a loop that runs
			return fmt.Errorf("%w: %s", ErrBusy, why)
		}
		time.Sleep(settlePause)
	}
}

// asked says what of the clients' has not ended.
func (f *Frozen) asked([]bool) string {
	s := f.server
	if n := s.moving.Load(); n > 0 {
		return fmt.Sprintf("%d connections on their way between event loops", n)
	}
	if n := s.admin.authorised.batches.Load() + s.admin.others.batches.Load(); n > 0 {
		return fmt.Sprintf("%d requests being answered", n)
	}
	if n := s.config.Hub.Consulting(); n > 0 {
		return fmt.Sprintf("%d tokens, joins or returns being decided", n)
	}
	return ""
}

// underWay says what has not ended, "" when everything has.
func (f *Frozen) underWay(quiet []bool) string {
	if why := f.asked(quiet); why != "" {
		return why
	}
	if why := f.rest.Behind(); why != "" { // before the mailboxes, which it fills
		return why
	}
	for i, ok := range quiet {
		if pending := f.loops[i].w.shard.Pending(); !ok || pending > 0 {
			return fmt.Sprintf("%d messages between event loops", pending)
		}
	}
	return ""
}

// settleMail does what the mailbox holds, and reports whether no socket waits
// for other nodes.
func (w *worker) settleMail() bool {
	now := time.Now()
	w.turned(now)
	for w.shard.Pending() > 0 {
		w.shard.Tasks(now)
		w.shard.Drain(math.MaxInt)
	}
	return w.shard.Settled()
}
