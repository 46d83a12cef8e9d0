package load

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/rpc"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

// Result is what one phase measured and whether it was right.
type Result struct {
	Elapsed time.Duration
	CPU     time.Duration // of the worker
	Units   uint64        // deliveries, connections, cycles
	Events  uint64        // what was sent to cause them
	Least   uint64        // resume: units of the connection that got least; idle: pings
	Pings   uint64
	Back    uint64   // crowd: connections that came back
	Resumed uint64   // of them, those that were recovered
	Told    uint64   // events that the others have missed, and were told so
	Heard   []uint64 // gather: by room, a bit for each worker whose joiner was heard of

	Lost, Doubled, Swapped, Strays uint64
	Closed                         uint64 // connections the server closed
	Failures                       uint64 // protocol errors, failed handshakes
	Problems                       []string
	Latency                        *hdrhistogram.Snapshot // microseconds; nil if nothing was timed
}

// Wrong sums up everything that must be zero in a right run.
func (r *Result) Wrong() uint64 {
	return r.Lost + r.Doubled + r.Swapped + r.Strays + r.Closed + r.Failures
}

// SetupArgs configure a worker, once.
type SetupArgs struct {
	Addrs   []string // host:port of the servers
	Secret  string   // of the tokens
	Key     string   // instead of it: PEM of a private key
	Alg     string   // that Key signs with
	Claims  string   // further ones, as JSON members with a comma before each
	Dialect string   // "socketio" or "centrifuge"
	Max     int      // connections this worker will hold
	Source  byte     // distinguishes the workers' source addresses
	Home    bool     // all connections go to the first of Addrs, instead of to all in turn
}

// DialArgs open connections First to Last-1. Connection i goes to server
// i mod len(Addrs) and speaks for user FirstUser + i/PerUser.
type DialArgs struct {
	First, Last int32
	Window      int // handshakes at a time
	FirstUser   int32
	PerUser     int32
	Polling     bool    // long-polling first, then upgrade
	Rate        float64 // handshakes begun per second; 0: as the window allows
	Ask         int32   // connections below it ask for recovery
}

// JoinArgs let connections First to Last-1 join rooms of RoomSize.
type JoinArgs struct {
	First, Last         int32
	FirstRoom, RoomSize int32
	Window              int // joins without ack at a time; 0: all at once
}

// FanoutArgs send events to the room that connections First to Last-1 are in.
// One of Window, Burst and Rate says how.
type FanoutArgs struct {
	Source      Source
	First, Last int32
	Publisher   int32   // the connection that types; not one of the members
	Target      int     // the server that events are posted to
	Token       string  // for posting
	Room        int32   // for typing and room
	User        int32   // for user
	Window      int     // events under way
	Burst       int     // events sent at once when nothing is under way
	Rate        float64 // events per second
	Pad         int     // bytes of filling per posted event
	For         time.Duration
	Expect      uint32 // listen: events that somebody else publishes
	StallFirst  int32
	StallLast   int32 // members that stop reading at the start
}

// ChatArgs let the pairs among connections First to Last-1 type to each other.
type ChatArgs struct {
	First, Last int32
	Window      int     // events under way, fewer than connections
	Rate        float64 // events per second in all; 0: saturated
	For         time.Duration
}

// ChurnArgs let slots First to Last-1 connect and go for a while.
type ChurnArgs struct {
	First, Last int32
	FirstUser   int32
	For         time.Duration
}

// ResumeArgs let the stalled among First to Last-1 read again until Quiet has
// passed without a byte.
type ResumeArgs struct {
	First, Last int32
	Quiet       time.Duration
}

// Worker is the RPC service of one load process. One command runs at a time.
type Worker struct {
	mu   sync.Mutex
	loop *Loop
}

// Serve runs a worker on in and out until in ends.
func Serve(in io.ReadCloser, out io.WriteCloser) error {
	debug.SetGCPercent(-1) // phases allocate next to nothing; between them Collect runs
	loop, err := newLoop()
	if err != nil {
		return err
	}
	server := rpc.NewServer()
	if err := server.Register(&Worker{loop: loop}); err != nil {
		return err
	}
	server.ServeConn(pipe{in, out})
	return nil
}

// A pipe is the two ends of a stream to the parent process.
type pipe struct {
	io.ReadCloser
	io.Writer
}

// Setup says whom to connect to and as whom.
func (w *Worker) Setup(args SetupArgs, _ *Result) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.loop
	l.targets, l.hosts = nil, nil
	for _, addr := range args.Addrs {
		tcp, err := net.ResolveTCPAddr("tcp4", addr)
		if err != nil {
			return fmt.Errorf("address %q: %w", addr, err)
		}
		l.targets = append(l.targets, unix.SockaddrInet4{Port: tcp.Port, Addr: [4]byte(tcp.IP.To4())})
		l.hosts = append(l.hosts, addr)
	}
	switch args.Dialect {
	case "socketio":
		l.dialect = socketIO{}
	case "centrifuge":
		l.dialect = centrifuge{}
	default:
		return fmt.Errorf("dialect %q: want socketio or centrifuge", args.Dialect)
	}
	if err := l.minter.use(args); err != nil {
		return err
	}
	l.source = args.Source
	l.conns = make([]conn, args.Max)
	for i := range l.conns {
		l.conns[i] = conn{fd: -1, room: -1, target: uint8(i % len(args.Addrs))}
		if args.Home {
			l.conns[i].target = 0
		}
	}
	return nil
}

// finisher is a phase with something to report.
type finisher interface {
	phase
	finish(r *Result)
}

// measure runs one phase and fills in r.
func (w *Worker) measure(r *Result, p phase) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // per thread; 50 us by default
	l := w.loop
	l.failures, l.problems, l.pings = 0, nil, 0
	began, cpu := clock(), cpuTime()
	if err := l.run(p); err != nil {
		return err
	}
	r.Elapsed, r.CPU = time.Duration(clock()-began), cpuTime()-cpu
	if f, ok := p.(finisher); ok {
		f.finish(r)
	}
	r.Pings = l.pings
	r.Failures = l.failures
	r.Problems = append(r.Problems, l.problems...)
	return nil
}

func cpuTime() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts)
	return time.Duration(ts.Nano())
}

// Dial opens connections; Units is how many.
func (w *Worker) Dial(args DialArgs, r *Result) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.loop
	for i := args.First; i < args.Last; i++ {
		l.conns[i].user = args.FirstUser + i/args.PerUser
	}
	l.sessions.ask(args.First, min(args.Ask, args.Last))
	l.minter.mint(l.conns[args.First].user, l.conns[args.Last-1].user+1)
	defer l.minter.forget()
	d := &dialer{l: l, args: args, next: args.First, last: args.Last, times: newRecorder()}
	if err := w.measure(r, d); err != nil {
		return err
	}
	r.Units, r.Events = uint64(d.open), uint64(args.Last-args.First)
	r.Latency = d.times.h.Export()
	return nil
}

// Join measures a join storm; Units is the user_joined received.
func (w *Worker) Join(args JoinArgs, r *Result) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.measure(r, newJoiner(w.loop, args))
}

// Fanout measures one room; Units is deliveries, Events what was sent.
func (w *Worker) Fanout(args FanoutArgs, r *Result) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := args.StallFirst; i < args.StallLast; i++ {
		if err := w.loop.stall(&w.loop.conns[i]); err != nil {
			return err
		}
	}
	if args.Source == SourceUser || args.Source == SourceRoom {
		if err := w.loop.openPublisher(args.Target, args.Token); err != nil {
			return err
		}
		defer w.loop.closePublisher()
	}
	return w.measure(r, newFanout(w.loop, args))
}

// Chat measures rooms of two; Units is the typings received.
func (w *Worker) Chat(args ChatArgs, r *Result) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.measure(r, newChat(w.loop, args))
}

// Churn measures connections that come and go; Units is how many came.
func (w *Worker) Churn(args ChurnArgs, r *Result) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.loop
	for i := args.First; i < args.Last; i++ {
		l.conns[i].user = args.FirstUser + i
	}
	l.minter.mint(args.FirstUser+args.First, args.FirstUser+args.Last)
	defer l.minter.forget()
	return w.measure(r, newChurner(l, args))
}

// Idle lets clients answer pings for a while; Pings is how many came, Least
// how many the connection that got least.
func (w *Worker) Idle(length time.Duration, r *Result) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.measure(r, newIdler(w.loop, length))
}

// Resume lets stalled clients read on; see resumer.
func (w *Worker) Resume(args ResumeArgs, r *Result) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	p, err := newResumer(w.loop, args)
	if err != nil {
		return err
	}
	return w.measure(r, p)
}

// Gather lets connections join rooms with those of the other workers; Units is
// the user_joined received.
func (w *Worker) Gather(args GatherArgs, r *Result) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.measure(r, newGatherer(w.loop, args))
}

// Cut closes connections First to Last-1 without a goodbye.
func (w *Worker) Cut(args Range, _ *Result) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := args.First; i < args.Last; i++ {
		w.loop.drop(&w.loop.conns[i])
	}
	return nil
}

// Crowd has all connections get what was drawn for them, and brings back those
// that are closed; Units is the events received.
func (w *Worker) Crowd(args CrowdArgs, r *Result) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.loop
	if args.Back.Last > args.Back.First || args.Killed != "" {
		l.minter.mint(l.conns[0].user, l.conns[len(l.conns)-1].user+1)
		defer l.minter.forget()
	}
	return w.measure(r, newCrowd(l, args))
}

// Hangup closes every connection.
func (w *Worker) Hangup(_ int, _ *Result) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.loop.conns {
		w.loop.drop(&w.loop.conns[i])
	}
	return nil
}

// Resident collects garbage and tells the process's resident bytes.
func (w *Worker) Resident(_ int, rss *int64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	debug.FreeOSMemory()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return err
	}
	fields := bytes.Fields(b)
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	*rss = pages * int64(os.Getpagesize())
	return err
}

// Sum adds up what several workers measured at the same time.
func Sum(results []*Result) *Result {
	sum := new(Result)
	var h *hdrhistogram.Histogram
	for i, r := range results {
		if i == 0 || r.Least < sum.Least {
			sum.Least = r.Least
		}
		sum.Elapsed = max(sum.Elapsed, r.Elapsed)
		sum.CPU += r.CPU
		sum.Units += r.Units
		sum.Events += r.Events
		sum.Pings += r.Pings
		sum.Back += r.Back
		sum.Resumed += r.Resumed
		sum.Told += r.Told
		sum.Lost += r.Lost
		sum.Doubled += r.Doubled
		sum.Swapped += r.Swapped
		sum.Strays += r.Strays
		sum.Closed += r.Closed
		sum.Failures += r.Failures
		sum.Problems = append(sum.Problems, r.Problems...)
		if r.Latency == nil {
			continue
		}
		if one := hdrhistogram.Import(r.Latency); h == nil {
			h = one
		} else {
			h.Merge(one)
		}
	}
	if h != nil {
		sum.Latency = h.Export()
	}
	return sum
}
