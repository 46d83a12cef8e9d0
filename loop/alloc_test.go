package loop

import (
	"testing"

	"github.com/gobwas/ws"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/loop/wheel"
	"github.com/hometrip/gateway/rooms"
)

// newQuietLoop returns a simulation of one loop with n sessions, which are all
// in the room of one user and in conversations of four.
func newQuietLoop(t *testing.T, n int) (*simulation, *worker) {
	sim := newSimulation(t, 1)
	for i := range n {
		sim.connect(i)
	}
	sim.everybodyIsOne()
	return sim, sim.server.workers[0]
}

func TestHeartbeatAllocatesNothing(t *testing.T) {
	sim, w := newQuietLoop(t, 1000)
	wrote := sim.writes()
	allocs := testing.AllocsPerRun(3*250, func() { // about three intervals
		sim.now = sim.now.Add(wheel.Tick)
		w.wheel.Advance(sim.now)
		w.onWakeup()
		sim.answerPings()
	})
	if pings := sim.writes() - wrote; pings < 2000 {
		t.Fatalf("%d pings for 1000 sessions in about three intervals, want 2000 at least", pings)
	}
	if allocs != 0 {
		t.Errorf("%v allocations a tick, want none", allocs)
	}
}

func TestBroadcastToSocketsAllocatesNothing(t *testing.T) {
	sim, w := newQuietLoop(t, 1000)
	b := rooms.Broadcast{Room: "user:all", Message: codec.NewText([]byte(`42["news",{}]`))}
	wrote := sim.writes()
	const runs = 50
	allocs := testing.AllocsPerRun(runs, func() {
		sim.hub.Deliver(b)
		for w.onWakeup(); w.turns.scheduled || w.outbox.used > 0; w.onWakeup() {
		}
	})
	if got, want := sim.writes()-wrote, (runs+1)*1000; got != want {
		t.Fatalf("%d writes, want %d: one for each socket", got, want)
	}
	if allocs > 1 { // with the race detector the byte written by the wakeup escapes
		t.Errorf("%v allocations for a broadcast to 1,000 sockets, want none", allocs)
	}
}

// From the bytes read to the frames written, an event of a client allocates
// only the message and its bytes.
func TestFrameToHandlerAllocatesLittle(t *testing.T) {
	sim, w := newQuietLoop(t, 4)
	for _, s := range w.sessions {
		s.packet([]byte("42"+joinEvent("1")), sim.now)
	}
	sim.settle()
	whole := []byte(frame(true, ws.OpText, "42"+typingEvent("1")))
	read := make([]byte, len(whole)) // unmasked in place
	conn := w.sessions[0].ws
	wrote := sim.writes()
	const runs = 100
	allocs := testing.AllocsPerRun(runs, func() {
		copy(read, whole)
		if n, err := conn.next(read, sim.now); n != len(whole) || err != nil {
			t.Fatalf("%d of %d bytes taken, %v", n, len(whole), err)
		}
		w.onWakeup()
	})
	if got, want := sim.writes()-wrote, (runs+1)*3; got != want {
		t.Fatalf("%d writes, want %d: one for each of the others", got, want)
	}
	if allocs > 2 {
		t.Errorf("%v allocations for typing among four, want at most 2", allocs)
	}
}
