package fleet

import (
	"strings"
	"testing"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/testkit"
)

// TestAClientOfAGatewayThatIsCutOffFromRedis comes back to everything or to
// nothing. The other gateway takes the first one for dead.
func TestAClientOfAGatewayThatIsCutOffFromRedis(t *testing.T) {
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
	ann.arrive(b)
	ann.wantAll(6)
	ann.ack("join_room", map[string]any{"roomType": "conversation", "roomId": 2})
	ann.arrive(a) // which does not know of that
	if ann.recovered {
		t.Error("ann was recovered without her room")
	}
	bob.has(6)
	bob.arrive(b) // where nobody knows of his room
	if bob.recovered {
		t.Error("bob was recovered without his room")
	}
	way.Heal()
}
