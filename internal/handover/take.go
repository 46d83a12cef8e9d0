package handover

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hometrip/gateway/internal/handover/form"
)

// A State is the part of the giver's state that has arrived.
type State struct {
	Portions []*form.Loop // with the descriptors of this process
	Node     *form.Node
	Bytes    int
}

// A TakerHost is the process that takes over, in the form that the driver uses.
type TakerHost interface {
	Hello() Hello
	Build(ctx context.Context, w Welcome) error // builds everything and listens
	Fits(e *State) error                        // looks through it, takes nothing
	// Own takes over the state, after the event loops were stopped for paused.
	// It calls begun when the sessions are in their rooms.
	Own(e *State, paused time.Duration, begun func()) error
	Fresh(fd int) // a new connection that had come to the giver
	GiverDied()   // what it has said to the kernel about new connections is void
}

// A Verdict is how a hand-over ended, for the taker.
type Verdict struct {
	Owned bool  // what the giver had is this process's
	Alone bool  // the giver drains, or is gone: serve
	Built bool  // Build has been called
	Err   error // neither: the giver serves on
	Why   error // for Alone
	Bytes int
}

// taking is one hand-over, for the taker. Owned by its goroutine.
type taking struct {
	core  Taker
	wire  *Wire
	host  TakerHost
	pace  Pace
	state State
	sum   uint32
	out   Verdict
	why   error

	welcome Welcome
	pending []int          // descriptors that belong to the next part
	fds     []int          // all of them
	reading sync.WaitGroup // of parts
	unfit   atomic.Pointer[error]
	passing bool // the wire is still read, by passOn
	paused  time.Duration
}

// Take communicates with the giver at the other end of w until it is decided
// which process serves, and then for as long as the giver passes on new
// connections.
func Take(ctx context.Context, w *Wire, host TakerHost, pace Pace) Verdict {
	t := &taking{wire: w, host: host, pace: pace}
	t.do(ctx, t.core.Start())
	for !t.core.Ended() {
		t.do(ctx, t.core.Step(t.listen()))
	}
	if !t.passing {
		t.drop()
		w.Close()
	}
	return t.out
}

// drop closes the descriptors of connections that are not taken over. The giver
// still has them.
func (t *taking) drop() {
	t.reading.Wait()
	closeAll(t.fds)
}

// build builds this process.
func (t *taking) build(ctx context.Context) Event {
	t.out.Built = true
	reserveDescriptors(t.welcome.Sessions)
	if err := t.host.Build(ctx, t.welcome); err != nil {
		t.why = err
		return BuildFailed
	}
	return BuildDone
}

// reserveDescriptors makes the kernel enlarge the table of this process's
// descriptors for those of so many sessions. The table grows by doubling, and
// each time the kernel waits until no processor reads the old one: 10 ms, in
// which clients would wait.
func reserveDescriptors(sessions int64) {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil || limit.Cur == 0 {
		return
	}
	highest := min(uint64(max(sessions, 0))+otherDescriptors, limit.Cur-1, math.MaxInt32)
	if fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, int(highest)); err == nil {
		unix.Close(fd)
	}
}

// otherDescriptors is how many descriptors a process may have besides those of
// the sessions that it takes over. A larger table costs time, as said above.
const otherDescriptors = 2000

// own takes over everything, and then new connections that still reach the
// giver.
func (t *taking) own() {
	t.out.Owned, t.out.Bytes, t.passing = true, t.state.Bytes, true
	t.out.Err = t.host.Own(&t.state, t.paused, func() { t.say(kindServing, nil) })
	t.say(kindDone, nil)
	t.state, t.fds = State{}, nil
	go t.passOn()
}

// passOn takes over the new connections that have reached the giver, until it
// ends.
func (t *taking) passOn() {
	defer t.wire.Close()
	for {
		k, _, fds, err := t.wire.next(t.pace.Finish)
		if err != nil {
			if t.wire.dead(t.pace.Finish) {
				t.host.GiverDied()
			}
			return
		}
		if k != kindFresh {
			closeAll(fds)
			continue
		}
		for _, fd := range fds {
			t.host.Fresh(fd)
		}
	}
}

func (t *taking) limit() time.Duration {
	if t.core.phase == takerGreets {
		return t.pace.Hello
	}
	// This is longer than the giver may take; the giver reports what happens.
	return 2 * (t.pace.Freeze*attempts/4 + t.pace.State)
}

// listen waits for the giver's next frame and returns it as an event.
func (t *taking) listen() Event {
	for {
		k, body, fds, err := t.wire.next(t.limit())
		if err != nil {
			return t.ended(err)
		}
		switch k {
		case kindDescriptors:
			t.pending, t.fds = append(t.pending, fds...), append(t.fds, fds...)
		case kindPart:
			t.part(body)
		case kindNode:
			_ = t.addSum(body)
			t.state.Node, err = form.ReadNode(body)
		case kindEnd:
			return t.complete(body)
		default:
			return t.word(k, body)
		}
		if err != nil {
			t.why = err
			return StateUnfit
		}
	}
}

// ended returns the meaning of an error of the connection. It must be certain
// that the giver is dead.
func (t *taking) ended(err error) Event {
	t.why = fmt.Errorf("the running gateway, in phase %d: %w", t.core.phase, err)
	if timeout(err) || errors.Is(err, errTruncated) {
		return Timeout
	}
	if t.wire.dead(t.pace.State) {
		return PeerGone
	}
	return Timeout
}

func (t *taking) word(k kind, body []byte) Event {
	switch k {
	case kindGo:
		if err := json.Unmarshal(body, &t.welcome); err != nil {
			t.why = err
			return StateUnfit
		}
		return GotGo
	case kindReleased:
		if len(body) == 8 {
			t.paused = time.Duration(binary.LittleEndian.Uint64(body))
		}
		return GotReleased
	case kindRefuse:
		t.why = fmt.Errorf("the running gateway refuses: %s", body)
		return GotRefused
	case kindDrain:
		t.why = fmt.Errorf("the running gateway drains: %s", body)
		return GotDrain
	case kindAbort:
		t.why = fmt.Errorf("the running gateway serves on: %s", body)
		return GotAbort
	}
	t.why = fmt.Errorf("a word of kind %d in phase %d", k, t.core.phase)
	return StateUnfit
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

func (t *taking) addSum(body []byte) uint32 {
	t.sum = crc32.Update(t.sum, crc32.IEEETable, body)
	t.state.Bytes += len(body)
	return t.sum
}

// part handles what an event loop hands over. It is parsed while the next part
// arrives.
func (t *taking) part(body []byte) {
	t.addSum(body)
	l, fds := &form.Loop{}, t.pending
	t.state.Portions, t.pending = append(t.state.Portions, l), nil
	t.reading.Go(func() {
		read, err := form.ReadLoop(body)
		if err == nil && len(read.Conns) != len(fds) {
			err = fmt.Errorf("%d connections with %d descriptors", len(read.Conns), len(fds))
		}
		if err != nil {
			t.unfit.Store(&err)
			return
		}
		for i := range read.Conns {
			read.Conns[i].FD = fds[i]
		}
		*l = *read
	})
}

// complete checks that everything has arrived and can be taken over.
func (t *taking) complete(body []byte) Event {
	t.reading.Wait()
	switch unfit := t.unfit.Load(); {
	case t.core.phase != takerWaits || len(body) != 12:
		t.why = errors.New("the state ends where it should not")
	case binary.LittleEndian.Uint64(body) != uint64(len(t.fds)) || binary.LittleEndian.Uint32(body[8:]) != t.sum:
		t.why = fmt.Errorf("the state of %d connections has arrived damaged", len(t.fds))
	case unfit != nil:
		t.why = *unfit
	case t.state.Node == nil:
		t.why = errors.New("the state has no node")
	default:
		if t.why = t.host.Fits(&t.state); t.why == nil {
			return StateFits
		}
	}
	return StateUnfit
}

func (t *taking) do(ctx context.Context, actions []Action) {
	for _, a := range actions {
		switch a {
		case SayHello:
			body, _ := json.Marshal(t.host.Hello())
			if err := t.wire.send(kindHello, body, writeLimit); err != nil {
				t.why = err
				t.do(ctx, t.core.Step(WriteFailed))
				return
			}
		case Build:
			t.do(ctx, t.core.Step(t.build(ctx)))
		case SayReady:
			t.say(kindReady, nil)
		case SayReceived:
			end := binary.LittleEndian.AppendUint64(nil, uint64(len(t.fds)))
			t.say(kindReceived, binary.LittleEndian.AppendUint32(end, t.sum))
		case SayFailed:
			t.say(kindFailed, []byte(t.reason().Error()))
		case SayOwned:
			t.say(kindOwned, nil)
		case Own:
			t.own()
		case ServeAlone:
			t.out.Alone, t.out.Why = true, t.why
		case GiveUp:
			t.out.Err = t.reason()
		}
	}
}

// say sends a frame. If the giver is gone, reading shows that.
func (t *taking) say(k kind, body []byte) { _ = t.wire.send(k, body, writeLimit) }

// reason returns why nothing is taken over.
func (t *taking) reason() error {
	if t.why == nil {
		return errors.New("the running gateway says what does not belong here")
	}
	return t.why
}
