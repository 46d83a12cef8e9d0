package main

import (
	"context"
	"runtime/debug"
	"testing"
	"time"

	"github.com/hometrip/gateway/rooms"
)

func TestCollectorPercent(t *testing.T) {
	for _, row := range []struct {
		live    uint64
		percent int
	}{
		{0, 400}, {leastGarbage / 4, 400}, {leastGarbage, 100}, {3 * leastGarbage / 2, 66},
		{2 * leastGarbage, gcPercent}, {1 << 30, gcPercent}, {1 << 50, gcPercent},
	} {
		if got := collectorPercent(row.live); got != row.percent {
			t.Errorf("%d bytes alive: %d %%, want %d %%", row.live, got, row.percent)
		}
	}
}

var garbage [][]byte

// Garbage is collected while the gateway is idle, and the memory is returned to the
// system. The runtime's own collector is off in this test.
func TestGarbageIsCollectedWhileIdle(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	const waste = 64 << 20
	for range waste >> 10 {
		garbage = append(garbage, make([]byte, 1<<10))
	}
	garbage = nil
	before := heapBytes()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	hub, err := rooms.New(rooms.Config{Shards: 1, MaxMailbox: 1, MaxPacket: 1})
	if err != nil {
		t.Fatal(err)
	}
	g := &Gateway{memory: 1 << 40, hub: hub}
	go func() {
		defer close(ended)
		g.watchMemory(ctx)
	}()
	for deadline := time.Now().Add(time.Minute); heapBytes() > before-waste/2; time.Sleep(memoryInterval) {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes on the heap, %d before: the garbage was not collected", heapBytes(), before)
		}
	}
	stop()
	<-ended
	if free := runtimeFigure("/memory/classes/heap/free:bytes"); free > waste/2 {
		t.Errorf("%d bytes are free and not returned to the system", free)
	}
}
