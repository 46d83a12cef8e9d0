package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/internal/testkit/brokertest"
	"github.com/hometrip/gateway/internal/testkit/redistest"
)

// Two gateways share a log in Redis, without RabbitMQ. Events and orders posted to
// either one must reach the clients of both, in order. When Redis is killed, /ready
// says so.
func TestPostedEventReachesClientsOfAllGateways(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it has no POST /events")
	redis, err := redistest.Start(nil)
	testkit.Need(t, err)
	t.Cleanup(redis.Close)
	var nodes []*gateway
	var clients []*client
	for i := range 2 {
		g := start(t, "NODE_ENV=production", "USE_REDIS=true", "USE_RABBITMQ=false", "REDIS_URL=redis://"+redis.Addr)
		g.AwaitReady()
		c := g.dial(t, fmt.Sprint("user-", i), false)
		c.do("join_room", "1")
		nodes, clients = append(nodes, g), append(clients, c)
	}
	post := func(g *gateway, key, body string) {
		t.Helper()
		header := http.Header{"Authorization": {"Bearer " + gatewaytest.PublishToken}}
		status, answer, err := request(http.MethodPost, g.URL+"/events/"+key, header, body)
		if err != nil || status != http.StatusAccepted || !strings.Contains(string(answer), `"position":`) {
			t.Fatalf("%s: %d %s %v", key, status, answer, err)
		}
	}
	for n := range 100 {
		post(nodes[n%2], "message.sent", fmt.Sprintf(`{"conversationId":1,"message":"%d","timestamp":"t"}`, n))
	}
	for _, c := range clients {
		for n := range 100 {
			c.wantMessage(fmt.Sprint(n))
		}
	}
	post(nodes[0], "user.disconnect", `{"userId":"user-1","reason":"blocked"}`)
	clients[1].wantEnded("blocked")
	redis.Kill()
	for _, g := range nodes {
		gatewaytest.Await(t, "/ready to report that the log is not read", func() bool {
			_, body, err := g.Get("/ready")
			return err == nil && strings.Contains(string(body), "the log in redis is not read")
		})
	}
}

// The broker's feature flags exclude streams, so the log is in Redis. Services publish
// to RabbitMQ as before: events reach all clients in order, and dead letters can be
// listed and replayed.
func TestRabbitMQWithoutStreams(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it has no RabbitMQ")
	redis, err := redistest.Start(nil)
	testkit.Need(t, err)
	t.Cleanup(redis.Close)
	broker, err := brokertest.Start("RABBITMQ_FEATURE_FLAGS=quorum_queue")
	testkit.Need(t, err)
	t.Cleanup(broker.Close)
	service, err := broker.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(service.Close)
	var clients []*client
	var nodes []*gateway
	for i := range 2 {
		g := start(t, "NODE_ENV=production", "USE_REDIS=true", "REDIS_URL=redis://"+redis.Addr, "USE_RABBITMQ=true", "RABBITMQ_URL="+broker.URL)
		g.AwaitReady()
		gatewaytest.Await(t, "the log in Redis", func() bool { return g.Metric(`gateway_event_log_connected{log="redis"}`) == 1 })
		c := g.dial(t, fmt.Sprint("user-", i), false)
		c.do("join_room", "1")
		nodes, clients = append(nodes, g), append(clients, c)
	}
	gatewaytest.Await(t, "the queue", func() bool {
		q, err := service.Channel.QueueDeclarePassive("websocket-gateway.forward", true, false, false, false, nil)
		if err != nil {
			service.Close()
			service, err = broker.Connect()
		}
		return err == nil && q.Consumers > 0
	})
	for n := range 100 {
		body := fmt.Appendf(nil, `{"conversationId":1,"message":"%d","timestamp":"t"}`, n)
		if err := service.Publish("hometrip_events", "message.sent", amqp.Publishing{Body: body}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range clients {
		for n := range 100 {
			c.wantMessage(fmt.Sprint(n))
		}
	}
	if err := service.Publish("hometrip_events", "message.sent", amqp.Publishing{Body: []byte("no JSON")}); err != nil {
		t.Fatal(err)
	}
	gatewaytest.Await(t, "a dead letter", func() bool {
		out, err := nodes[0].Run("dead-letter", "list")
		return err == nil && strings.Contains(out, "not_json")
	})
	if out, err := nodes[0].Run("dead-letter", "replay", "--all"); err != nil || !strings.Contains(out, "replayed 1") {
		t.Errorf("dead-letter replay: %s %v, want replayed 1", out, err)
	}
	gatewaytest.Await(t, "the dead letter to come back", func() bool {
		out, err := nodes[0].Run("dead-letter", "list")
		return err == nil && strings.Contains(out, "not_json")
	})
}

// wantMessage checks that the next event, other than user_joined, is a message with
// this text.
func (c *client) wantMessage(text string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*patience)
	defer cancel()
	for {
		e, err := c.Next(ctx)
		if err != nil {
			c.t.Fatalf("%s: waiting for %s: %v", c.user, text, err)
		}
		if e.Name == "user_joined" {
			continue
		}
		var body struct{ Message string }
		if err := e.Decode(&body); err != nil || e.Name != "new_message" || body.Message != text {
			c.t.Fatalf("%s got %s %s, want the message %s (%v)", c.user, e.Name, e.Args, text, err)
		}
		return
	}
}
