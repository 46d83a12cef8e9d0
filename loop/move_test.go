package loop

import (
	"os"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/testkit"
)

// Clients reset their connections while these are about to move to another
// loop. gnet cannot enroll a connection without a peer; its descriptors must be
// closed.
func TestMoveOfAResetConnectionClosesItsDescriptor(t *testing.T) {
	s := newEchoServer(t, nil)
	p := openPolling(t, s)
	var gone []*wire
	for range 20 { // accepted by either loop
		gone = append(gone, dial(t, s))
	}
	testkit.Await(t, "the connections to be accepted", func() bool { return s.conns.Load() == 22 })
	descriptors := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	before := descriptors()

	stop := make(chan struct{}) // the loops are busy until this is closed
	for _, w := range s.workers {
		busy := make(chan struct{})
		w.shard.Post(func(time.Time) { close(busy); <-stop })
		<-busy
	}
	for _, c := range gone {
		c.send(requestText("POST", p.target(), "4hello"))
		c.reset()
	}
	close(stop)
	testkit.Await(t, "the connections to end", func() bool { return s.conns.Load() == 2 })
	testkit.Await(t, "their descriptors to be closed", func() bool { return descriptors() <= before-2*len(gone) })
	p.send("4still here")
	for p.next() != "4still here" {
	}
}
