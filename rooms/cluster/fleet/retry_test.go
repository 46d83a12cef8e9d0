package fleet

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/sioclient"
	"github.com/hometrip/gateway/internal/testkit"
)

// A client's attempts to return are cut while the answer is on its way, or it
// abandons them, and it tries again at once, at either gateway. It must be
// recovered, and get each event once.
func TestClientThatRetriesAtOnceIsRecovered(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(a *gateway, c *recoveringClient){
		"both live": func(_ *gateway, c *recoveringClient) { c.client.Kill() },
		"its own is dead": func(a *gateway, c *recoveringClient) {
			a.Kill()
			<-c.client.Done()
			a.Launch()
			a.AwaitReady()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			s := f.service("retry-" + strings.ReplaceAll(name, " ", "-"))
			a, b := f.start(), f.start()
			ann := newRecoveringClient(t, a, "ann")
			r := newRetries(t, a, b)
			begin(a, ann)
			const rounds, each = 12, 3
			for i := range rounds {
				await(t, <-s.publish(i*each, (i+1)*each))
				for range 1 + r.rng.IntN(6) {
					r.attempt(ann)
				}
				for !r.try(ann, r.nodes[r.rng.IntN(2)].URL, patience) { // an earlier attempt can end a later one
				}
				ann.wantAll((i + 1) * each)
			}
		})
	}
}

// retries makes attempts of a client to return that fail.
type retries struct {
	t     *testing.T
	rng   *rand.Rand
	nodes []*gateway
	lines []*testkit.Proxy
}

func newRetries(t *testing.T, nodes ...*gateway) *retries {
	r := &retries{t: t, rng: rand.New(rand.NewPCG(7, 7)), nodes: nodes}
	for _, g := range nodes {
		p, err := testkit.NewProxy(g.Addr)
		await(t, err)
		t.Cleanup(p.Close)
		r.lines = append(r.lines, p)
	}
	return r
}

// attempt returns over a proxy that ends the connection after some bytes, or
// with a timeout that is too short. If it succeeds, the client keeps the events
// that have come.
func (r *retries) attempt(c *recoveringClient) {
	p := r.lines[r.rng.IntN(len(r.lines))]
	most := 300 * time.Millisecond
	if r.rng.IntN(2) == 0 {
		p.Limit(int64(1 + r.rng.IntN(900)))
		defer p.Limit(0)
	} else {
		most = time.Duration(r.rng.IntN(8000)) * time.Microsecond
	}
	if r.try(c, "http://"+p.Addr, most) {
		c.listen(most)
		c.client.Kill()
	}
}

// try returns to a gateway within a time, and reports whether the client is
// connected.
func (r *retries) try(c *recoveringClient, url string, most time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	auth := map[string]any{"token": gatewaytest.Token(r.t, c.name), "recovery": true, "pid": c.pid}
	if c.offset != "" {
		auth["offset"] = c.offset
	}
	client, err := sioclient.Connect(ctx, url, sioclient.Options{Auth: auth})
	if err != nil {
		return false
	}
	r.t.Cleanup(client.Kill)
	if c.client = client; client.PID() != c.pid {
		said, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		e, err := client.Next(said)
		r.t.Fatalf("the client with offset %q was connected to %s and not recovered: %v, %v", c.offset, url, e, err)
	}
	c.recovered = true
	return true
}

// listen reads events for a time, or until the connection ends.
func (c *recoveringClient) listen(most time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	for {
		e, err := c.client.Next(ctx)
		if err != nil {
			return
		}
		c.take(e)
	}
}
