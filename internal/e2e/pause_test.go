package e2e

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/sioclient"
)

// gapClient is a client that measures the time between two events. It requires each
// event once and in order.
type gapClient struct {
	c     *sioclient.Client
	after *atomic.Bool // set when the hand-over begins
	last  int64
	gaps  [2]time.Duration // longest time between two events: before the hand-over, and from its start on
	err   error
	at    atomic.Int64
}

func (l *gapClient) listen(ctx context.Context) {
	before := time.Now()
	for {
		e, err := l.c.Next(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			l.err = fmt.Errorf("after event %d: %w", l.last, err)
			return
		}
		if e.Name != "new_message" {
			continue
		}
		var body struct{ Message string }
		if l.err = e.Decode(&body); l.err != nil {
			return
		}
		n, _ := strconv.ParseInt(body.Message, 10, 64)
		if l.last != 0 && n != l.last+1 {
			l.err = fmt.Errorf("event %d after %d", n, l.last)
			return
		}
		now := time.Now()
		gap := &l.gaps[0]
		if l.after.Load() {
			gap = &l.gaps[1]
		}
		if l.last != 0 {
			*gap = max(*gap, now.Sub(before))
		}
		l.last, before = n, now
		l.at.Store(n)
	}
}

// Many connections that receive events are handed over. No connection and no event may
// be lost. The test prints the longest time without an event, before and during the
// hand-over, and the memory of both processes; CONNECTIONS=5000 makes these figures
// meaningful. Clients and publishers run in the test's process and share the
// processors with both gateways, so there are waits before the hand-over, too.
func TestManyConnectionsAreHandedOver(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it does not hand over")
	connections, rooms := 300, 20
	if text := os.Getenv("CONNECTIONS"); text != "" {
		connections, _ = strconv.Atoi(text)
		rooms = connections / 50
	}
	settings, _ := fleetSettings(t, "redis")
	settings = append(settings, handoverSocket(t), "EVENT_LOOPS=2", "RECOVERY=all")
	g := start(t, settings...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	listeners := make([]*gapClient, connections)
	var after atomic.Bool
	var all sync.WaitGroup
	slots := make(chan struct{}, 32)
	var dialling sync.WaitGroup
	for i := range listeners {
		slots <- struct{}{}
		dialling.Go(func() {
			defer func() { <-slots }()
			c, err := sioclient.Connect(ctx, g.URL, sioclient.Options{Token: gatewaytest.Token(t, fmt.Sprint(i))})
			if err == nil {
				_, err = c.EmitAck(ctx, "join_room", map[string]string{"roomType": "conversation", "roomId": fmt.Sprint(i % rooms)})
			}
			if err != nil {
				t.Error(err)
				return
			}
			listeners[i] = &gapClient{c: c, after: &after}
		})
	}
	dialling.Wait()
	if t.Failed() {
		return
	}
	t.Cleanup(func() {
		for _, l := range listeners {
			l.c.Close()
		}
	})
	for _, l := range listeners {
		all.Go(func() { l.listen(ctx) })
	}
	sending, enough := context.WithCancel(ctx)
	defer enough()
	var publishing sync.WaitGroup
	sent := make([]atomic.Int64, rooms)
	every := time.Duration(connections) * time.Second / 20_000 // for 20,000 deliveries a second
	for room := range rooms {
		publishing.Go(func() {
			for sending.Err() == nil {
				n := sent[room].Load() + 1
				if status, answer, err := g.Post("message.sent", message(fmt.Sprint(room), n)); err != nil || status/100 != 2 {
					t.Errorf("event %d: %d %s %v", n, status, answer, err)
					return
				}
				sent[room].Store(n)
				time.Sleep(every)
			}
		})
	}
	seen := func(events int64) {
		t.Helper()
		gatewaytest.Await(t, "events for all", func() bool {
			return t.Failed() || !slices.ContainsFunc(listeners, func(l *gapClient) bool { return l.at.Load() < events })
		})
	}
	seen(50)
	before := rss(g.Pid())
	after.Store(true)
	next := g.succeed(t)
	seen(listeners[0].at.Load() + 5)
	enough()
	publishing.Wait()
	gatewaytest.Await(t, "the last events", func() bool {
		for i, l := range listeners {
			if !t.Failed() && l.at.Load() < sent[i%rooms].Load() {
				return false
			}
		}
		return true
	})
	cancel()
	all.Wait()
	for phase, name := range []string{"before", "during"} {
		gaps := make([]time.Duration, connections)
		for i, l := range listeners {
			gaps[i] = l.gaps[phase]
		}
		slices.Sort(gaps)
		t.Logf("longest wait %s the hand-over: p50 %v, p99 %v, most %v", name, gaps[connections/2], gaps[connections*99/100], gaps[connections-1])
	}
	for i, l := range listeners {
		if l.err != nil {
			t.Errorf("client %d: %v", i, l.err)
		}
	}
	t.Logf("%d connections, an event each %v: pause %v; resident %d and %d MiB", connections, every,
		time.Duration(next.Metric("gateway_handover_pause_seconds")*1e9), before>>20, rss(next.Pid())>>20)
}

// rss returns the resident memory of a process, in bytes.
func rss(pid int) (bytes int64) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if words := strings.Fields(string(text)); len(words) > 1 {
		pages, _ := strconv.ParseInt(words[1], 10, 64)
		bytes = pages * int64(os.Getpagesize())
	}
	return bytes
}
