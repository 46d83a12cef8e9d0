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

// ErrBusy is the error if something is under way that a hand-over cannot
// describe. It passes, so the freeze can be tried again.
var ErrBusy = errors.New("loop: something is under way that cannot be handed over")

// A Frozen is a server whose event loops are stopped: they read nothing, write
// nothing and expire no timer. Each waits, inside a task of its mailbox, for
// functions to run. Nothing has been changed, so after Thaw they continue as if
// nothing had happened. Owned by the goroutine that called Freeze.
type Frozen struct {
	server *Server
	loops  []*frozenLoop
	rest   Rest
}

// A Rest stands for the goroutines outside the event loops that give them work.
type Rest struct {
	// Hold stops them. It is called when the loops are stopped.
	Hold func(ctx context.Context) error

	// Behind describes work that they have not finished; "" is none.
	Behind func() string
}

// A frozenLoop runs functions on a frozen loop.
type frozenLoop struct {
	w    *worker
	do   chan func()
	done chan struct{} // has a token after each function
	list census        // of its connections; owned by the loop
}

// Freeze stops the event loops. It waits until nothing is under way between
// them, in goroutines that answer requests, or in rest. On an error the loops
// continue.
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

// stand runs on the loop from the freeze to the thaw.
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

// Thaw lets the loops continue.
func (f *Frozen) Thaw() {
	for _, l := range f.loops {
		close(l.do)
	}
}

// settle runs the tasks in the mailboxes, which answers requests and fills
// queues, until left returns "". left gets the loops that wait for nothing.
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

// asked describes requests of clients that have not ended, "" if there are
// none.
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

// underWay describes what has not ended, "" if everything has.
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

// settleMail runs the tasks in the mailbox. It reports whether no socket waits
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
