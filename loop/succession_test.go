package loop

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hometrip/gateway/internal/handover/form"
)

// nothingElse is a Rest without cluster and log.
var nothingElse = Rest{Hold: func(context.Context) error { return nil }, Behind: func() string { return "" }}

// handOver hands all clients of from over to to. It freezes and thaws from
// until its state fulfils is.
func handOver(t testing.TB, from, to *Server, is func([]*form.Loop) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		f, err := from.Freeze(ctx, nothingElse)
		if errors.Is(err, ErrBusy) && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		loops, err := described(f)
		if err != nil {
			f.Thaw()
			t.Fatal(err)
		}
		if is != nil && !is(loops) {
			f.Thaw()
			time.Sleep(time.Millisecond)
			continue
		}
		take(t, f, loops, to)
		return
	}
}

// described returns the state of a frozen server as the next process reads it,
// with the descriptors of this process.
func described(f *Frozen) (loops []*form.Loop, err error) {
	return loops, f.State(func(p Part) error {
		l, err := form.ReadLoop(p.Body)
		for i := range l.Conns {
			l.Conns[i].FD = p.Descriptors[i]
		}
		loops = append(loops, l)
		return err
	})
}

// take has to take over the state, with duplicates of the descriptors.
func take(t testing.TB, f *Frozen, loops []*form.Loop, to *Server) {
	t.Helper()
	takeWith(t, f, loops, to, func(fd int) { unix.Close(fd) })
}

// takeWith is take with a function for the connections that from accepts
// afterwards.
func takeWith(t testing.TB, f *Frozen, loops []*form.Loop, to *Server, next func(fd int)) {
	t.Helper()
	for _, l := range loops {
		for i := range l.Conns {
			fd, err := unix.Dup(l.Conns[i].FD)
			if err != nil {
				t.Fatal(err)
			}
			l.Conns[i].FD = fd
		}
	}
	e, err := to.ReceiveState(loops)
	if err != nil {
		f.Thaw()
		t.Fatal(err)
	}
	f.LetGo(next)
	if _, err := e.Take(t.Context(), func() {}); err != nil {
		t.Fatal(err)
	}
}

// hasConn returns the condition that some connection fulfils like.
func hasConn(like func(*form.Conn) bool) func([]*form.Loop) bool {
	return func(loops []*form.Loop) bool {
		for _, l := range loops {
			for i := range l.Conns {
				if like(&l.Conns[i]) {
					return true
				}
			}
		}
		return false
	}
}

// hasSession returns the condition that some session fulfils like.
func hasSession(like func(*form.Session) bool) func([]*form.Loop) bool {
	return func(loops []*form.Loop) bool {
		for _, l := range loops {
			for i := range l.Sessions {
				if like(&l.Sessions[i]) {
					return true
				}
			}
		}
		return false
	}
}

// A client is handed over in each of the states, to a server with 1 to 3 loops.
// It must go on there.
func TestEveryStateIsHandedOver(t *testing.T) {
	for i, c := range clientStates {
		loops := 1 + i%3
		t.Run(fmt.Sprint(c.name, ", to ", loops, " loops"), func(t *testing.T) {
			t.Parallel()
			from := newServer(t, nil)
			to := newServer(t, func(c *Config) { c.Loops = loops })
			goOn := c.begin(t, from)
			handOver(t, from, to, c.is)
			goOn(t, to)
			if n := from.Stats().Connections; n != 0 {
				t.Errorf("%d connections are left in the first server, want none", n)
			}
		})
	}
}

// A hand-over is abandoned with a client in each of the states. The client must
// go on where it is.
func TestEveryStateSurvivesAThaw(t *testing.T) {
	for _, c := range clientStates {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, nil)
			goOn := c.begin(t, s)
			for seen := false; !seen; {
				f, err := s.Freeze(t.Context(), nothingElse)
				if errors.Is(err, ErrBusy) {
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				loops, err := described(f)
				f.Thaw()
				if err != nil {
					t.Fatal(err)
				}
				seen = c.is == nil || c.is(loops)
				time.Sleep(time.Millisecond)
			}
			goOn(t, s)
		})
	}
}

// Clients are handed over several times, while events are delivered. The seed
// decides the numbers of loops and events. Each client must get all events in
// order.
func TestManyHandOvers(t *testing.T) {
	const each = 3 // hand-overs of a seed
	count := 12
	if text := os.Getenv("HANDOVERS"); text != "" {
		count, _ = strconv.Atoi(text)
	}
	for seed := range uint64(count / each) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 0))
			current := newServer(t, func(c *Config) { c.Loops = 1 + r.IntN(3) })
			var clients []socket
			for i := range 20 {
				c := connectWS(t, current, strconv.Itoa(i))
				c.join("7")
				clients = append(clients, c)
			}
			// Each client gets user_joined of those that joined after it.
			for i, c := range clients {
				for range len(clients) - 1 - i {
					if got := c.next(); !strings.HasPrefix(got, `42["user_joined"`) {
						t.Fatalf("got %s, want user_joined", got)
					}
				}
			}
			event := 0
			for range each {
				for range r.IntN(20) {
					event++
					deliverTo(t, current, "conversation:7", `42["e",`+strconv.Itoa(event)+`]`)
				}
				next := newServer(t, func(c *Config) { c.Loops = 1 + r.IntN(3) })
				handOver(t, current, next, nil)
				current = next
			}
			for _, c := range clients {
				for i := range event {
					c.want(`42["e",` + strconv.Itoa(i+1) + `]`)
				}
			}
			for _, c := range clients {
				if got := c.ask(5, typingEvent("7")); got != `[{"success":true}]` {
					t.Errorf("typing was answered with %s, want success", got)
				}
				for _, other := range clients {
					if other != c {
						if got := other.next(); !strings.HasPrefix(got, `42["user_typing"`) {
							t.Fatalf("got %s, want user_typing", got)
						}
					}
				}
			}
		})
	}
}
