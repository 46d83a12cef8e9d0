package fleet

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/sioclient"
)

// A recoveringClient is a client in conversation 1 that asks for recovery, and
// may return to any gateway.
type recoveringClient struct {
	t           *testing.T
	name        string
	client      *sioclient.Client
	pid, offset string
	numbers     []int
	events      []string // names of all other events
	recovered   bool
	sockets     []string
}

func newRecoveringClient(t *testing.T, g *gateway, name string) *recoveringClient {
	c := &recoveringClient{t: t, name: name}
	c.returnTo(g)
	c.ack("join_room", map[string]any{"roomType": "conversation", "roomId": 1})
	return c
}

func (c *recoveringClient) ack(event string, data any) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := c.client.EmitAck(ctx, event, data); err != nil {
		c.t.Fatal(err)
	}
}

func (c *recoveringClient) returnTo(g *gateway) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	auth := map[string]any{"token": gatewaytest.Token(c.t, c.name), "recovery": true}
	if c.pid != "" {
		auth["pid"] = c.pid
	}
	if c.offset != "" {
		auth["offset"] = c.offset
	}
	client, err := sioclient.Connect(ctx, g.URL, sioclient.Options{Auth: auth})
	if err != nil {
		c.t.Fatalf("%s: %v", c.name, err)
	}
	c.t.Cleanup(client.Kill)
	c.recovered = client.PID() == c.pid
	c.client, c.pid = client, client.PID()
	c.sockets = append(c.sockets, client.ID())
}

// has reads events until it has that many numbers.
func (c *recoveringClient) has(count int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for len(c.numbers) < count {
		e, err := c.client.Next(ctx)
		if err != nil {
			c.t.Fatalf("%s: %v, has %v", c.name, err, c.numbers)
		}
		c.take(e)
	}
}

func (c *recoveringClient) take(e sioclient.Event) {
	keepOffset(e, &c.offset)
	if e.Name != "new_message" {
		c.events = append(c.events, e.Name)
		return
	}
	var body struct{ Message int }
	_ = json.Unmarshal(e.Args[0], &body)
	c.numbers = append(c.numbers, body.Message)
}

// keepOffset keeps the offset of an event, if it has one.
func keepOffset(e sioclient.Event, offset *string) {
	if len(e.Args) > 0 {
		_ = json.Unmarshal(e.Args[len(e.Args)-1], offset) // an error: no string
	}
}

// wantAll checks that each number below count has come once, in order, on one
// socket id.
func (c *recoveringClient) wantAll(count int) {
	c.t.Helper()
	c.has(count)
	want := make([]int, count)
	for i := range want {
		want[i] = i
	}
	if !slices.Equal(c.numbers, want) {
		c.t.Errorf("%s got %v, want each number below %d in order", c.name, c.numbers, count)
	}
	if !c.recovered {
		c.t.Errorf("%s was not recovered", c.name)
	}
	if slices.ContainsFunc(c.sockets, func(id string) bool { return id != c.sockets[0] }) {
		c.t.Errorf("%s had the socket ids %v, want one", c.name, c.sockets)
	}
}

// A client's connection or gateway ends in one of several ways, and it returns
// to another gateway. It must be recovered with all events, and other members
// must not notice.
func TestClientsAreRecoveredOnAnotherGateway(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(f *fleet, a *gateway, c *recoveringClient){
		"cut":        func(_ *fleet, _ *gateway, c *recoveringClient) { c.client.Kill() },
		"not closed": func(*fleet, *gateway, *recoveringClient) {},
		"restarted": func(_ *fleet, a *gateway, c *recoveringClient) { // see below
			a.Kill()
			<-c.client.Done()
		},
		"killed":  func(_ *fleet, a *gateway, c *recoveringClient) { a.Kill(); <-c.client.Done() },
		"drained": func(_ *fleet, a *gateway, c *recoveringClient) { a.Signal(syscall.SIGTERM); <-c.client.Done() },
		"gone": func(_ *fleet, a *gateway, c *recoveringClient) {
			a.Signal(syscall.SIGTERM)
			if code := a.Wait(); code != 0 {
				c.t.Errorf("exit code %d", code)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			s := f.service("recovery-" + strings.ReplaceAll(name, " ", "-"))
			settings := []string{"PRESENCE_GRACE=3000"}
			a, b := f.start(settings...), f.start(settings...)
			bob := newRecoveringClient(t, b, "bob")
			ann := newRecoveringClient(t, a, "ann")
			await(t, <-s.publish(0, 5))
			ann.has(5)
			settle(f)
			leave(f, a, ann)
			await(t, <-s.publish(5, 10))
			if name == "restarted" {
				b.Kill() // now no gateway has the events in memory
				b = f.start(settings...)
				<-bob.client.Done()
				bob.returnTo(b)
			}
			ann.returnTo(b)
			ann.wantAll(10)
			await(t, <-s.publish(10, 12))
			ann.wantAll(12)
			bob.has(12)
			if name == "cut" || name == "not closed" {
				ann.returnTo(a) // and back again, before b has noticed the end of the connection
				await(t, <-s.publish(12, 14))
				ann.wantAll(14)
				bob.has(14)
			}
			if name == "drained" && a.Wait() != 0 {
				t.Error("the drained gateway has exited with an error")
			}
			if name != "gone" && slices.Contains(bob.events, "user_left") {
				t.Errorf("bob got %v, want no user_left", bob.events)
			}
		})
	}
}

// settle waits until the records of sessions are in Redis.
func settle(f *fleet) {
	f.t.Helper()
	gatewaytest.Await(f.t, "the records of sessions", func() bool {
		out, err := f.redis.CLI("-n", "1", "KEYS", "*session:*")
		return err == nil && len(strings.Fields(out)) >= 2
	})
	time.Sleep(50 * time.Millisecond)
}

func await(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
