package handover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/testkit"
)

const (
	handOversEach = 2 // hand-overs for each seed
	shortPause    = 300 * time.Millisecond
	longerThanOne = 5 * time.Second  // longer than the giver waits for the taker
	longerThanAll = 30 * time.Second // longer than the taker waits for the giver

	// long is a time in which two hand-overs, one paused for longerThanAll, end on a
	// busy machine.
	long = 4 * gatewaytest.Patience
)

// faults returns every fault at every step, and hand-overs without a fault, in a fixed
// random order.
func faults() (all []*fault) {
	for k := kindHello; k <= kindDone; k++ {
		switch k {
		case kindRefuse, kindDrain, kindAbort, kindFailed, kindFresh:
			continue // not sent in a hand-over that succeeds
		}
		for _, passed := range []bool{false, true} {
			for _, taker := range []bool{false, true} {
				all = append(all, &fault{taker, syscall.SIGKILL, 0, k, passed}, &fault{taker, syscall.SIGSTOP, shortPause, k, passed})
			}
			all = append(all, nil)
		}
	}
	rand.New(rand.NewPCG(1, 0)).Shuffle(len(all), func(i, k int) { all[i], all[k] = all[k], all[i] })
	return all
}

// faultOf returns the fault of the i-th hand-over. Some pauses are made longer.
func faultOf(i int) *fault {
	all := faults()
	h := all[i%len(all)]
	if h == nil || h.Signal != syscall.SIGSTOP {
		return h
	}
	longer := *h
	switch i % 61 {
	case 3, 13, 23, 33, 43, 53:
		longer.Pause = longerThanOne
	case 60:
		longer.Pause = longerThanAll
	}
	return &longer
}

// seededRun is a gateway with its clients and a stream of events, for the hand-overs of
// one seed. The test's goroutine owns it, except for what mu guards.
type seededRun struct {
	t      *testing.T
	r      *rand.Rand
	path   string               // HANDOVER_SOCKET
	now    *gatewaytest.Gateway // the process that serves
	url    string
	crowd  []*member
	conns  []*rawConn    // clients in the states of clientStates
	state  string        // the client state being checked, for messages
	begun  time.Time     // when that state began
	within time.Duration // as in clientState
	users  int

	mu     sync.Mutex     // guards the following
	sent   int            // number of the last event that was accepted
	failed map[int]error  // errors by number, of events that may or may not be delivered
	busy   sync.WaitGroup // goroutines that send the events and listen
}

// Hand-overs from seeds, with clients in every state, with several numbers of event
// loops, and with either process killed or paused at every step. As long as the
// process that has a client's connection lives, the client must lose no event, get
// none twice or out of order, and stay connected. In the end one process must serve.
// HANDOVERS=1000 runs that many; see docs/handover.md.
func TestSeededHandOvers(t *testing.T) {
	t.Parallel()
	count := 12
	if !testkit.All() {
		count = 2
	}
	if text := os.Getenv("HANDOVERS"); text != "" {
		count, _ = strconv.Atoi(text)
	}
	for seed := range count / handOversEach {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			s := newSeededRun(t, uint64(seed))
			for i := range handOversEach {
				s.handOver(faultOf(seed*handOversEach + i))
			}
		})
	}
}

func newSeededRun(t *testing.T, seed uint64) *seededRun {
	t.Helper()
	s := &seededRun{t: t, r: rand.New(rand.NewPCG(seed, 0)), path: socketPath(t), failed: make(map[int]error)}
	decider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); strings.Contains(string(body), "undecided") {
			time.Sleep(100 * time.Millisecond) // so that the join is pending during the hand-over
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(decider.Close)
	s.now = gatewaytest.Start(t, "HANDOVER_SOCKET="+s.path, s.loops(), "ROOM_POLICY=webhook", "ROOM_AUTH_URL="+decider.URL,
		"PING_INTERVAL=1s", "PING_TIMEOUT=10m", "HEAD_TIMEOUT=10m", "KEEPALIVE_TIMEOUT=10m", "ROOM_AUTH_TIMEOUT=10s",
		"NODE_ENV=production", "MAX_EVENTS_PER_SECOND=0", "MAX_PENDING_BYTES=64000000")
	s.url = s.now.URL
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(func() {
		stop()
		for _, m := range s.crowd {
			m.c.Kill()
		}
		s.busy.Wait()
	})
	s.busy.Go(func() { s.stream(ctx) })
	return s
}

func (s *seededRun) loops() string { return fmt.Sprint("EVENT_LOOPS=", 1+s.r.IntN(3)) }

// patientClient is an HTTP client that waits as long as a hand-over may take.
var patientClient = http.Client{Timeout: long, Transport: &http.Transport{DisableKeepAlives: true}}

// publish posts an event as a service does.
func (s *seededRun) publish(key, body string) (status int, answer string, err error) {
	r, err := http.NewRequest(http.MethodPost, s.url+"/events/"+key, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Authorization", "Bearer "+gatewaytest.PublishToken)
	res, err := patientClient.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

// stream sends numbered events to the members' room.
func (s *seededRun) stream(ctx context.Context) {
	for n := 1; ctx.Err() == nil; n++ {
		status, _, err := s.publish("message.sent", fmt.Sprintf(`{"conversationId":"crowd","message":"%d"}`, n))
		if err == nil && status/100 != 2 {
			err = fmt.Errorf("status %d", status)
		}
		s.mu.Lock()
		if err != nil {
			s.failed[n] = err
		} else {
			s.sent = n
		}
		s.mu.Unlock()
		time.Sleep(2 * time.Millisecond)
	}
}

func (s *seededRun) failures() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.failed)
}

// acceptErrors returns the errors of events that were not accepted.
func (s *seededRun) acceptErrors() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprint(s.failed)
}

func (s *seededRun) tokenFor(user string, life time.Duration) string {
	s.t.Helper()
	claims := jwt.MapClaims{"id": user, "exp": time.Now().Add(life).Unix()}
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(gatewaytest.Secret))
	if err != nil {
		s.t.Fatal(err)
	}
	return signed
}

// handOver starts a process that takes over, applies h to one of the two, and checks
// every client afterwards.
func (s *seededRun) handOver(h *fault) {
	s.t.Helper()
	next := s.now.Successor(s.loops())
	s.connectMembers()
	goOn := s.enterStates()
	before := s.failures()
	aside := fmt.Sprintf("%s.%d", s.path, s.now.Pid())
	if err := os.Rename(s.path, aside); err != nil {
		s.t.Fatal(err)
	}
	relay := startRelay(s.t, relayOrder{Listen: s.path, Target: aside, Fault: h})
	for _, m := range s.crowd {
		m.talk()
	}
	next.Begin()
	left, kept := s.outcome(h, relay, next)
	relay.close()
	s.t.Logf("%v: connections kept: %v", h, kept)
	if left == s.now { // the old process still listens there
		if err := os.Rename(aside, s.path); err != nil {
			s.t.Fatal(err)
		}
	}
	if left == nil {
		left = s.now.Successor()
		left.Launch()
	}
	s.now = left
	if !kept {
		s.wantEnds()
		return
	}
	for _, g := range goOn {
		g()
	}
	s.checkMembers()
	if n := s.failures() - before; n > 0 && (h == nil || h.Signal != syscall.SIGKILL || h.Taker) {
		s.t.Errorf("%v: %d events were not accepted: %s", h, n, s.acceptErrors())
	}
	for _, c := range s.conns {
		c.conn.Close()
	}
	s.conns = nil
}

// enterStates brings a client into each state. It returns the functions that check them
// afterwards.
func (s *seededRun) enterStates() (goOn []func()) {
	s.t.Helper()
	for _, i := range s.r.Perm(len(clientStates)) {
		c := &clientStates[i]
		if c.rare && s.r.IntN(8) > 0 {
			continue
		}
		s.users++
		s.state = c.name
		begun := time.Now()
		further := c.begin(s, fmt.Sprint("user", s.users))
		goOn = append(goOn, func() {
			s.state, s.begun, s.within = c.name, begun, c.within
			defer func() {
				if late := recover(); late != nil && late != errLate {
					panic(late)
				}
				s.within = 0
			}()
			further()
		})
	}
	return goOn
}

// errLate is the panic value of fail.
var errLate = errors.New("the gateway may have ended the connection because of the time")

// fail ends the test, unless the machine was so slow that the gateway may have ended
// the connection.
func (s *seededRun) fail(format string, args ...any) {
	s.t.Helper()
	if s.within > 0 && time.Since(s.begun) >= s.within {
		panic(errLate)
	}
	s.t.Fatalf(format, args...)
}

// outcome waits until at most one process is left. It returns that process, or nil,
// and whether the connections were kept.
func (s *seededRun) outcome(h *fault, r *relay, next *gatewaytest.Gateway) (left *gatewaytest.Gateway, kept bool) {
	s.t.Helper()
	s.await("one of the two processes to end", func() bool { return s.now.HasEnded() || next.HasEnded() })
	left, kept = s.now, true
	const killed = -1 // as an exit code
	switch {
	case h == nil || h.Signal != syscall.SIGKILL, h.Taker && (!next.HasEnded() || next.Wait() != killed), !h.Taker && (!s.now.HasEnded() || s.now.Wait() != killed):
		if s.now.HasEnded() {
			left = next
		}
	case h.Taker:
		s.await("all frames of the taker", func() bool { return r.hasHeardAll(true) })
		if r.passed(kindOwned) {
			left, kept = nil, false
		}
	default:
		s.await("all frames of the giver", func() bool { return r.hasHeardAll(false) })
		if left, kept = next, r.passed(kindEnd); !r.passed(kindGo) {
			left = nil
		}
	}
	for _, g := range []*gatewaytest.Gateway{s.now, next} {
		if g != left {
			s.await("the process that does not serve to end", g.HasEnded)
		}
	}
	if left != nil {
		s.await("the other process to serve", func() bool {
			if left.HasEnded() {
				s.t.Fatalf("%v: no process is left\nbefore:\n%s\nafter:\n%s", h, s.now.Out, next.Out)
			}
			status, _, err := left.Get("/health")
			return err == nil && status == http.StatusOK
		})
	}
	return left, kept
}

// await is testkit.Await with the time that a hand-over may take.
func (s *seededRun) await(what string, holds func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(long); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("timed out waiting for %s", what)
		}
	}
}

// wantEnds checks that every connection is closed, because no process has them.
func (s *seededRun) wantEnds() {
	s.t.Helper()
	for _, c := range s.conns {
		if _, err := io.Copy(io.Discard, c.in); err != nil && os.IsTimeout(err) {
			s.t.Errorf("a connection is still open although no process serves it")
		}
		c.conn.Close()
	}
	for _, m := range s.crowd {
		s.await("the end of a connection", func() bool { return m.c.Err() != nil })
	}
	s.conns, s.crowd = nil, nil
}
