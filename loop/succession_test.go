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

// nothingElse is a Rest of nobody.
var nothingElse = Rest{Hold: func(context.Context) error { return nil }, Behind: func() string { return "" }}

// handOver has to take over everything of from, as soon as what there is to be
// taken is as the caller wants it; until then from is frozen and thawed.
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

// described returns what a successor would read, with the descriptors of this
// process.
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

func take(t testing.TB, f *Frozen, loops []*form.Loop, to *Server) {
	t.Helper()
	takeWith(t, f, loops, to, func(fd int) { unix.Close(fd) })
}

// takeWith also says where connections go that are accepted afterwards.
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

// has returns a condition: that some connection, or session, is like this.
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

// In whichever state a hand-over catches a client, it goes on in the next
// process as if nothing had been, with as many event loops or others.
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
				t.Errorf("%d connections left behind", n)
			}
		})
	}
}

// And a hand-over that comes to nothing leaves it as it was.
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

// Connections in all states at once, from one process to the next and on, in
// an order that the seed decides.
func TestManyHandOvers(t *testing.T) {
	const each = 3 // of a seed
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
			// Each has been told of those who came behind it.
			for i, c := range clients {
				for range len(clients) - 1 - i {
					if got := c.next(); !strings.HasPrefix(got, `42["user_joined"`) {
						t.Fatalf("got %s", got)
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
					t.Errorf("typing answered %s", got)
				}
				for _, other := range clients {
					if other != c {
						if got := other.next(); !strings.HasPrefix(got, `42["user_typing"`) {
							t.Fatalf("got %s", got)
						}
					}
				}
			}
		})
	}
}
