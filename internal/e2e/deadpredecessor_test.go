package e2e

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/sioclient"
	"github.com/hometrip/gateway/internal/testkit/redistest"
)

// A gateway is killed while the process that is to take over from it is starting. Its
// clients' sessions are in Redis. The new process must serve alone, find the sessions
// there, and a client must recover with its socket and missed events.
func TestClientsRecoverWhenTheGatewayDiesInAHandOver(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it does not hand over")
	_, line := redistest.StartBehindProxy(t)
	g := start(t, "NODE_ENV=production", "USE_REDIS=true", "REDIS_URL=redis://"+line.Addr, "EVENT_LOG=redis", handoverSocket(t))
	g.AwaitReady()
	ann := &recoveringClient{g: g}
	ann.arrive(t)
	if _, err := ann.EmitAck(t.Context(), "join_room", map[string]string{"roomType": "conversation", "roomId": "1"}); err != nil {
		t.Fatal(err)
	}
	ann.publish(t, "before")
	ann.wantMessage(t, "before")

	line.Hold() // the new process waits for Redis; the old one is killed meanwhile
	next := g.Successor()
	var progress string
	next.Command, progress = toFile(t, []string{gatewaytest.Program(t)})
	ended := make(chan error, 1)
	go func() {
		_, err := next.Run("handover")
		ended <- err
	}()
	gatewaytest.Await(t, "the successor to be built", func() bool {
		text, _ := os.ReadFile(progress)
		return strings.Contains(string(text), "connects to what it needs")
	})
	g.Kill()
	line.Heal()
	err := <-ended
	text := read(t, progress)
	started(t, text)
	if err != nil || !strings.Contains(text, "nothing is handed over") {
		t.Fatalf("want the successor to serve alone: %v\n%s", err, text)
	}
	<-ann.Done()
	g.AwaitReady() // the new process listens at the same address
	ann.publish(t, "meanwhile")
	pid, id := ann.PID(), ann.ID()
	if ann.arrive(t); ann.PID() != pid || ann.ID() != id {
		t.Errorf("socket %s reconnected as %s, want it recovered\n%s", id, ann.ID(), read(t, progress))
	}
	ann.wantMessage(t, "meanwhile")
	ann.publish(t, "after")
	ann.wantMessage(t, "after")
}

// recoveringClient is a client that asks for recovery at each connect.
type recoveringClient struct {
	*sioclient.Client // nil before the first connect
	g                 *gateway
	offset            string
}

func (r *recoveringClient) arrive(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	auth := map[string]any{"token": gatewaytest.Token(t, "ann"), "recovery": true}
	if r.Client != nil {
		auth["pid"], auth["offset"] = r.PID(), r.offset
	}
	c, err := sioclient.Connect(ctx, r.g.URL, sioclient.Options{Auth: auth})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Kill)
	r.Client = c
}

func (r *recoveringClient) publish(t *testing.T, message string) {
	t.Helper()
	if status, answer, err := r.g.Post("message.sent", `{"conversationId":"1","message":"`+message+`"}`); err != nil || status != 202 {
		t.Fatalf("publish %s: %d %s %v", message, status, answer, err)
	}
}

// wantMessage waits for the next message, which must have this text.
func (r *recoveringClient) wantMessage(t *testing.T, message string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		e, err := r.Next(ctx)
		if err != nil {
			t.Fatalf("waiting for %s: %v", message, err)
		}
		if e.Name != "new_message" {
			continue
		}
		var body struct{ Message string }
		if err := e.Decode(&body); err != nil || body.Message != message {
			t.Fatalf("got message %q, %v, want %q", body.Message, err, message)
		}
		if err := json.Unmarshal(e.Args[len(e.Args)-1], &r.offset); err != nil {
			t.Fatal(err)
		}
		return
	}
}
