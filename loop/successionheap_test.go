package loop

import (
	"runtime"
	"strconv"
	"testing"
)

// The heap of a server that has taken over clients must be at most 5 % larger
// than that of a server to which the same clients have connected.
func TestSuccessorUsesAsMuchMemoryAsANewServer(t *testing.T) {
	const clients = 1000 // three descriptors each
	fresh, stopFresh := startServer(t)
	successor, stopSuccessor := startServer(t) // its own memory is counted at both times
	kept := make([]any, 0, clients)            // the clients' own memory is in the same process
	for i := range clients {
		if i%8 == 0 {
			p := connectPolling(t, fresh, strconv.Itoa(i))
			p.s = nil
			kept = append(kept, p)
			continue
		}
		c := connectWS(t, fresh, strconv.Itoa(i))
		c.join(strconv.Itoa(i))
		kept = append(kept, c)
	}
	with := heap()
	handOver(t, fresh, successor, nil)
	stopFresh()
	taken := heap()
	stopSuccessor()
	without := heap()
	runtime.KeepAlive(kept)
	before, after := with-without, taken-without
	t.Logf("%d clients: %d bytes each when they have connected, %d when they were taken over", clients, before/clients, after/clients)
	if after*20 > before*21 {
		t.Errorf("a server that took over uses %d bytes, want 5 %% more than %d at most, which a new server with the same clients uses", after, before)
	}
}

// startServer starts a server to which nothing refers after stop.
func startServer(t *testing.T) (s *Server, stop func()) {
	t.Helper()
	started, done := make(chan *Server), make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		t.Run("server", func(t *testing.T) {
			started <- newServer(t, nil)
			<-done
		})
	}()
	s = <-started
	return s, func() {
		close(done)
		<-stopped
		s.workers, s.guard, s.config.Hub = nil, nil, nil // gnet keeps references to its engines
	}
}

// heap returns the bytes of live objects.
func heap() int64 {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
