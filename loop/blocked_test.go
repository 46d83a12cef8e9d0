package loop

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/rooms"
)

// Readers of one room do not read. Messages that wait for them must be counted
// once, and each reader must get all of them in order when it reads again.
func TestMessagesForSlowReadersAreCountedOnce(t *testing.T) {
	t.Parallel()
	const readers, size = 20, 32 << 10
	s := newServer(t, func(c *Config) { c.MaxPending, c.Loops = 8<<20, 1 })
	var slow []socket
	for range readers {
		slow = append(slow, dialSlow(t, s, "all"))
	}
	sent, waits := 0, 0 // messages, and bytes in all queues
	for ; waits < readers<<20; sent++ {
		if sent > 5000 {
			t.Fatalf("only %d bytes wait after %d messages", waits, sent)
		}
		deliver(t, s, "user:all", fmt.Sprintf(`42["%d","%s"]`, sent, strings.Repeat("x", size)))
		waits = 0
		s.on(0, func(w *worker, _ time.Time) {
			for _, session := range w.sessions {
				waits += int(session.queue.bytes)
			}
		})
	}
	// Each reader also has the rest of one message in a buffer of gnet.
	if held, most := s.Stats().Held, int64(waits/readers*2+readers*2*size); held > most {
		t.Errorf("%d bytes are held for %d bytes in all queues, want %d at most", held, waits, most)
	}
	for i := range sent {
		for _, c := range slow {
			if got := c.next(); !strings.HasPrefix(got, fmt.Sprintf(`42["%d",`, i)) {
				t.Fatalf("got %.40q, want message %d", got, i)
			}
		}
	}
	testkit.Await(t, "nothing to be held", func() bool { return s.Stats().Held == 0 })
	s.on(0, func(w *worker, _ time.Time) {
		if n := len(w.blocked.sessions) + len(w.blocked.held); n != 0 {
			t.Errorf("%d sessions and messages are still recorded as blocked, want none", n)
		}
	})
}

// A slow reader must get only the newest message of each state
// (Message.Latest), in the order in which those were sent. A reader that keeps
// up must get all.
func TestSlowReaderGetsTheNewestOfEachState(t *testing.T) {
	t.Parallel()
	const states = 3
	s := newServer(t, func(c *Config) { c.MaxPending, c.Loops = 1<<20, 1 })
	slow, quick := dialSlow(t, s, "all"), connectWS(t, s, "all")
	blocked := func() (is bool) {
		s.on(0, func(w *worker, _ time.Time) { is = len(w.blocked.sessions) > 0 })
		return is
	}
	filler := strings.Repeat("x", 64<<10)
	fillers := 0
	for ; !blocked(); fillers++ {
		deliver(t, s, "user:all", fmt.Sprintf(`42["filler",%d,"%s"]`, fillers, filler))
		quick.next()
	}
	tell := func(i int) {
		m := codec.NewText(fmt.Appendf(nil, `42["state",%d,%d,"%s"]`, i%states, i, filler[:1000]))
		m.Latest = fmt.Sprint("state ", i%states)
		s.config.Hub.Deliver(rooms.Broadcast{Room: "user:all", Message: m})
		s.sync(t)
		if got := quick.next(); !strings.HasPrefix(got, fmt.Sprintf(`42["state",%d,%d,`, i%states, i)) {
			t.Fatalf("the reader that keeps up got %.40q, want state %d", got, i)
		}
	}
	const told = 4000 // four times MaxPending
	for i := range told {
		if i == told/2 {
			deliver(t, s, "user:all", `42["other"]`)
			quick.want(`42["other"]`)
		}
		tell(i)
	}
	if n := s.Stats().Superseded; n != told-states {
		t.Errorf("%d messages were superseded, want %d", n, told-states)
	}
	for i := range fillers {
		if got := slow.next(); !strings.HasPrefix(got, fmt.Sprintf(`42["filler",%d,`, i)) {
			t.Fatalf("got %.40q, want filler %d", got, i)
		}
	}
	slow.want(`42["other"]`)
	for i := told - states; i < told; i++ {
		if got := slow.next(); !strings.HasPrefix(got, fmt.Sprintf(`42["state",%d,%d,`, i%states, i)) {
			t.Fatalf("got %.40q, want state %d", got, i)
		}
	}
	testkit.Await(t, "nothing to be held", func() bool { return s.Stats().Held == 0 })
	tell(told)
	if got := slow.next(); !strings.HasPrefix(got, fmt.Sprintf(`42["state",%d,%d,`, told%states, told)) {
		t.Errorf("the slow reader, which has caught up, got %.40q, want the last state", got)
	}
	s.on(0, func(w *worker, _ time.Time) {
		if n := len(w.blocked.latest); n != 0 {
			t.Errorf("%d states are still kept, want none", n)
		}
	})
}

// Sessions with blocked readers end in several ways. No session may stay
// recorded as blocked, and no bytes may stay counted.
func TestBlockedReadersThatEndAreForgotten(t *testing.T) {
	t.Parallel()
	const readers = 4
	s := newServer(t, func(c *Config) { c.MaxPending, c.Loops = 32<<20, 1 })
	var slow []socket
	for i := range readers {
		slow = append(slow, dialSlow(t, s, fmt.Sprint("slow", i)))
	}
	blocked := func() (n int) {
		s.on(0, func(w *worker, _ time.Time) { n = len(w.blocked.sessions) })
		return n
	}
	for i := 0; blocked() < readers; i++ {
		for n := range readers {
			deliver(t, s, fmt.Sprint("user:slow", n), fmt.Sprintf(`42["%d","%s"]`, i, strings.Repeat("x", 64<<10)))
		}
	}
	s.on(0, func(w *worker, now time.Time) {
		all := slices.Clone(w.sessions)
		all[1].Close(rooms.ReasonDraining)
		all[2].end(rooms.ReasonShed, now)
		all[3].Close(rooms.ReasonSlowConsumer)
	})
	slow[0].conn.Close()
	testkit.Await(t, "no session to be blocked", func() bool { return blocked() == 0 })
	for _, c := range slow {
		c.conn.Close()
	}
	testkit.Await(t, "nothing to be held", func() bool { return s.Stats().Held == 0 })
}
