package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/sioclient"
)

// client wraps a sioclient.Client. Its methods fail the test on an error.
type client struct {
	*sioclient.Client
	t    *testing.T
	user string
}

// dial connects a user and checks the "connected" event. The client is closed when t
// ends.
func (g *gateway) dial(t *testing.T, user string, polling bool) *client {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := sioclient.Connect(ctx, g.URL, sioclient.Options{Polling: polling, Token: gatewaytest.Token(t, user)})
	if err != nil {
		t.Fatalf("connecting %s: %v", user, err)
	}
	t.Cleanup(func() { c.Close() })
	me := &client{c, t, user}
	if got := me.want("connected"); got.SocketID != c.ID() || got.UserID != user {
		t.Fatalf("\"connected\" event %+v, want socket %s and user %s", got, c.ID(), user)
	}
	return me
}

// presence is the body of events about a client: connected, user_joined, user_typing
// and the like.
type presence struct {
	SocketID, UserID, Room, Timestamp string
}

// want returns the body of the next event, which must have this name.
func (c *client) want(event string) presence {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	e, err := c.Next(ctx)
	if err != nil {
		c.t.Fatalf("%s: waiting for %s: %v", c.user, event, err)
	}
	var body presence
	if err := e.Decode(&body); err != nil || e.Name != event {
		c.t.Fatalf("%s got %s %s, want %s (%v)", c.user, e.Name, e.Args, event, err)
	}
	return body
}

// wantOf checks that the next event has this name, is about the client of, and names
// the room.
func (c *client) wantOf(event string, of *client, room string) {
	c.t.Helper()
	got := c.want(event)
	if got.UserID != of.user || got.SocketID != of.ID() || got.Room != room {
		c.t.Fatalf("%s got %s %+v, want one about %s in %s", c.user, event, got, of.user, room)
	}
}

// do emits a room event and requires that it is acknowledged with success.
func (c *client) do(event, roomID string) {
	c.t.Helper()
	if answer := c.ack(event, map[string]string{"roomType": "conversation", "roomId": roomID}); !strings.HasPrefix(answer, `{"success":true`) {
		c.t.Fatalf("%s: %s %s: %s", c.user, event, roomID, answer)
	}
}

func (c *client) ack(event string, data any) string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	answer, err := c.EmitAck(ctx, event, data)
	if err != nil {
		c.t.Fatalf("%s: %s: %v", c.user, event, err)
	}
	return string(answer)
}

func TestGoClient(t *testing.T) {
	t.Parallel()
	g := start(t)
	for _, polling := range []bool{false, true} {
		t.Run(fmt.Sprintf("polling=%v", polling), func(t *testing.T) {
			room := fmt.Sprint("go-", polling)
			ann, ben := g.dial(t, "ann", polling), g.dial(t, "ben", false)
			ann.do("join_room", room)
			ben.do("join_room", room)
			ann.wantOf("user_joined", ben, "conversation:"+room)
			ann.do("typing", room)
			ben.wantOf("user_typing", ann, "conversation:"+room)
			if polling {
				upgrade(t, ann)
				ann.do("stop_typing", room)
				ben.wantOf("user_stop_typing", ann, "conversation:"+room)
			}
			ben.do("leave_room", room)
			ann.wantOf("user_left", ben, "conversation:"+room)
		})
	}
}

func upgrade(t *testing.T, c *client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.Upgrade(ctx); err != nil {
		t.Fatalf("%s: upgrade to WebSocket: %v", c.user, err)
	}
}

func TestGoClientIsRefused(t *testing.T) {
	t.Parallel()
	g := start(t)
	for _, polling := range []bool{false, true} {
		_, err := sioclient.Connect(t.Context(), g.URL, sioclient.Options{Polling: polling, Token: "garbage"})
		var refusal *sioclient.ConnectError
		if !errors.As(err, &refusal) || refusal.Message != "Authentication error: jwt malformed" {
			t.Errorf("polling %v: error %v, want a refusal of the malformed token", polling, err)
		}
	}
	header := http.Header{"Authorization": {"Bearer " + gatewaytest.Token(t, "ann")}}
	c, err := sioclient.Connect(t.Context(), g.URL, sioclient.Options{Header: header})
	if err != nil {
		t.Fatalf("token in the header: %v", err)
	}
	c.Close()
}

// A client upgrades from polling to WebSocket while another one sends it events. It
// must get all of them, in order.
func TestGoClientGetsEventsInOrderDuringUpgrade(t *testing.T) {
	t.Parallel()
	g := start(t)
	const events = 200
	ann, ben := g.dial(t, "ann", true), g.dial(t, "ben", false)
	ann.do("join_room", "x")
	ben.do("join_room", "x")
	ann.wantOf("user_joined", ben, "conversation:x")
	data := json.RawMessage(`{"roomType":"conversation","roomId":"x"}`)
	sent := make(chan error, 1)
	go func() {
		for i := range events {
			if err := ben.Emit([]string{"leave_room", "join_room"}[i%2], data); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	upgrade(t, ann)
	for i := range events {
		ann.wantOf([]string{"user_left", "user_joined"}[i%2], ben, "conversation:x")
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}

// next returns the name of the next event.
func (c *client) next(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	e, err := c.Next(ctx)
	if err != nil {
		t.Fatalf("%s: waiting for an event: %v", c.user, err)
	}
	return e.Name
}
