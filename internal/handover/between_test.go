package handover

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/internal/testkit/redistest"
)

// Redis or the log changes after the new process was built and before the event loops
// stop. The hand-over must fail, and the old process go on serving and log why.
func TestChangesDuringTheBuildMakeTheHandOverFail(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(t *testing.T, g *gatewaytest.Gateway, redis *redistest.Server, line *testkit.Proxy)
		why    string
	}{
		{"the connection to Redis is lost", func(t *testing.T, g *gatewaytest.Gateway, _ *redistest.Server, line *testkit.Proxy) {
			line.Cut()
			gatewaytest.Await(t, "the gateway to notice", func() bool {
				status, _, err := g.Get("/ready")
				return err == nil && status == 503
			})
		}, "the connection to Redis, which was lost"},
		{"the log is made anew", func(t *testing.T, g *gatewaytest.Gateway, redis *redistest.Server, _ *testkit.Proxy) {
			if out, err := redis.CLI("-n", "1", "DEL", "ws:1:events"); err != nil || !strings.HasPrefix(out, "1") {
				t.Fatalf("the stream was not deleted: %s %v", out, err)
			}
			publishUntil(t, g, "reading the log of the services' events", 2)
		}, "made anew meanwhile"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			redis, line := redistest.StartBehindProxy(t)
			path := socketPath(t)
			g := gatewaytest.Start(t, "HANDOVER_SOCKET="+path, "NODE_ENV=production", "USE_REDIS=true", "REDIS_URL=redis://"+line.Addr, "EVENT_LOG=redis")
			client := newAckedClient(t, g, "1", false)
			aside := path + ".aside"
			if err := os.Rename(path, aside); err != nil {
				t.Fatal(err)
			}
			r := startRelay(t, relayOrder{Listen: path, Target: aside, Hold: kindReady})
			next := g.Successor()
			next.Begin()
			gatewaytest.Await(t, "the successor to be built", r.holding)
			c.change(t, g, redis, line)
			r.goOn()
			gatewaytest.Await(t, "one process to end", func() bool { return g.HasEnded() || next.HasEnded() })
			if g.HasEnded() {
				t.Fatalf("the hand-over succeeded, want it to fail\n%s", next.Out)
			}
			if out := g.Out.String(); !strings.Contains(out, "a hand-over failed") || !strings.Contains(out, c.why) {
				t.Errorf("the old process does not log %q:\n%s", c.why, out)
			}
			line.Heal()
			client.mustBeAcked(t)
		})
	}
}

// publishUntil publishes events until g's log contains what this many times.
func publishUntil(t *testing.T, g *gatewaytest.Gateway, what string, times int) {
	t.Helper()
	n := 0
	gatewaytest.Await(t, fmt.Sprintf("%q, %d times", what, times), func() bool {
		n++
		_, _, _ = g.Post("message.sent", fmt.Sprintf(`{"conversationId":"1","message":"%d"}`, n))
		return strings.Count(g.Out.String(), what) >= times
	})
}
