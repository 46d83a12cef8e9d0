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
	handOversEach = 2 // of a seed
	shortPause    = 300 * time.Millisecond
	longerThanOne = 5 * time.Second  // than the giver waits for the taker
	longerThanAll = 30 * time.Second // than the taker waits for the giver

	// long is more than two processes of which one stands still for longerThanAll
	// take, on a busy machine.
	long = 4 * gatewaytest.Patience
)

// faults is every fault at every step, in an order of its own, and hand-overs
// without fault in between.
func faults() (all []*fault) {
	for k := kindHello; k <= kindDone; k++ {
		switch k {
		case kindRefuse, kindDrain, kindAbort, kindFailed, kindFresh:
			continue // not in a hand-over that goes well
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

// faultOf returns what is done to the i-th hand-over. Now and then a process
// stands still for longer.
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

// A stage is a gateway, its clients and a stream of events, for the hand-overs
// of one seed. Owned by the test's goroutine, but for what mu guards.
type stage struct {
	t      *testing.T
	r      *rand.Rand
	path   string               // HANDOVER_SOCKET
	now    *gatewaytest.Gateway // the process that serves
	url    string
	crowd  []*member
	conns  []*rawConn    // of the clients in odd states
	state  string        // that is being looked at, for messages
	begun  time.Time     // when it began
	within time.Duration // as in clientState
	users  int

	mu     sync.Mutex     // guards the following
	sent   int            // number of the last event that was accepted
	failed map[int]error  // by number, of events of which nothing is known
	busy   sync.WaitGroup // who sends them
}

// Hand-overs from seeds, with clients in every state that there is, with several
// numbers of event loops, and with either process killed or standing still at
// every step. No client whose connections are in a process that lives loses an
// event, gets one twice or out of order, or is cut. One process serves
// afterwards. HANDOVERS=1000 makes so many; see docs/handover.md.
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
			s := openStage(t, uint64(seed))
			for i := range handOversEach {
				s.handOver(faultOf(seed*handOversEach + i))
			}
		})
	}
}

func openStage(t *testing.T, seed uint64) *stage {
	t.Helper()
	s := &stage{t: t, r: rand.New(rand.NewPCG(seed, 0)), path: socketPath(t), failed: make(map[int]error)}
	decider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); strings.Contains(string(body), "undecided") {
			time.Sleep(100 * time.Millisecond) // the join is under way meanwhile
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

func (s *stage) loops() string { return fmt.Sprint("EVENT_LOOPS=", 1+s.r.IntN(3)) }

// patient waits as long as a hand-over may take.
var patient = http.Client{Timeout: long, Transport: &http.Transport{DisableKeepAlives: true}}

// publish publishes an event as a service does.
func (s *stage) publish(key, body string) (status int, answer string, err error) {
	r, err := http.NewRequest(http.MethodPost, s.url+"/events/"+key, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Authorization", "Bearer "+gatewaytest.PublishToken)
	res, err := patient.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

// stream sends the crowd's room numbered events.
func (s *stage) stream(ctx context.Context) {
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

func (s *stage) failures() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.failed)
}

// why says why events were not accepted.
func (s *stage) why() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprint(s.failed)
}

func (s *stage) tokenFor(user string, life time.Duration) string {
	s.t.Helper()
	claims := jwt.MapClaims{"id": user, "exp": time.Now().Add(life).Unix()}
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(gatewaytest.Secret))
	if err != nil {
		s.t.Fatal(err)
	}
	return signed
}

// handOver has a new process take over, does h to one of the two, and looks at
// what has become of every client.
func (s *stage) handOver(h *fault) {
	s.t.Helper()
	next := s.now.Successor(s.loops())
	s.assemble()
	goOn := s.catch()
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
	s.t.Logf("%v: the connections live on: %v", h, kept)
	if left == s.now { // which still listens there
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
	s.dismiss()
	if n := s.failures() - before; n > 0 && (h == nil || h.Signal != syscall.SIGKILL || h.Taker) {
		s.t.Errorf("%v: %d events were not accepted: %s", h, n, s.why())
	}
	for _, c := range s.conns {
		c.conn.Close()
	}
	s.conns = nil
}

// catch brings a client into each state.
func (s *stage) catch() (goOn []func()) {
	s.t.Helper()
	for _, i := range s.r.Perm(len(clientStates)) {
		c := &clientStates[i]
		if c.seldom && s.r.IntN(8) > 0 {
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

// errLate is what fail panics with.
var errLate = errors.New("the gateway may have ended the connection because of the time")

// fail ends the test, unless a slow machine has taken so long that the gateway
// had the right to end the connection.
func (s *stage) fail(format string, args ...any) {
	s.t.Helper()
	if s.within > 0 && time.Since(s.begun) >= s.within {
		panic(errLate)
	}
	s.t.Fatalf(format, args...)
}

// outcome waits until one process is left, which is returned, nil if none is,
// and says whether the connections live on.
func (s *stage) outcome(h *fault, r *relay, next *gatewaytest.Gateway) (left *gatewaytest.Gateway, kept bool) {
	s.t.Helper()
	s.await("one of the processes to end", func() bool { return s.now.HasEnded() || next.HasEnded() })
	left, kept = s.now, true
	const killed = -1 // as an exit code
	switch {
	case h == nil || h.Signal != syscall.SIGKILL, h.Taker && (!next.HasEnded() || next.Wait() != killed), !h.Taker && (!s.now.HasEnded() || s.now.Wait() != killed):
		if s.now.HasEnded() {
			left = next
		}
	case h.Taker:
		s.await("all that the taker said", func() bool { return r.hasHeardAll(true) })
		if r.passed(kindOwned) {
			left, kept = nil, false
		}
	default:
		s.await("all that the giver said", func() bool { return r.hasHeardAll(false) })
		if left, kept = next, r.passed(kindEnd); !r.passed(kindGo) {
			left = nil
		}
	}
	for _, g := range []*gatewaytest.Gateway{s.now, next} {
		if g != left {
			s.await("a process to end that is not to serve", g.HasEnded)
		}
	}
	if left != nil {
		s.await("the other one to serve", func() bool {
			if left.HasEnded() {
				s.t.Fatalf("%v: no process is left\nbefore:\n%s\nafter:\n%s", h, s.now.Out, next.Out)
			}
			status, _, err := left.Get("/health")
			return err == nil && status == http.StatusOK
		})
	}
	return left, kept
}

// await is Await for what takes as long as a hand-over may.
func (s *stage) await(what string, holds func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(long); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// wantEnds wants the end of every connection: nobody has them any more.
func (s *stage) wantEnds() {
	s.t.Helper()
	for _, c := range s.conns {
		if _, err := io.Copy(io.Discard, c.in); err != nil && os.IsTimeout(err) {
			s.t.Errorf("a connection lives on, and no process serves it")
		}
		c.conn.Close()
	}
	for _, m := range s.crowd {
		s.await("the end of a connection", func() bool { return m.c.Err() != nil })
	}
	s.conns, s.crowd = nil, nil
}
