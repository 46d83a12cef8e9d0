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

// A returnsTest is two gateways, a service that publishes numbered events to some
// conversations, and clients whose connections are cut in every way while the
// gateways drain and are killed.
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

// TestClientsReturnWhileGatewaysDrainAndDie has clients lose their connections in every way and come
// back to any gateway, while gateways drain and are killed. In each room a
// client gets every event from its join on, in order and once, unless it is
// told that it was not recovered.
func TestClientsReturnWhileGatewaysDrainAndDie(t *testing.T) {
	t.Parallel()
	st := newReturns(t, "returnsTest")
	finish := st.begin(returnsClients, (*returner).live)
	kill := func(g *gateway) { g.Kill() }
	for i, end := range []func(g *gateway){kill, (*gateway).drain, kill, kill} {
		time.Sleep(1500 * time.Millisecond) // of cuts
		st.restart(i%2, end)
	}
	const enough = 5 * returnsClients
	gatewaytest.Await(t, fmt.Sprint(enough, " returns"), func() bool { return st.returns.Load() >= enough || t.Failed() })
	returns, recovered := finish()
	if recovered*100 < returns*99 {
		t.Errorf("%d of %d returns were recovered", recovered, returns)
	}
}

// TestARollingUpdateLosesNothing for clients that asked for recovery, while
// events are published and the gateways are restarted one after the other.
func TestARollingUpdateLosesNothing(t *testing.T) {
	t.Parallel()
	st := newReturns(t, "rolling")
	finish := st.begin(rollingClients, (*returner).follow)
	for i := range st.nodes {
		time.Sleep(500 * time.Millisecond) // of load
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

// begin has events published and clients live. finish ends that, waits until
// each client has all it must get, and returns how often clients came back.
func (st *returnsTest) begin(clients int, live func(s *returner)) (finish func() (returns, recovered int64)) {
	published, ended := make(chan error, 1), make(chan struct{})
	go func() { published <- st.publish(ended) }()
	var all sync.WaitGroup
	for i := range clients {
		s := newStranded(st.t, st, i)
		all.Go(func() { live(s) })
	}
	return func() (int64, int64) {
		close(st.calm)
		time.Sleep(200 * time.Millisecond) // some events more
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

// reasons logs what became of the clients that came back to a gateway.
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

// publish publishes an event now and then until ended is closed.
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
