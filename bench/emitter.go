package main

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/rueidis"

	"github.com/hometrip/gateway/bench/load"
	"github.com/hometrip/gateway/rooms/adapter"
)

// emitterScenario publishes new_message to Redis in the form of
// @socket.io/redis-emitter, to the gateway as a member of a fleet on Node and
// to a Node server with the same adapter.
func emitterScenario(t *trial) error {
	redis, err := t.redis()
	if err != nil {
		return err
	}
	return t.busShapes(&bus{
		helper: redis,
		env:    append(redisEnv(redis), "SOCKETIO_ADAPTER_KEY=socket.io", "SOCKETIO_ADAPTER_EVENTS=all"),
		publish: func(rooms, events int, rate float64) error {
			return publishEmits("127.0.0.1:"+redis.portText(), rooms, events, rate)
		},
	})
}

// emitBatch is how many events a saturated publisher sends at once.
const emitBatch = 64

// publishEmits publishes events round robin over the rooms. With a rate it
// keeps to the schedule, and an event late carries the time it was due.
func publishEmits(address string, rooms, events int, rate float64) error {
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{address}, DisableCache: true})
	if err != nil {
		return fmt.Errorf("publisher: %w", err)
	}
	defer client.Close()
	names := adapter.NamesOf("socket.io")
	start := monotonic()
	var batch rueidis.Commands
	for n := range events {
		due := monotonic()
		if rate > 0 {
			due = start + int64(float64(n)*1e9/rate)
			time.Sleep(time.Duration(due - monotonic()))
		}
		room := int32(n % rooms)
		packet := fmt.Appendf(nil, `42["new_message",%s]`, load.MessageBody(room, uint32(n/rooms), due))
		name := load.RoomName(room)
		message, err := adapter.AppendEmit(nil, adapter.EmitterID, packet, adapter.Options{Rooms: []string{name}})
		if err != nil {
			return err
		}
		batch = append(batch, client.B().Publish().Channel(names.Room(name)).Message(rueidis.BinaryString(message)).Build())
		if rate == 0 && len(batch) < emitBatch && n < events-1 {
			continue
		}
		for _, result := range client.DoMulti(context.Background(), batch...) {
			if err := result.Error(); err != nil {
				return fmt.Errorf("publish event %d of %d: %w", n, events, err)
			}
		}
		batch = nil
	}
	return nil
}
