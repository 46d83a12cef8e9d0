package fleet

import (
	"strings"
	"testing"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/testkit"
)

// A gateway is cut off from Redis, and the other one takes its sessions. A
// client that returns must be recovered with all its rooms and events, or not
// be recovered.
func TestRecoveryWhenAGatewayIsCutOffFromRedis(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	s := f.service("cut-off")
	way, err := testkit.NewProxy(f.redis.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(way.Close)
	_, port, _ := strings.Cut(way.Addr, ":")
	a, b := f.start("REDIS_PORT="+port), f.start()
	ann, bob := newRecoveringClient(t, a, "ann"), newRecoveringClient(t, a, "bob")
	await(t, <-s.publish(0, 3))
	ann.has(3)
	bob.has(3)
	settle(f)
	way.Cut()
	gatewaytest.Await(t, "one gateway that listens", func() bool {
		out, err := f.redis.CLI("PUBSUB", "CHANNELS", "*sessions:*")
		return err == nil && len(strings.Fields(out)) == 1
	})
	bob.ack("join_room", map[string]any{"roomType": "conversation", "roomId": 2})
	await(t, <-s.publish(3, 6))
	ann.returnTo(b)
	ann.wantAll(6)
	ann.ack("join_room", map[string]any{"roomType": "conversation", "roomId": 2})
	ann.returnTo(a) // gateway a does not know of that room
	if ann.recovered {
		t.Error("ann was recovered without conversation 2, want no recovery")
	}
	bob.has(6)
	bob.returnTo(b) // gateway b does not know of his second room
	if bob.recovered {
		t.Error("bob was recovered without conversation 2, want no recovery")
	}
	way.Heal()
}
