package loop

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/testkit"
)

func cancelableContext(t testing.TB) (context.Context, context.CancelFunc) {
	return context.WithCancel(t.Context())
}

const boom = `42["boom"]`

// A handler panics. The session of the event must end, whichever transport it
// came from, and others must not.
func TestPanicEndsThatSocketOnly(t *testing.T) {
	t.Parallel()
	for name, provoke := range map[string]func(t *testing.T, s *Server){
		"over WebSocket": func(t *testing.T, s *Server) {
			c := connectWS(t, s, "eve")
			c.join("1")
			c.text(boom)
			c.wantEnd()
		},
		"after an upgrade": func(t *testing.T, s *Server) {
			p := connectPolling(t, s, "eve")
			c := p.upgrade()
			c.join("1")
			c.text(boom)
			c.wantEnd()
		},
		"over polling": func(t *testing.T, s *Server) {
			p := connectPolling(t, s, "eve")
			p.send("42" + joinEvent("1"))
			p.post.send(requestText("POST", p.target(), boom))
			_, _ = p.post.tryReceive("POST")
			testkit.Await(t, "the session to end", func() bool { return s.Stats().Sessions == 1 })
			p.wantUnknown()
		},
		"over polling, forwarded": func(t *testing.T, s *Server) {
			near := openPollingOn(t, s, 0)
			far := openPollingOn(t, s, 1)
			far.connect("eve")
			far.send("42" + joinEvent("1"))
			near.get.send(requestText("POST", far.target(), boom))
			_ = near.get.conn.SetReadDeadline(time.Now().Add(time.Second))
			_, _ = near.get.tryReceive("POST")
			near.send("1")
			testkit.Await(t, "the session to end", func() bool { return s.Stats().Sessions == 1 })
			far.wantUnknown()
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, nil)
			ann := connectWS(t, s, "ann")
			ann.join("1")
			provoke(t, s)
			if got := ann.next(); !strings.HasPrefix(got, `42["user_joined"`) {
				t.Errorf("got %s, want user_joined", got)
			}
			if got := ann.next(); !strings.HasPrefix(got, `42["user_left"`) { // the socket has left its room
				t.Errorf("got %s, want user_left", got)
			}
			if st := s.Stats(); st.Panics != 1 || st.Sessions != 1 || s.config.Hub.Stats().Members != 2 {
				t.Errorf("%d panics, %d sessions, %d memberships; want 1, 1 and 2", st.Panics, st.Sessions, s.config.Hub.Stats().Members)
			}
			ann.join("2")
			connectWS(t, s, "eve").join("1")
		})
	}
}

// A task of a loop panics. The tasks after it must run: one of them may be the
// tick of the timer wheel.
func TestTasksAfterAPanicRun(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	ran := make(chan struct{})
	w := s.workers[0]
	w.shard.Post(func(time.Time) {
		w.shard.Post(func(time.Time) { panic("boom") })
		w.shard.Post(func(time.Time) { close(ran) }) // of the same batch
	})
	select {
	case <-ran:
	case <-time.After(patience):
		t.Error("the task after one that panicked did not run")
	}
	before := w.lastTurn.Load()
	testkit.Await(t, "the loop to go on ticking", func() bool { return w.lastTurn.Load() > before })
}
