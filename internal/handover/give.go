package handover

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hometrip/gateway/internal/handover/form"
)

// A Hello is what a taker says about itself.
type Hello struct {
	Form    int    `json:"form"`    // version of the binary form
	Version string `json:"version"` // of the program
	Pid     int    `json:"pid"`
	Loops   int    `json:"loops"`
	Digest  string `json:"digest"` // of the settings that must be equal
}

// A Welcome is the giver's answer to a Hello.
type Welcome struct {
	Loops    int           `json:"loops"`
	Watchdog time.Duration `json:"watchdog"` // of the service manager; 0: none
	Sessions int64         `json:"sessions"`
	Log      LogPlace      `json:"log"`
	Cluster  *NodePlace    `json:"cluster,omitempty"` // nil: without Redis
}

// A LogPlace is how far a giver has read the log of the services' events. It is
// empty if the log ends with the process.
type LogPlace struct {
	Where    string `json:"where"` // a name for where the settings lead
	Identity string `json:"identity"`
	Position uint64 `json:"position"`
	Reading  bool   `json:"reading"` // it can be read now
}

// A NodePlace is a giver's identity among the nodes.
type NodePlace struct {
	Where     string `json:"where"`
	Number    uint32 `json:"number"`
	Name      string `json:"name"`
	Session   int64  `json:"session"`
	Connected bool   `json:"connected"`
}

// A Part is a portion of what one event loop hands over.
type Part struct {
	Body        []byte
	Descriptors []int
	Sessions    int
}

// A GiverHost is the process that hands over, in the form that the driver uses.
// Its methods are called by one goroutine.
type GiverHost interface {
	// Fits reports whether h can take over. An error for which errors.Is(err,
	// ErrDrain) holds means that it can serve, but not take over connections.
	Fits(h *Hello) error
	Welcome() Welcome
	// Hold makes the kernel give new connections to this process from now on,
	// also if the hand-over fails: a taker that is suspended still listens.
	Hold(loops int) error
	Freeze(ctx context.Context) error // ErrBusy-like errors are tried again
	Thaw()
	// State describes everything, and calls send with each part as soon as it is
	// described.
	State(send func(Part) error) (node []byte, err error)
	Yield()                   // the connections are the taker's
	PassOn() error            // has the kernel give new connections to the taker
	LetGo(fresh func(fd int)) // closes the connections and thaws; new ones go to fresh
	Busy(err error) bool
}

// ErrDrain means that a taker can serve in this process's place, but not take
// over its connections.
var ErrDrain = errors.New("handover: the connections cannot be handed over")

// An Outcome is how a hand-over ended, for the giver.
type Outcome struct {
	Gone     bool // this process serves nobody any more, and should end
	Drain    bool // it should drain, the successor serves
	Sessions int
	Conns    int
	Bytes    int
	Freeze   time.Duration // until the event loops stood still and nothing was under way
	Send     time.Duration // of the state, behind that
	Pause    time.Duration // from the freeze to the taker's ownership
	Err      error         // why it came to nothing, or why Drain
}

// giving is one hand-over, for the giver. Owned by its goroutine.
type giving struct {
	core Giver
	wire *Wire
	host GiverHost
	pace Pace
	log  *slog.Logger

	hello   Hello
	frozen  time.Time
	out     Outcome
	sum     uint32
	freshMu sync.Mutex // keeps descriptors behind one another on the wire

	lonely     chan struct{} // closed when the taker does not take what comes any more
	lonelyOnce sync.Once
}

// Give communicates with the taker at the other end until it is decided which
// process serves.
func Give(ctx context.Context, conn *net.UnixConn, host GiverHost, pace Pace, log *slog.Logger) Outcome {
	wire, err := newWire(conn)
	if err != nil {
		conn.Close()
		return Outcome{Err: err}
	}
	defer wire.Close()
	g := &giving{wire: wire, host: host, pace: pace, log: log, lonely: make(chan struct{})}
	for !g.core.Ended() {
		g.do(ctx, g.core.Step(g.listen(ctx)))
	}
	return g.out
}

// limit returns how long the taker may be silent in this phase.
func (g *giving) limit() time.Duration {
	switch g.core.phase {
	case giverGreeted:
		return g.pace.Hello
	case giverWaits:
		return g.pace.Build
	case giverSent:
		return max(g.pace.State-time.Since(g.frozen), 0)
	case giverReleased:
		return time.Hour // only the taker's word or its end decides
	}
	return g.pace.Finish
}

// listen waits for the taker's next frame and returns it as an event.
func (g *giving) listen(ctx context.Context) Event {
	k, body, err := g.read(ctx)
	if err != nil {
		g.note(fmt.Errorf("the successor in phase %d: %w", g.core.phase, err))
		if timeout(err) {
			return Timeout
		}
		return PeerGone
	}
	switch k {
	case kindHello:
		return g.greeted(body)
	case kindReady:
		return PeerReady
	case kindReceived:
		if len(body) == 12 && int(binary.LittleEndian.Uint64(body)) == g.out.Conns && binary.LittleEndian.Uint32(body[8:]) == g.sum {
			return PeerReceived
		}
		g.note(errors.New("the successor has received something else"))
		return PeerFailed
	case kindOwned:
		return PeerOwns
	case kindServing:
		return PeerServes
	case kindDone:
		return PeerDone
	}
	g.note(fmt.Errorf("the successor: %s", body))
	return PeerFailed
}

// read reads the taker's next frame. As long as nothing has changed, the end of
// ctx ends the wait.
func (g *giving) read(ctx context.Context) (k kind, body []byte, err error) {
	until := time.Now().Add(g.limit())
	for {
		slice := time.Until(until)
		if g.core.Serves() {
			slice = min(slice, readSlice)
		}
		k, body, _, err = g.wire.next(max(slice, 0))
		if err == nil || !timeout(err) || !g.core.Serves() || time.Now().After(until) || ctx.Err() != nil {
			return k, body, err
		}
	}
}

// readSlice is the interval at which a wait checks whether the process is to
// end.
const readSlice = 200 * time.Millisecond

func timeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

func (g *giving) greeted(body []byte) Event {
	if err := json.Unmarshal(body, &g.hello); err != nil {
		g.note(fmt.Errorf("the successor's greeting: %w", err))
		return HelloRefused
	}
	err := g.host.Fits(&g.hello)
	if err == nil && g.hello.Form != form.Version {
		err = fmt.Errorf("%w: version %d of the form, this process writes %d", ErrDrain, g.hello.Form, form.Version)
	}
	if err == nil {
		if err = g.host.Hold(g.hello.Loops); err != nil {
			err = fmt.Errorf("%w: %w", ErrDrain, err)
		}
	}
	g.note(err)
	switch {
	case err == nil:
		return HelloFits
	case errors.Is(err, ErrDrain):
		return HelloDrains
	}
	return HelloRefused
}

// note records the first reason for which the hand-over fails.
func (g *giving) note(err error) {
	if g.out.Err == nil {
		g.out.Err = err
	}
}

func (g *giving) do(ctx context.Context, actions []Action) {
	for _, a := range actions {
		switch a {
		case SayGo:
			body, _ := json.Marshal(g.host.Welcome())
			g.say(kindGo, body)
		case SayRefuse:
			g.say(kindRefuse, []byte(g.why()))
		case SayDrain:
			g.say(kindDrain, []byte(g.why()))
		case SayAbort:
			g.say(kindAbort, []byte(g.why()))
		case Freeze:
			g.next(ctx, g.freeze(ctx))
		case SendState:
			g.next(ctx, g.sendState())
		case SayReleased:
			err := g.wire.send(kindReleased, binary.LittleEndian.AppendUint64(nil, uint64(time.Since(g.frozen))), writeLimit)
			if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
				g.note(err)
				g.next(ctx, WriteFailed)
			}
		case Thaw:
			g.host.Thaw()
		case Yield:
			g.out.Pause, g.out.Gone, g.out.Err = time.Since(g.frozen), true, nil
			g.host.Yield()
		case PassOn:
			if err := g.host.PassOn(); err != nil {
				g.log.Warn("the port was not left as it should be, connections may be refused", "error", err)
			}
		case LetGo:
			g.letGo(ctx)
		case Drain:
			g.out.Drain = true
		}
	}
}

// next returns the event that is the result of an action.
func (g *giving) next(ctx context.Context, e Event) { g.do(ctx, g.core.Step(e)) }

func (g *giving) why() string {
	if g.out.Err == nil {
		return "the other side has ended"
	}
	return g.out.Err.Error()
}

// say sends a short frame. If it cannot be sent, the missing answer shows that.
func (g *giving) say(k kind, body []byte) {
	if err := g.wire.send(k, body, writeLimit); err != nil {
		g.note(err)
	}
}

// freeze stops the event loops once nothing is under way.
func (g *giving) freeze(ctx context.Context) Event {
	var err error
	for range attempts {
		g.frozen = time.Now()
		limited, cancel := context.WithTimeout(ctx, g.pace.Settle)
		err = g.host.Freeze(limited)
		cancel()
		if err == nil {
			g.out.Freeze = time.Since(g.frozen)
			return FreezeDone
		}
		if !g.host.Busy(err) {
			break
		}
		time.Sleep(attemptPause)
	}
	g.note(err)
	return FreezeFailed
}

// sendState sends the whole state, and a checksum.
func (g *giving) sendState() Event {
	deadline := g.frozen.Add(g.pace.State)
	node, err := g.host.State(func(p Part) error { return g.sendPart(&p, deadline) })
	if err != nil {
		g.note(err)
		return StateFailed
	}
	g.sum = crc32.Update(g.sum, crc32.IEEETable, node)
	end := binary.LittleEndian.AppendUint64(nil, uint64(g.out.Conns))
	end = binary.LittleEndian.AppendUint32(end, g.sum)
	if err = g.wire.send(kindNode, node, time.Until(deadline)); err == nil {
		err = g.wire.send(kindEnd, end, time.Until(deadline))
	}
	if err != nil {
		g.note(err)
		return WriteFailed
	}
	g.out.Send = time.Since(g.frozen) - g.out.Freeze
	return StateSent
}

// sendPart sends a part after its descriptors.
func (g *giving) sendPart(p *Part, deadline time.Time) error {
	for fds := p.Descriptors; len(fds) > 0; {
		n := min(len(fds), maxDescriptors)
		if err := g.wire.sendDescriptors(kindDescriptors, fds[:n], time.Until(deadline)); err != nil {
			return err
		}
		fds = fds[n:]
	}
	g.sum = crc32.Update(g.sum, crc32.IEEETable, p.Body)
	g.out.Conns += len(p.Descriptors)
	g.out.Sessions += p.Sessions
	g.out.Bytes += len(p.Body)
	return g.wire.send(kindPart, p.Body, time.Until(deadline))
}

// fresh passes on a connection that was accepted after the hand-over.
func (g *giving) fresh(fd int) {
	g.freshMu.Lock()
	defer g.freshMu.Unlock()
	defer unix.Close(fd)
	if err := g.wire.sendDescriptors(kindFresh, []int{fd}, writeLimit); err != nil {
		g.lonelyOnce.Do(func() {
			g.log.Warn("new connections cannot be passed on: the successor has ended", "error", err)
			close(g.lonely)
		})
	}
}

// letGo closes the connections, and waits for new ones that still arrive here.
func (g *giving) letGo(ctx context.Context) {
	g.host.LetGo(g.fresh)
	select {
	case <-time.After(g.pace.Tail):
	case <-g.lonely:
	case <-ctx.Done():
	}
}
