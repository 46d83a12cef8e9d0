package fleet

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/internal/testkit/brokertest"
)

const presenceQueue = "presence-of-a-service"

// listenForPresence declares a durable queue that gets all presence events.
func listenForPresence(t *testing.T, b *brokertest.Broker) {
	t.Helper()
	p, err := b.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Channel.ExchangeDeclare("hometrip_presence", "topic", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Channel.QueueDeclare(presenceQueue, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := p.Channel.QueueBind(presenceQueue, "#", "hometrip_presence", false, nil); err != nil {
		t.Fatal(err)
	}
}

// An observer is a service that ignores events whose id it has seen.
type observer struct {
	t     *testing.T
	ids   map[string]bool
	there map[string]bool
	twice int
}

// read reads all messages of the queue.
func (o *observer) read(ch *amqp.Channel) {
	o.t.Helper()
	for {
		m, ok, err := ch.Get(presenceQueue, true)
		if err != nil {
			o.t.Fatal(err)
		}
		if !ok {
			return
		}
		o.take(&m)
	}
}

func (o *observer) take(m *amqp.Delivery) {
	var e struct {
		EventName, Source string
		Timestamp         time.Time
		Data              struct {
			UserID, Room     string
			Sockets, Members int
		}
	}
	if err := json.Unmarshal(m.Body, &e); err != nil || m.MessageId == "" || m.DeliveryMode != amqp.Persistent || e.EventName != m.RoutingKey || e.Timestamp.IsZero() {
		o.t.Errorf("malformed presence event %+v %s %v", m, m.Body, err)
	}
	if o.ids[m.MessageId] {
		o.twice++
		return
	}
	o.ids[m.MessageId] = true
	name := e.Data.Room
	if e.Data.UserID != "" {
		name = "user:" + e.Data.UserID
	}
	now := m.RoutingKey == "user.online" || m.RoutingKey == "room.occupied"
	if o.there[name] == now {
		o.t.Errorf("%s: the event came twice in a row: %s", name, m.Body)
	}
	if now != (e.Data.Sockets+e.Data.Members > 0) {
		o.t.Errorf("the count contradicts the key: %s", m.Body)
	}
	if o.there[name] = now; !now {
		delete(o.there, name)
	}
}

// A gatewayClients is a gateway and its clients.
type gatewayClients struct {
	*gateway
	clients []*member
}

type member struct {
	*client
	user, room string
}

// Users connect and disconnect at three gateways, which are killed, stopped for
// longer than their lease, and replaced; RabbitMQ is killed once. A service
// that ignores duplicates must see alternating events for each user and room,
// and the right state at the end.
func TestPresenceEventsOfThreeGateways(t *testing.T) {
	t.Parallel()
	broker, err := brokertest.Start()
	testkit.Need(t, err)
	t.Cleanup(broker.Close)
	listenForPresence(t, broker)
	f := newFleet(t)
	f.listenTo(broker, "presence")
	f.settings = append(f.settings, "PRESENCE_EVENTS=true", "PRESENCE_GRACE=100", "RECOVERY=off", "DRAIN_PERIOD=0")
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var crowds []*gatewayClients
	for range 3 {
		crowds = append(crowds, &gatewayClients{gateway: f.start()})
	}
	const steps = 1200
	for step := range steps {
		c := crowds[r.IntN(len(crowds))]
		switch {
		case step == steps/4:
			broker.Kill()
		case step == steps/2:
			if err := broker.Launch(); err != nil {
				t.Fatal(err)
			}
		case step == steps/3, step == 2*steps/3:
			c.killAndReplace(f)
		case step == steps/5, step == 4*steps/5:
			c.freeze(t)
		case step == steps*9/10:
			c.stopAndReplace(f)
		case r.IntN(2) == 0 && len(c.clients) < 40:
			m := &member{user: fmt.Sprint("u", r.IntN(60)), room: fmt.Sprint(r.IntN(15))}
			m.client = connect(t, c.gateway, m.user)
			if err := m.do("join_room", m.room); err != nil {
				t.Fatal(err)
			}
			c.clients = append(c.clients, m)
		case len(c.clients) > 0:
			i := r.IntN(len(c.clients))
			c.clients[i].Close()
			c.clients = slices.Delete(c.clients, i, i+1)
		}
	}
	o := &observer{t: t, ids: make(map[string]bool), there: make(map[string]bool)}
	want, sockets := connectedClients(crowds)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("according to the events %q have members, want %q", slices.Sorted(maps.Keys(o.there)), slices.Sorted(maps.Keys(want)))
			for _, c := range crowds {
				c.logEnded()
			}
		}
	})
	p, err := broker.Connect() // one for all looks: opening one each time would keep the broker busy
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	gatewaytest.Await(t, "the events to match the connected clients", func() bool {
		o.read(p.Channel)
		want, sockets = connectedClients(crowds) // on a slow machine a gateway that was stopped may lose clients
		return maps.Equal(o.there, want) || t.Failed()
	})
	crowds[0].wantUsers(sockets)
	t.Logf("%d events, %d of them twice or more; %d users and rooms at the end", len(o.ids), o.twice, len(want))
}

// connectedClients returns the users and rooms of connected clients, and the
// number of sockets of each user.
func connectedClients(crowds []*gatewayClients) (there map[string]bool, sockets map[string]int) {
	there, sockets = make(map[string]bool), make(map[string]int)
	for _, c := range crowds {
		for _, m := range c.clients {
			select {
			case <-m.Done():
			default:
				there["user:"+m.user], there["conversation:"+m.room] = true, true
				sockets[m.user]++
			}
		}
	}
	return there, sockets
}

// killAndReplace kills the gateway and starts another one.
func (c *gatewayClients) killAndReplace(f *fleet) {
	c.Kill()
	*c = gatewayClients{gateway: f.launch()} // it is not ready while RabbitMQ is away
}

// stopAndReplace stops the gateway with SIGTERM, and starts another one.
func (c *gatewayClients) stopAndReplace(f *fleet) {
	c.Stop()
	*c = gatewayClients{gateway: f.start()}
}

// freeze stops the process for longer than its lease. Its clients stay connected.
func (c *gatewayClients) freeze(t *testing.T) {
	t.Helper()
	c.Signal(syscall.SIGSTOP)
	time.Sleep(4 * time.Second) // there is no condition to await: the process must be stopped for longer than its lease
	c.Signal(syscall.SIGCONT)
}

// logEnded logs clients that were disconnected although the test did not close
// them.
func (c *gatewayClients) logEnded() {
	for _, m := range c.clients {
		select {
		case <-m.Done():
			c.t.Logf("%s in %s has been disconnected", m.user, m.room)
		default:
		}
	}
}

// wantUsers checks POST /users for all users, and GET /users/ID for two.
func (c *gatewayClients) wantUsers(sockets map[string]int) {
	c.t.Helper()
	var ids []string
	for n := range 60 {
		ids = append(ids, fmt.Sprint("u", n))
	}
	body, _ := json.Marshal(map[string]any{"users": ids})
	var answer struct {
		Users []struct {
			UserID         string
			Online         bool
			Sockets, Nodes int
			Since          *time.Time
		}
	}
	gatewaytest.Await(c.t, "the right counts", func() bool {
		status, text := c.asService(http.MethodPost, "/users", string(body))
		if status != http.StatusOK || json.Unmarshal(text, &answer) != nil || len(answer.Users) != len(ids) {
			c.t.Fatalf("POST /users: %d %s", status, text)
		}
		return !slices.ContainsFunc(ids, func(id string) bool {
			u := answer.Users[slices.Index(ids, id)]
			return u.UserID != id || u.Sockets != sockets[id] || u.Online != (sockets[id] > 0) || u.Online != (u.Since != nil) || u.Online != (u.Nodes > 0)
		})
	})
	for path, want := range map[string]string{"/users/u0": `{"userId":"u0","online":`, "/users/nobody": `{"userId":"nobody","online":false,"sockets":0,"nodes":0,"since":null,"lastSeen":null}`} {
		if status, text := c.asService(http.MethodGet, path, ""); status != http.StatusOK || !strings.HasPrefix(string(text), want) {
			c.t.Errorf("GET %s: %d %s", path, status, text)
		}
	}
}

// asService makes a request with the PUBLISH_TOKEN.
func (g *gateway) asService(method, path, body string) (int, []byte) {
	g.t.Helper()
	request, err := http.NewRequest(method, g.URL+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+gatewaytest.PublishToken)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		g.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return response.StatusCode, text
}
