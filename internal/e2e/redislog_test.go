package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/rooms/cluster/redistest"
)

// TestAnEventPostedToOneGatewayReachesTheClientsOfAll: without RabbitMQ.
func TestAnEventPostedToOneGatewayReachesTheClientsOfAll(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it has no POST /events")
	redis, err := redistest.Start(nil)
	if err != nil {
		t.Fatal(err)
	}
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
		gatewaytest.Await(t, "the loss to be told", func() bool {
			_, body, err := g.Get("/ready")
			return err == nil && strings.Contains(string(body), "the log in redis is not read")
		})
	}
}

// wantMessage wants the next event, but for those about members, to be a message
// with this text.
func (c *client) wantMessage(text string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*patience)
	defer cancel()
	for {
		e, err := c.Next(ctx)
		if err != nil {
			c.t.Fatalf("%s waits for %s: %v", c.user, text, err)
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
