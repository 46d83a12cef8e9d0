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

// relay is a process between giver and taker. It forwards frames and descriptors,
// prints each frame, and applies a fault to one side at a certain frame. What a
// process sent before it died still arrives. It is a process of its own because the
// taker checks whether the process at the other end is dead: the relay ends when the
// giver does.
type relay struct {
	cmd   *exec.Cmd
	in    io.WriteCloser // the relay ends when it is closed
	done  chan struct{}
	mu    sync.Mutex // guards the following
	seen  map[kind]bool
	ended map[bool]bool // true: the taker, false: the giver has closed its side
	holds bool
}

// relayVariable has a relayOrder for a test binary that runs as a relay.
const relayVariable = "HANDOVER_RELAY"

// relayOrder configures a relay.
type relayOrder struct {
	Listen string // where the taker connects
	Target string // where the giver listens
	Fault  *fault // nil: none
	Hold   kind   // the first frame of this kind is forwarded when goOn is called; 0: none is held
}

// fault is a signal sent to one side of a hand-over.
type fault struct {
	Taker  bool // to the taker; otherwise to the giver
	Signal syscall.Signal
	Pause  time.Duration // time from SIGSTOP to SIGCONT
	At     kind          // the signal is sent at the first frame of this kind
	Passed bool          // after that frame was forwarded; otherwise before
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
		t.Fatalf("the relay printed %q, want listening", lines.Text())
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

// Lines that a relay prints besides the numbers of frames.
const saysHold = "hold"

func saysEnd(taker bool) string { return fmt.Sprint("end of the taker: ", taker) }

// close ends the relay and waits until its output was read.
func (r *relay) close() {
	r.in.Close()
	<-r.done
}

// passed reports whether a frame of this kind has passed.
func (r *relay) passed(k kind) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen[k]
}

// holding reports whether the relay holds the frame of kind Hold.
func (r *relay) holding() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.holds
}

// goOn lets the relay forward the held frame.
func (r *relay) goOn() { _, _ = r.in.Write([]byte{'\n'}) }

// hasHeardAll reports whether everything that a side sent has arrived.
func (r *relay) hasHeardAll(taker bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ended[taker]
}

// relaying is the relay in its own process.
type relaying struct {
	order relayOrder
	taker *Wire
	giver *Wire
	once  sync.Once // the fault
	held  sync.Once
	pause sync.WaitGroup // counts paused processes
	goOn  chan struct{}  // gets a token when the held frame may be forwarded
}

// relayMain is the main function of a relay.
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
	l.SetUnlinkOnClose(false) // the path may belong to the taker by then
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
	return nil // the taker checks whether the giver is dead
}

// pass forwards frames from one side to the other until the first one ends.
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
		r.applyFault(k, false)
		if k == kindDescriptors || k == kindFresh {
			_ = to.sendDescriptors(k, fds, time.Hour)
			closeAll(fds)
		} else {
			_ = to.send(k, body, time.Hour)
		}
		r.applyFault(k, true)
	}
}

// applyFault applies the fault if k and passed match it.
func (r *relaying) applyFault(k kind, passed bool) {
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
			return // the process has ended
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

// stopped reports whether a process is stopped or has ended.
func stopped(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, _ := strings.Cut(string(stat), ") ")
	return err != nil || strings.HasPrefix(state, "T") || strings.HasPrefix(state, "Z")
}
