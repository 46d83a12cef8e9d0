package e2e

import (
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/internal/testkit/redistest"
)

// Two gateways and a Socket.IO server on Node share rooms through Redis, with each
// supported version of the adapter and the emitter. A third gateway only compares
// (SOCKETIO_ADAPTER_EVENTS=compare).
func TestGatewaysAndNodeServerShareRooms(t *testing.T) {
	t.Parallel()
	for _, versions := range []struct{ adapter, emitter string }{
		{"redis-adapter-8", "redis-emitter-5"},
		{"redis-adapter-7", "redis-emitter-4"},
	} {
		t.Run(versions.adapter+" and "+versions.emitter, func(t *testing.T) {
			redis, err := redistest.Start(nil)
			testkit.Need(t, err)
			t.Cleanup(redis.Close)
			url := "redis://" + redis.Addr
			settings := []string{"USE_REDIS=true", "REDIS_URL=" + url, "SOCKETIO_ADAPTER_KEY=socket.io"}
			a, b := start(t, settings...), start(t, settings...)
			cmd := script(t, a, "websocket", caseArgs("nodefleet.mjs")...)
			shadow := start(t, append(settings, "SOCKETIO_ADAPTER_EVENTS=compare")...)
			cmd.Env = append(cmd.Env, "REDIS_URL="+url, "GATEWAY_2_URL="+b.URL, "SHADOW_URL="+shadow.URL,
				"PUBLISH_TOKEN="+gatewaytest.PublishToken, "ADAPTER="+versions.adapter, "EMITTER="+versions.emitter)
			runCases(t, cmd)
		})
	}
}

// Redis, then the gateway, is killed and restarted while a Node server emits events.
// Clients of the gateway must get the events emitted afterwards in order and once.
// Events emitted meanwhile may be lost, as between Node servers.
func TestNodeFleetAfterRestarts(t *testing.T) {
	t.Parallel()
	redis, err := redistest.Start(nil)
	testkit.Need(t, err)
	t.Cleanup(redis.Close)
	url := "redis://" + redis.Addr
	g := start(t, "USE_REDIS=true", "REDIS_URL="+url, "SOCKETIO_ADAPTER_KEY=socket.io")
	cmd := script(t, g, "websocket", "nodestream.mjs")
	cmd.Env = append(cmd.Env, "REDIS_URL="+url)
	stream := g.watch(t, cmd)
	var last [2]int64
	// follow waits until each client has received this many more events.
	follow := func(what string, events int) {
		t.Helper()
		seen := [2]int{}
		deadline := time.After(2 * time.Minute)
		for seen[0] < events || seen[1] < events {
			select {
			case s, ok := <-stream.steps:
				if !ok || s.Error != "" {
					t.Fatalf("%s: the clients have ended: %s", what, s.Error)
				}
				if s.Step != "event" {
					continue
				}
				if s.At <= last[s.Member] {
					t.Fatalf("%s: client %d got event %d after %d", what, s.Member, s.At, last[s.Member])
				}
				last[s.Member] = s.At
				seen[s.Member]++
			case <-deadline:
				t.Fatalf("%s: the clients got %v events, want %d each", what, seen, events)
			}
		}
	}
	// drain reads the steps that have already arrived.
	drain := func() {
		for {
			select {
			case s := <-stream.steps:
				if s.Step == "event" {
					last[s.Member] = max(last[s.Member], s.At)
				}
			default:
				return
			}
		}
	}
	follow("at first", 100)
	redis.Kill()
	drain()
	if err := redis.Launch(); err != nil {
		t.Fatal(err)
	}
	follow("after a restart of Redis", 200)
	g.Kill()
	drain()
	g.Launch()
	follow("after a restart of the gateway", 200)
}
