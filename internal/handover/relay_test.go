package handover

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A relay is a process between giver and taker. It passes frames and
// descriptors on, prints each frame, and does fault to one of the two at a
// certain frame. What a process wrote before it died still arrives. The relay is
// a process of its own because the taker looks whether the process at the other
// end is dead: the relay ends when the giver does.
type relay struct {
	cmd   *exec.Cmd
	in    io.WriteCloser // the relay ends when it is closed
	done  chan struct{}
	mu    sync.Mutex // guards the following
	seen  map[kind]bool
	ended map[bool]bool // the taker, and the giver, say no more
	holds bool
}

// relayVariable holds a relayOrder for a test binary that is to be a relay.
const relayVariable = "HANDOVER_RELAY"

// A relayOrder is what a relay is to do.
type relayOrder struct {
	Listen string // where the taker connects
	Target string // where the giver listens
	Fault  *fault // nil: none
	Hold   kind   // the first frame of this kind is passed on when goOn is called; 0: none
}

// A fault is a signal that one side of a hand-over is sent.
type fault struct {
	Taker  bool // to the taker; else to the giver
	Signal syscall.Signal
	Pause  time.Duration // before it may go on, of SIGSTOP
	At     kind          // when the first frame of this kind has come
	Passed bool          // and has been passed on
}

func (h *fault) String() string {
	if h == nil {
		return "no fault"
	}
	side, when := "giver", "before"
	if h.Taker {
		side = "taker"
	}
	if h.Passed {
		when = "behind"
	}
	return fmt.Sprintf("signal %d to the %s, for %v, %s %s", h.Signal, side, h.Pause, when, kindNames[h.At])
}

var kindNames = [...]string{
	kindHello: "hello", kindGo: "go", kindReady: "ready", kindPart: "a part", kindDescriptors: "descriptors", kindNode: "the node",
	kindEnd: "the end", kindReceived: "received", kindReleased: "released", kindOwned: "owned", kindServing: "serving", kindDone: "done",
}

// startRelay starts a relay and waits until it listens.
func startRelay(t *testing.T, order relayOrder) *relay {
	t.Helper()
	text, err := json.Marshal(order)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), relayVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{cmd: cmd, in: in, done: make(chan struct{}), seen: make(map[kind]bool), ended: make(map[bool]bool)}
	t.Cleanup(r.close)
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "listening" {
		t.Fatalf("the relay says %q", lines.Text())
	}
	go func() {
		defer close(r.done)
		for lines.Scan() {
			r.note(lines.Text())
		}
		_ = cmd.Wait()
	}()
	return r
}

func (r *relay) note(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch line {
	case saysHold:
		r.holds = true
	case saysEnd(true):
		r.ended[true] = true
	case saysEnd(false):
		r.ended[false] = true
	default:
		var k kind
		_, _ = fmt.Sscan(line, &k)
		r.seen[k] = true
	}
}

// What a relay prints beside the numbers of frames.
const saysHold = "hold"

func saysEnd(taker bool) string { return fmt.Sprint("end of the taker: ", taker) }

// close ends the relay. Everything that it has seen is known then.
func (r *relay) close() {
	r.in.Close()
	<-r.done
}

// passed reports whether a frame of this kind has come.
func (r *relay) passed(k kind) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen[k]
}

// holding reports whether the frame has come that is not passed on yet.
func (r *relay) holding() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.holds
}

// goOn has that frame passed on.
func (r *relay) goOn() { _, _ = r.in.Write([]byte{'\n'}) }

// hasHeardAll reports whether everything that a side said has come.
func (r *relay) hasHeardAll(taker bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ended[taker]
}

// A relaying is the relay, in its process.
type relaying struct {
	order relayOrder
	taker *Wire
	giver *Wire
	once  sync.Once // the fault
	held  sync.Once
	pause sync.WaitGroup // for which a process stands still
	goOn  chan struct{}  // has a token when the frame may be passed on
}

// relayMain is the program of a relay.
func relayMain(text string) int {
	r := &relaying{goOn: make(chan struct{}, 1)}
	err := json.Unmarshal([]byte(text), &r.order)
	if err == nil {
		err = r.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "relay:", err)
		return 1
	}
	return 0
}

func (r *relaying) run() error {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: r.order.Listen, Net: "unix"})
	if err != nil {
		return err
	}
	l.SetUnlinkOnClose(false) // the path may be the taker's by then
	go func() {
		var one [1]byte
		for {
			if _, err := os.Stdin.Read(one[:]); err != nil {
				os.Exit(0)
			}
			r.goOn <- struct{}{}
		}
	}()
	fmt.Println("listening")
	conn, err := l.AcceptUnix()
	if err != nil {
		return err
	}
	if r.taker, err = newWire(conn); err != nil {
		return err
	}
	if r.giver, err = Dial(r.order.Target); err != nil {
		return err
	}
	go r.pass(r.taker, r.giver)
	r.pass(r.giver, r.taker)
	for !r.giver.dead(time.Hour) {
	}
	r.pause.Wait()
	return nil // the taker looks whether the giver is dead
}

// pass passes on what from says, until that ends.
func (r *relaying) pass(from, to *Wire) {
	for {
		k, body, fds, err := from.next(time.Hour)
		if err != nil {
			fmt.Println(saysEnd(from == r.taker))
			_ = to.conn.CloseWrite()
			_ = to.conn.CloseRead()
			return
		}
		fmt.Println(k)
		if k == r.order.Hold {
			r.held.Do(func() {
				fmt.Println(saysHold)
				<-r.goOn
			})
		}
		r.strike(k, false)
		if k == kindDescriptors || k == kindFresh {
			_ = to.sendDescriptors(k, fds, time.Hour)
			closeAll(fds)
		} else {
			_ = to.send(k, body, time.Hour)
		}
		r.strike(k, true)
	}
}

// strike does the fault if this is its instant.
func (r *relaying) strike(k kind, passed bool) {
	h := r.order.Fault
	if h == nil || k != h.At || passed != h.Passed {
		return
	}
	r.once.Do(func() {
		victim := r.giver
		if h.Taker {
			victim = r.taker
		}
		if unix.Kill(victim.pid, h.Signal) != nil {
			return // it has ended
		}
		if h.Signal == unix.SIGKILL {
			victim.dead(time.Hour)
			return
		}
		for !stopped(victim.pid) {
			time.Sleep(time.Millisecond)
		}
		r.pause.Go(func() {
			time.Sleep(h.Pause)
			_ = unix.Kill(victim.pid, unix.SIGCONT)
		})
	})
}

// stopped reports whether a process stands still, or has ended.
func stopped(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, _ := strings.Cut(string(stat), ") ")
	return err != nil || strings.HasPrefix(state, "T") || strings.HasPrefix(state, "Z")
}
