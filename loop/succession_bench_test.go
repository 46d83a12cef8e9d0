package loop

import (
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hometrip/gateway/internal/handover/form"
	"github.com/hometrip/gateway/internal/testkit"
)

// BenchmarkHandOver measures the CPU time of a hand-over for each WebSocket
// session with two rooms: to describe, to read, to plan and to take it.
func BenchmarkHandOver(b *testing.B) {
	const clients = 3000
	current := newServer(b, nil)
	for i := range clients {
		connectWS(b, current, strconv.Itoa(i)).join(strconv.Itoa(i))
	}
	var spent [4]time.Duration
	b.ResetTimer()
	for range b.N {
		b.StopTimer()
		next := newServer(b, nil)
		f, err := current.Freeze(b.Context(), nothingElse)
		testkit.Need(b, err)
		b.StartTimer()
		at := cpuTime()
		lap := func(phase int) { now := cpuTime(); spent[phase] += now - at; at = now }
		var parts []Part
		err = f.State(func(p Part) error { parts = append(parts, p); return nil })
		testkit.Need(b, err)
		lap(0)
		var portions []*form.Loop
		for _, p := range parts {
			l, err := form.ReadLoop(p.Body)
			testkit.Need(b, err)
			portions = append(portions, l)
		}
		lap(1)
		b.StopTimer()
		for i, p := range parts {
			for j, fd := range p.Descriptors {
				portions[i].Conns[j].FD, err = unix.Dup(fd)
				testkit.Need(b, err)
			}
		}
		b.StartTimer()
		at = cpuTime()
		e, err := next.ReceiveState(portions)
		testkit.Need(b, err)
		lap(2)
		taken, err := e.Take(b.Context(), func() {})
		if err != nil || taken.Connections != clients {
			b.Fatalf("%+v %v", taken, err)
		}
		lap(3)
		b.StopTimer()
		f.LetGo(func(fd int) { unix.Close(fd) })
		current = next
		b.StartTimer()
	}
	for i, name := range []string{"describe", "read", "plan", "take"} {
		b.ReportMetric(float64(spent[i].Nanoseconds())/float64(b.N)/clients, name+"-ns/conn")
	}
}
