package fleet

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/rooms"
)

const (
	returnsClients = 140
	returnsRooms   = 10
	returnsPace    = 10 * time.Millisecond // between two events
)

// A returnsTest is two gateways, a service that publishes numbered events to
// some conversations, and clients that return after their connections have
// ended.
type returnsTest struct {
	*fleet
	service *service
	nodes   [2]*gateway
	up      [2]atomic.Bool
	opened  [returnsRooms]atomic.Int64 // the number of the next event of each room
	calm    chan struct{}              // closed when nothing is cut any more
	quiet   chan struct{}              // closed when nothing is published any more

	returns, recovered atomic.Int64
}

// Clients lose their connections in several ways and return to any gateway,
// while gateways drain and are killed. In each room a client must get every
// event since its join, once and in order, unless it is told that it was not
// recovered. 99 % of the returns must be recovered.
func TestClientsReturnWhileGatewaysDrainAndAreKilled(t *testing.T) {
	t.Parallel()
	st := newReturns(t, "returnsTest")
	finish := st.begin(returnsClients, (*returner).live)
	kill := func(g *gateway) { g.Kill() }
	for i, end := range []func(g *gateway){kill, (*gateway).drain, kill, kill} {
		time.Sleep(1500 * time.Millisecond) // time for clients to lose connections
		st.restart(i%2, end)
	}
	const enough = 5 * returnsClients
	gatewaytest.Await(t, fmt.Sprint(enough, " returns"), func() bool { return st.returns.Load() >= enough || t.Failed() })
	returns, recovered := finish()
	if recovered*100 < returns*99 {
		t.Errorf("%d of %d returns were recovered", recovered, returns)
	}
}

// The gateways are restarted one after the other while events are published.
// Every client that returns must be recovered without a missing event.
func TestRollingUpdateLosesNoEvent(t *testing.T) {
	t.Parallel()
	st := newReturns(t, "rolling")
	finish := st.begin(rollingClients, (*returner).follow)
	for i := range st.nodes {
		time.Sleep(500 * time.Millisecond) // time with events and changes of rooms
		st.restart(i, (*gateway).drain)
	}
	if returns, recovered := finish(); returns < rollingClients || recovered != returns {
		t.Errorf("%d of %d returns were recovered", recovered, returns)
	}
}

const rollingClients = 100

func newReturns(t *testing.T, name string) *returnsTest {
	f := newFleet(t)
	st := &returnsTest{fleet: f, service: f.service(name), calm: make(chan struct{}), quiet: make(chan struct{})}
	for i := range st.nodes {
		st.nodes[i] = f.start()
		st.up[i].Store(true)
	}
	return st
}

// begin publishes events and runs clients. finish ends that, waits until each
// client has all its events, and returns the numbers of returns.
func (st *returnsTest) begin(clients int, live func(s *returner)) (finish func() (returns, recovered int64)) {
	published, ended := make(chan error, 1), make(chan struct{})
	go func() { published <- st.publish(ended) }()
	var all sync.WaitGroup
	for i := range clients {
		s := newReturner(st.t, st, i)
		all.Go(func() { live(s) })
	}
	return func() (int64, int64) {
		close(st.calm)
		time.Sleep(200 * time.Millisecond) // time for some more events
		close(ended)
		if err := <-published; err != nil {
			st.t.Fatal(err)
		}
		close(st.quiet)
		all.Wait()
		for _, g := range st.nodes {
			st.reasons(g)
		}
		st.t.Logf("%d returns, %d recovered", st.returns.Load(), st.recovered.Load())
		return st.returns.Load(), st.recovered.Load()
	}
}

// restart ends a gateway and starts it again.
func (st *returnsTest) restart(node int, end func(g *gateway)) {
	g := st.nodes[node]
	st.up[node].Store(false)
	st.reasons(g)
	end(g)
	g.Launch()
	g.AwaitReady()
	st.up[node].Store(true)
}

// reasons logs how the returns to a gateway have ended.
func (st *returnsTest) reasons(g *gateway) {
	for result := rooms.RecoveryDone; result.Valid(); result++ {
		if n := g.Metric(fmt.Sprintf("gateway_recoveries_total{result=%q}", result.String())); n > 0 {
			st.t.Logf("%s: %v %v", g.Addr, result, n)
		}
	}
}

func (g *gateway) drain() {
	g.Signal(syscall.SIGTERM)
	if code := g.Wait(); code != 0 {
		g.t.Errorf("exit code %d", code)
	}
}

// publish publishes an event every returnsPace until ended is closed.
func (st *returnsTest) publish(ended chan struct{}) error {
	tick := time.NewTicker(returnsPace)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-tick.C:
		case <-ended:
			return nil
		}
		room := i % returnsRooms
		n := st.opened[room].Add(1) - 1
		body := fmt.Appendf(nil, `{"conversationId":"%d","message":%d}`, room, n)
		if err := st.service.publisher.Publish(st.service.name, "message.sent", amqp.Publishing{Body: body}); err != nil {
			return err
		}
	}
}
