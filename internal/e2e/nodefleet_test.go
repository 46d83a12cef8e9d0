package e2e

import (
	"testing"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/rooms/cluster/redistest"
)

// TestOneFleetWithNode runs two gateways and a Socket.IO server on Node that
// share rooms through the adapter of either version.
func TestOneFleetWithNode(t *testing.T) {
	t.Parallel()
	for _, versions := range []struct{ adapter, emitter string }{
		{"redis-adapter-8", "redis-emitter-5"},
		{"redis-adapter-7", "redis-emitter-4"},
	} {
		t.Run(versions.adapter+" and "+versions.emitter, func(t *testing.T) {
			redis, err := redistest.Start(nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(redis.Close)
			url := "redis://" + redis.Addr
			settings := []string{"USE_REDIS=true", "REDIS_URL=" + url, "SOCKETIO_ADAPTER_KEY=socket.io"}
			a, b := start(t, settings...), start(t, settings...)
			cmd := script(t, a, "websocket", caseArgs("nodefleet.mjs")...)
			cmd.Env = append(cmd.Env, "REDIS_URL="+url, "GATEWAY_2_URL="+b.URL,
				"PUBLISH_TOKEN="+gatewaytest.PublishToken, "ADAPTER="+versions.adapter, "EMITTER="+versions.emitter)
			runCases(t, cmd)
		})
	}
}
