package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/sioclient"
	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/internal/testkit/redistest"
)

func conversation(id string) map[string]string {
	return map[string]string{"roomType": "conversation", "roomId": id}
}

const notAllowed = `{"error":"Not allowed"}`

// dialWith connects a user with more claims in the token.
func (g *gateway) dialWith(t *testing.T, user string, more jwt.MapClaims) *client {
	t.Helper()
	claims := jwt.MapClaims{"id": user, "exp": time.Now().Add(time.Hour).Unix()}
	for name, value := range more {
		claims[name] = value
	}
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(gatewaytest.Secret))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := sioclient.Connect(ctx, g.URL, sioclient.Options{Token: signed})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	me := &client{c, t, user}
	me.want("connected")
	return me
}

func TestRoomsOfTheToken(t *testing.T) {
	notOnReference(t, "rooms are open there")
	g := start(t, "ROOM_POLICY=claims", "NOTIFICATION_ROOMS=own")
	ann := g.dialWith(t, "ann", jwt.MapClaims{"rooms": []string{"conversation:1", "notification:*"}})
	ann.do("join_room", "1")
	for _, room := range []map[string]string{conversation("2"), {"roomType": "notification", "roomId": "bob"}} {
		if got := ann.ack("join_room", room); got != notAllowed {
			t.Errorf("%v: %s", room, got)
		}
	}
	if got := ann.ack("join_room", map[string]string{"roomType": "notification", "roomId": "ann"}); !strings.HasPrefix(got, `{"success":true`) {
		t.Errorf("joining her own notification room: %s, want success", got)
	}
	nobody := g.dialWith(t, "eve", nil)
	if got := nobody.ack("join_room", conversation("1")); got != notAllowed {
		t.Errorf("joining without the claim rooms: %s, want Not allowed", got)
	}
	explained, err := g.Run("authz", "explain", "ann", "conversation:1", "--rooms", "conversation:*")
	if err != nil || !strings.Contains(explained, `yes: the token's claim rooms has "conversation:*"`) {
		t.Errorf("authz explain printed %q, %v", explained, err)
	}
}

// The application decides who may join a room. While it is down nobody can join, and
// members stay in their rooms.
func TestRoomsByWebhook(t *testing.T) {
	notOnReference(t, "rooms are open there")
	application := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q struct{ UserID, RoomID string }
		switch err := json.NewDecoder(r.Body).Decode(&q); {
		case err != nil || r.Header.Get("Authorization") != "Bearer room secret":
			w.WriteHeader(http.StatusUnauthorized)
		case q.UserID == "ann" && q.RoomID == "1":
			w.WriteHeader(http.StatusNoContent)
		default:
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	defer application.Close()
	g := start(t, "ROOM_POLICY=webhook", "ROOM_AUTH_URL="+application.URL, "ROOM_AUTH_TOKEN=room secret", "ROOM_AUTH_TTL=0")
	ann, bob := g.dial(t, "ann", false), g.dial(t, "bob", true)
	ann.do("join_room", "1")
	if got := bob.ack("join_room", conversation("1")); got != notAllowed {
		t.Errorf("bob joins: %s, want Not allowed", got)
	}
	application.Close()
	if got := ann.ack("join_room", conversation("2")); got != `{"error":"Authorization unavailable"}` {
		t.Errorf("joining while the application is down: %s, want Authorization unavailable", got)
	}
	ann.do("typing", "1") // members stay in their rooms
	if strings.Contains(g.Out.String(), "room secret") {
		t.Error("the log contains the secret")
	}
}

// A user is removed from the room's set in Redis. His sockets on both nodes must leave
// the room and get room_revoked, and the other member gets user_left for each.
func TestRoomsByRedisOnAllNodes(t *testing.T) {
	notOnReference(t, "rooms are open there")
	redis, err := redistest.Start(nil)
	testkit.Need(t, err)
	defer redis.Close()
	settings := []string{"ROOM_POLICY=redis", "USE_REDIS=true", "REDIS_URL=redis://" + redis.Addr + "/1"}
	left, right := start(t, settings...), start(t, settings...)
	cli := func(args ...string) {
		t.Helper()
		if _, err := redis.CLI(append([]string{"-n", "1"}, args...)...); err != nil {
			t.Fatal(err)
		}
	}
	cli("SADD", "ws:acl:conversation:1", "ann", "bob")
	for _, g := range []*gateway{left, right} {
		gatewaytest.Await(t, "Redis", func() bool {
			_, body, err := get(g.URL + "/health")
			return err == nil && strings.Contains(string(body), `"redis":"connected"`)
		})
	}
	ann, bob, bob2, eve := left.dial(t, "ann", false), left.dial(t, "bob", false), right.dial(t, "bob", true), right.dial(t, "eve", false)
	gatewaytest.Await(t, "the policy to be connected", func() bool {
		return strings.HasPrefix(ann.ack("join_room", conversation("1")), `{"success":true`) &&
			!strings.Contains(eve.ack("join_room", conversation("1")), "unavailable")
	})
	if got := eve.ack("join_room", conversation("1")); got != notAllowed {
		t.Errorf("eve joins: %s, want Not allowed", got)
	}
	bob.do("join_room", "1")
	ann.wantOf("user_joined", bob, "conversation:1")
	left.AwaitListed()
	bob2.do("join_room", "1")
	ann.wantOf("user_joined", bob2, "conversation:1")
	bob.wantOf("user_joined", bob2, "conversation:1")

	cli("SREM", "ws:acl:conversation:1", "bob")
	gone := map[string]bool{}
	for len(gone) < 2 {
		left := ann.want("user_left")
		if left.UserID != "bob" {
			t.Fatalf("%+v left, want bob", left)
		}
		gone[left.SocketID] = true
	}
	for _, c := range []*client{bob, bob2} {
		for { // one of the two may first get user_left about the other
			e, err := c.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if e.Name == "user_left" {
				continue
			}
			var told struct{ Room, Reason string }
			if err := e.Decode(&told); e.Name != "room_revoked" || err != nil || told.Room != "conversation:1" || told.Reason == "" {
				t.Errorf("got %s %s, want room_revoked", e.Name, e.Args)
			}
			break
		}
		if got := c.ack("typing", conversation("1")); got != `{"error":"Not in room"}` {
			t.Errorf("typing after the removal: %s, want \"Not in room\"", got)
		}
	}
	if got, err := left.Run("authz", "explain", "bob", "conversation:1"); err == nil || !strings.HasPrefix(got, "no: the set ws:acl:conversation:1 does not have the user") {
		t.Errorf("authz explain printed %q, want the reason", got)
	}
}

// Connections beyond the limits per user and per address are refused. A client that
// emits too fast gets an error first and is disconnected if it goes on.
func TestLimitsPerUserAndAddress(t *testing.T) {
	notOnReference(t, "it has no such limits")
	g := start(t, "MAX_SOCKETS_PER_USER=2", "MAX_CONNECTIONS_PER_IP=3", "TRUSTED_PROXIES=127.0.0.1", "MAX_EVENTS_PER_SECOND=5", "MAX_EVENTS_BURST=20")
	connect := func(user, from string) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		c, err := sioclient.Connect(ctx, g.URL, sioclient.Options{Token: gatewaytest.Token(t, user), Header: http.Header{"X-Forwarded-For": {from}}})
		if err == nil {
			t.Cleanup(func() { c.Close() })
		}
		return err
	}
	for i, c := range []struct{ user, from, want string }{
		{"ann", "192.0.2.1", ""},
		{"ann", "192.0.2.1", ""},
		{"ann", "192.0.2.2", "Too many connections of this user"},
		{"bob", "192.0.2.1", ""},
		{"eve", "192.0.2.1", "503"},
		{"eve", "192.0.2.3", ""},
	} {
		err := connect(c.user, c.from)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d: %s from %s: %v, want %q", i, c.user, c.from, err, c.want)
		}
	}
	fast := g.dial(t, "fast", false)
	answer := ""
	for n := 0; answer != `{"error":"Too many events"}` && n < 100; n++ {
		answer = fast.ack("typing", conversation("1"))
	}
	if answer != `{"error":"Too many events"}` {
		t.Errorf("answer after up to 100 events: %s, want Too many events", answer)
	}
	for n := 0; n < 100 && fast.Err() == nil; n++ {
		_ = fast.Emit("typing", conversation("1"))
	}
	gatewaytest.Await(t, "the end of a client that does not stop", func() bool { return fast.Err() != nil })
	_, body, err := exchange(http.MethodGet, g.URL+"/metrics", http.Header{"Accept": {"text/plain"}}, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`gateway_connections_refused_total{reason="address"} 1`, `gateway_sessions_closed_total{reason="too_fast"} 1`,
	} {
		if !strings.Contains(string(body), line) {
			t.Errorf("the metrics lack %q", line)
		}
	}
}

// With ADMIN_ADDR metrics and profiles are served on the admin port only. Profiles
// require METRICS_TOKEN.
func TestAdminPortAndMetricsToken(t *testing.T) {
	notOnReference(t, "it has neither")
	g := start(t, "ADMIN_ADDR=127.0.0.1:0", "METRICS_TOKEN=metrics secret")
	gatewaytest.Await(t, "the admin port", func() bool { return strings.Contains(g.Out.String(), "admin port") })
	_, rest, _ := strings.Cut(g.Out.String(), `"msg":"admin port","address":"`)
	admin, _, found := strings.Cut(rest, `"`)
	if !found {
		t.Fatalf("the log does not contain the admin port: %s", g.Out)
	}
	admin = "http://" + admin
	bearer := http.Header{"Authorization": {"Bearer metrics secret"}}
	wrong := http.Header{"Authorization": {"Bearer metrics secre"}}
	for _, c := range []struct {
		url    string
		header http.Header
		want   int
	}{
		{g.URL + "/metrics", bearer, 404},
		{g.URL + "/debug/pprof/", bearer, 404},
		{g.URL + "/health", nil, 200},
		{admin + "/health", nil, 200},
		{admin + "/ready", nil, 200},
		{admin + "/metrics", nil, 200},
		{admin + "/metrics", wrong, 200},
		{admin + "/debug/pprof/", wrong, 401},
		{admin + "/debug/pprof/", nil, 401},
		{admin + "/debug/pprof/goroutine?debug=1", bearer, 200},
		{admin + "/events/message.sent", nil, 404},
	} {
		res, body, err := exchange(http.MethodGet, c.url, c.header, "")
		if err != nil || res.StatusCode != c.want {
			t.Errorf("%s with %v: %v %v, want %d", c.url, c.header, res, err, c.want)
			continue
		}
		for name, value := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
		} {
			if got := res.Header.Values(name); len(got) != 1 || got[0] != value {
				t.Errorf("%s: %s is %q, want %q once", c.url, name, got, value)
			}
		}
		if strings.Contains(string(body), "metrics secret") {
			t.Errorf("%s: the response contains the secret", c.url)
		}
	}
}

func TestMetricsTokenOnThePublicPort(t *testing.T) {
	notOnReference(t, "it has none")
	g := start(t, "METRICS_TOKEN=metrics secret")
	for token, want := range map[string]int{"": 401, "Bearer x": 401, "metrics secret": 401, "Bearer metrics secret": 200} {
		if status, _, err := request(http.MethodGet, g.URL+"/metrics", http.Header{"Authorization": {token}}, ""); err != nil || status != want {
			t.Errorf("%q: %d %v, want %d", token, status, err, want)
		}
	}
}

func TestProductionWarnsOfOpenRooms(t *testing.T) {
	notOnReference(t, "it does not")
	g := start(t, "NODE_ENV=production")
	gatewaytest.Await(t, "the warning", func() bool { return strings.Contains(g.Out.String(), "ROOM_POLICY=open") })
}
