package e2e

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/sioclient"
)

// wantEnded waits for session_ended with this reason and the DISCONNECT packet.
func (c *client) wantEnded(reason string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*patience)
	defer cancel()
	e, err := c.Next(ctx)
	var body struct{ Reason string }
	if err != nil || e.Name != "session_ended" || e.Decode(&body) != nil || body.Reason != reason {
		c.t.Errorf("%s got %s %s %v, want session_ended for %q", c.user, e.Name, e.Args, err, reason)
	}
	if _, err := c.Next(ctx); !errors.Is(err, sioclient.ErrDisconnected) {
		c.t.Errorf("%s: %v, want a DISCONNECT", c.user, err)
	}
}

// connects tries to connect with these claims. It returns the error, or "" if the
// client was accepted.
func (g *gateway) connects(t *testing.T, claims jwt.MapClaims) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(gatewaytest.Secret))
	if err != nil {
		t.Fatal(err)
	}
	c, err := sioclient.Connect(ctx, g.URL, sioclient.Options{Token: token})
	if err != nil {
		return err.Error()
	}
	c.Close()
	return ""
}

const revoked = "Authentication error: jwt revoked"

// Orders to disconnect a user, revoke a token and log a user out, through RabbitMQ and
// over HTTP. The named sockets must end with a reason, revoked tokens must be refused,
// and other clients must not notice.
func TestOrdersDisconnectUsersAndRevokeTokens(t *testing.T) {
	t.Parallel()
	h := newFixture(t, "orders", "routes: []")
	give := func(way, key, body string) {
		t.Helper()
		if way == "http" {
			if out := h.command("publish", "--http", h.URL, key, body); !strings.HasPrefix(out, `{"order":true,"position":"`) {
				t.Errorf("%s over HTTP: %s", key, out)
			}
			return
		}
		h.publish(key, amqp.Publishing{Body: []byte(body)})
	}
	now := time.Now()
	for _, way := range []string{"amqp", "http"} {
		user := func(name string) string { return name + "-" + way }
		claims := func(name, jti string, issued time.Time) jwt.MapClaims {
			return jwt.MapClaims{"id": user(name), "jti": jti + way, "iat": issued.Unix(), "exp": now.Add(time.Hour).Unix()}
		}
		bystander := h.dial(t, user("bystander"), false)

		ann := h.dialWith(t, user("ann"), claims("ann", "a", now))
		give(way, "user.disconnect", `{"userId":"`+user("ann")+`","reason":"blocked"}`)
		ann.wantEnded("blocked")
		if why := h.connects(t, claims("ann", "a", now)); why != "" {
			t.Errorf("%s: connecting after user.disconnect: %s, want success", way, why)
		}

		bob, bob2 := h.dialWith(t, user("bob"), claims("bob", "b1", now)), h.dialWith(t, user("bob"), claims("bob", "b2", now))
		give(way, "token.revoked", `{"jti":"b1`+way+`","exp":`+time.Now().Add(time.Hour).Format("\"2006-01-02T15:04:05Z07:00\"")+`}`)
		bob.wantEnded("token revoked")
		bob2.do("join_room", "1")
		for jti, want := range map[string]string{"b1": revoked, "b2": ""} {
			if why := h.connects(t, claims("bob", jti, now)); why != want {
				t.Errorf("%s: token %s after a revocation: %q, want %q", way, jti, why, want)
			}
		}

		eve := h.dialWith(t, user("eve"), claims("eve", "e", now.Add(-time.Hour)))
		give(way, "user.logout", `{"userId":"`+user("eve")+`","timestamp":"`+now.UTC().Format(time.RFC3339)+`"}`)
		eve.wantEnded("logged out")
		if why := h.connects(t, claims("eve", "e", now.Add(-time.Hour))); why != revoked {
			t.Errorf("%s: an old token after a logout: %q, want jwt revoked", way, why)
		}
		if why := h.connects(t, claims("eve", "e2", now.Add(time.Minute))); why != "" {
			t.Errorf("%s: a new token after a logout: %q, want success", way, why)
		}
		// A number in claims or orders is the same id as its text.
		number := map[string]int{"amqp": -7, "http": -8}[way]
		dan := h.dialWith(t, strconv.Itoa(number), jwt.MapClaims{"id": number, "jti": number})
		give(way, "token.revoked", fmt.Sprintf(`{"jti":%d.0}`, number))
		dan.wantEnded("token revoked")
		if why := h.connects(t, jwt.MapClaims{"id": number, "jti": number}); why != revoked {
			t.Errorf("%s: a token with the revoked number: %q, want jwt revoked", way, why)
		}
		dan = h.dialWith(t, strconv.Itoa(number), jwt.MapClaims{"id": number})
		give(way, "user.logout", fmt.Sprintf(`{"userId":%d}`, number))
		dan.wantEnded("logged out")
		bystander.do("join_room", "bystander")
	}
	if n := h.Metric(`gateway_sockets_ordered_off_total`); n != 10 {
		t.Errorf("%v sockets counted as ended by orders, want 10", n)
	}
}

func TestCanary(t *testing.T) {
	// The canary sends itself test events, with RabbitMQ and without. They must arrive
	// and be measured, and none may be lost.
	t.Parallel()
	alone := start(t, "CANARY=true", "CANARY_INTERVAL=100")
	h := newFixture(t, "canary", "routes: []", "CANARY=true", "CANARY_INTERVAL=100")
	for name, g := range map[string]*gateway{"without RabbitMQ": alone, "through RabbitMQ": h.gateway} {
		gatewaytest.Await(t, "the canary, "+name, func() bool {
			return g.Metric(`gateway_canary_events_total{what="arrived"}`) >= 5 && g.Metric("gateway_canary_latency_seconds_count") >= 5
		})
		if g.Metric("gateway_canary_connected") != 1 || g.Metric(`gateway_canary_events_total{what="lost"}`) != 0 {
			t.Errorf("%s: connected %v, want 1; lost %v, want 0", name, g.Metric("gateway_canary_connected"), g.Metric(`gateway_canary_events_total{what="lost"}`))
		}
	}
	if n := h.Metric(`gateway_service_events_total{what="received"}`); n < 5 {
		t.Errorf("%v events received from RabbitMQ, want 5 or more", n)
	}
}
