package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/sioclient"
	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/internal/testkit/brokertest"
	"github.com/hometrip/gateway/internal/testkit/redistest"
	"github.com/hometrip/gateway/rooms/cluster/clustertest"
)

const (
	keyPrefix = "fleet:"
	patience  = gatewaytest.Patience
)

func TestMain(m *testing.M) {
	code := gatewaytest.Main(m)
	brokertest.CloseShared()
	os.Exit(code)
}

// A fleet is gateway processes with a common Redis, and perhaps a RabbitMQ.
type fleet struct {
	t        *testing.T
	redis    *redistest.Server
	settings []string   // of all gateways
	alive    []*gateway // used by the model test
	events   *service   // nil: there is no RabbitMQ
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	redis, err := redistest.Start(nil)
	testkit.Need(t, err)
	t.Cleanup(redis.Close)
	return &fleet{t: t, redis: redis}
}

// A gateway is a gateway process.
type gateway struct {
	*gatewaytest.Gateway
	t      *testing.T
	events *service // of the fleet
}

// launch starts a gateway and waits until it answers.
func (f *fleet) launch(settings ...string) *gateway {
	f.t.Helper()
	g := &gateway{events: f.events, t: f.t, Gateway: gatewaytest.New(f.t, append([]string{
		"NODE_ENV=production", "EVENT_LOOPS=2",
		"USE_REDIS=true", "REDIS_HOST=127.0.0.1", "REDIS_PORT=" + strconv.Itoa(f.redis.Port), "KEY_PREFIX=" + keyPrefix,
		"NODE_LEASE=1500", "ROOM_LINGER=50ms",
	}, append(slices.Clone(f.settings), settings...)...)...)}
	g.Launch()
	return g
}

// start launches a gateway and waits until it is ready.
func (f *fleet) start(settings ...string) *gateway {
	f.t.Helper()
	g := f.launch(settings...)
	g.AwaitReady()
	return g
}

// figures is the JSON of /metrics.
type figures struct {
	ConnectedSockets int
	EventBus         struct{ Position string }
	Cluster          *struct{ Nodes, ConnectedSockets, Queued int }
}

func (g *gateway) figures() (f figures) {
	g.t.Helper()
	_, body, err := g.Get("/metrics")
	if err == nil {
		err = json.Unmarshal(body, &f)
	}
	if err != nil {
		g.t.Fatalf("/metrics: %v %s", err, body)
	}
	return f
}

// publish publishes message.sent over HTTP.
func (g *gateway) publish(conversation, text string) error {
	body, _ := json.Marshal(map[string]string{"conversationId": conversation, "message": text})
	status, answer, err := g.Post("message.sent", string(body))
	if err == nil && status != http.StatusAccepted {
		err = fmt.Errorf("publish: %d %s", status, answer)
	}
	return err
}

// A client is a connected socket.
type client struct {
	*sioclient.Client
	gateway *gateway
}

func (g *gateway) connect(user string) (*client, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := sioclient.Connect(ctx, g.URL, sioclient.Options{Token: gatewaytest.Token(g.t, user)})
	if err != nil {
		return nil, err
	}
	c := &client{conn, g}
	if event, err := c.next(patience); err != nil || event != "connected "+user+" " {
		return nil, fmt.Errorf("%s: got %q, %v, want connected", user, event, err)
	}
	return c, nil
}

// next returns the next event in the form of clustertest.Format.
func (c *client) next(timeout time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	e, err := c.Next(ctx)
	if err != nil {
		return "", err
	}
	var body struct{ UserID, Message, Room string }
	if err := e.Decode(&body); err != nil {
		return "", err
	}
	if e.Name != "new_message" { // other events may have a message as well
		body.Message = ""
	}
	return clustertest.Format(e.Name, body.Message, body.UserID, body.Room), nil
}

// do emits an event about a conversation and returns when it is acknowledged.
func (c *client) do(event, room string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	answer, err := c.EmitAck(ctx, event, map[string]string{"roomType": "conversation", "roomId": room})
	if err == nil && !bytes.Contains(answer, []byte(`"success":true`)) {
		err = fmt.Errorf("%s %s: %s", event, room, answer)
	}
	return err
}
