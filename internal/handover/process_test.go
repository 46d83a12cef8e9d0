package handover

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/handover/form"
	"github.com/hometrip/gateway/internal/sioclient"
)

func TestMain(m *testing.M) {
	if order := os.Getenv(relayVariable); order != "" {
		os.Exit(relayMain(order))
	}
	os.Exit(gatewaytest.Main(m))
}

// socketPath returns a path in a private directory.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gateway-handover-") // mode 0700, and a path short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// fakeTaker is a taker that goes as far as a test wants.
type fakeTaker struct {
	t    *testing.T
	wire *Wire
	sum  uint32
	n    int
}

func newFakeTaker(t *testing.T, path string) *fakeTaker {
	t.Helper()
	var i *fakeTaker
	gatewaytest.Await(t, "a gateway at HANDOVER_SOCKET", func() bool {
		wire, err := Dial(path)
		i = &fakeTaker{t: t, wire: wire}
		return err == nil
	})
	return i
}

func (i *fakeTaker) say(k kind, body []byte) {
	i.t.Helper()
	if err := i.wire.send(k, body, gatewaytest.Patience); err != nil {
		i.t.Fatal(err)
	}
}

// hear returns the body of the next frame, which must be of this kind.
func (i *fakeTaker) hear(k kind) []byte {
	i.t.Helper()
	got, body, _, err := i.wire.next(gatewaytest.Patience)
	if err != nil || got != k {
		i.t.Fatalf("frame of kind %d %q, %v, want %d", got, body, err, k)
	}
	return body
}

func (i *fakeTaker) greet(h Hello) {
	body, _ := json.Marshal(h)
	i.say(kindHello, body)
}

// receive reads the whole state and closes its descriptors.
func (i *fakeTaker) receive() {
	i.t.Helper()
	for {
		k, body, fds, err := i.wire.next(gatewaytest.Patience)
		if err != nil {
			i.t.Fatal(err)
		}
		i.n += len(fds)
		closeAll(fds)
		switch k {
		case kindEnd:
			return
		case kindPart, kindNode:
			i.sum = crc32.Update(i.sum, crc32.IEEETable, body)
		}
	}
}

func (i *fakeTaker) received() {
	body := binary.LittleEndian.AppendUint64(nil, uint64(i.n))
	i.say(kindReceived, binary.LittleEndian.AppendUint32(body, i.sum))
}

// ackedClient is a client each of whose events must be acknowledged. An unanswered event,
// or the end of the connection, fails the test.
type ackedClient struct {
	c *sioclient.Client
}

func newAckedClient(t *testing.T, g *gatewaytest.Gateway, name string, polling bool) *ackedClient {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), gatewaytest.Patience)
	defer cancel()
	c, err := sioclient.Connect(ctx, g.URL, sioclient.Options{Token: gatewaytest.Token(t, name), Polling: polling})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := c.EmitAck(ctx, "join_room", room); err != nil {
		t.Fatal(err)
	}
	return &ackedClient{c}
}

var room = map[string]string{"roomType": "conversation", "roomId": "1"}

func (c *ackedClient) mustBeAcked(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), gatewaytest.Patience)
	defer cancel()
	answer, err := c.c.EmitAck(ctx, "typing", room)
	if err != nil || string(answer) != `{"success":true}` {
		t.Fatalf("typing answered %s, %v", answer, err)
	}
}

// A taker fails at each step of a hand-over, or sends something else. The gateway must
// go on serving its clients and new ones.
func TestAFailingTakerChangesNothing(t *testing.T) {
	t.Parallel()
	path := socketPath(t)
	g := gatewaytest.Start(t, "HANDOVER_SOCKET="+path, "EVENT_LOOPS=2")
	clients := []*ackedClient{newAckedClient(t, g, "1", false), newAckedClient(t, g, "2", true), newAckedClient(t, g, "3", false)}
	_, port, _ := net.SplitHostPort(g.Addr)
	fits := Hello{Form: form.Version, Loops: 2, Digest: "127.0.0.1 " + port}
	for _, c := range []struct {
		name string
		fail func(i *fakeTaker)
	}{
		{"sends nothing and closes", func(*fakeTaker) {}},
		{"sends an invalid hello", func(i *fakeTaker) {
			i.say(kindHello, []byte("hello"))
			i.hear(kindRefuse)
		}},
		{"sends a frame that is too long", func(i *fakeTaker) {
			_, _ = i.wire.conn.Write([]byte{byte(kindHello), 0xff, 0xff, 0xff, 0xff})
		}},
		{"is for another port", func(i *fakeTaker) {
			h := fits
			h.Digest = "127.0.0.1 1"
			i.greet(h)
			if why := string(i.hear(kindRefuse)); !strings.Contains(why, port) {
				t.Errorf("refused because %q, want the port in the reason", why)
			}
		}},
		{"closes after its hello", func(i *fakeTaker) { i.greet(fits) }},
		{"cannot be built", func(i *fakeTaker) {
			i.greet(fits)
			i.hear(kindGo)
			i.say(kindFailed, []byte("no"))
			i.hear(kindAbort)
		}},
		{"closes when it is ready", func(i *fakeTaker) {
			i.greet(fits)
			i.hear(kindGo)
			i.say(kindReady, nil)
		}},
		{"closes after the first frame of the state", func(i *fakeTaker) {
			i.greet(fits)
			i.hear(kindGo)
			i.say(kindReady, nil)
			i.wire.next(gatewaytest.Patience)
		}},
		{"fails to use the state", func(i *fakeTaker) {
			i.greet(fits)
			i.hear(kindGo)
			i.say(kindReady, nil)
			i.receive()
			i.say(kindFailed, []byte("no"))
			i.hear(kindAbort)
		}},
		{"has received a different state", func(i *fakeTaker) {
			i.greet(fits)
			i.hear(kindGo)
			i.say(kindReady, nil)
			i.receive()
			i.sum++
			i.received()
			i.hear(kindAbort)
		}},
		{"does not answer after the state", func(i *fakeTaker) {
			i.greet(fits)
			i.hear(kindGo)
			i.say(kindReady, nil)
			i.receive()
			i.hear(kindAbort) // when the giver has timed out
		}},
		{"closes after it has confirmed the state", func(i *fakeTaker) {
			i.greet(fits)
			i.hear(kindGo)
			i.say(kindReady, nil)
			i.receive()
			i.received()
		}},
		{"closes after the release", func(i *fakeTaker) {
			i.greet(fits)
			i.hear(kindGo)
			i.say(kindReady, nil)
			i.receive()
			i.received()
			i.hear(kindReleased)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			i := newFakeTaker(t, path)
			c.fail(i)
			i.wire.Close()
			for _, client := range clients {
				client.mustBeAcked(t)
			}
			newAckedClient(t, g, "new", false).mustBeAcked(t) // new clients are served
		})
	}
	if n := g.Metric("gateway_handovers_failed_total"); n != 13 {
		t.Errorf("%v failed hand-overs counted, want 13", n)
	}
}

// giverKiller is a taker that kills the giver when the whole state has arrived.
type giverKiller struct {
	t     *testing.T
	giver *gatewaytest.Gateway
	hello Hello
	state State
}

func (k *giverKiller) Hello() Hello                         { return k.hello }
func (k *giverKiller) Build(context.Context, Welcome) error { return nil }
func (k *giverKiller) Fresh(fd int)                         { _ = syscall.Close(fd) }
func (k *giverKiller) GiverDied()                           {}

func (k *giverKiller) Fits(*State) error {
	k.giver.Kill()
	return nil
}

func (k *giverKiller) Own(e *State, _ time.Duration, begun func()) error {
	k.state = *e
	begun()
	return nil
}

// The giver dies while its event loops are stopped and the taker has the whole state.
// The taker must get the connections, still open.
func TestTheTakerGetsTheConnectionsOfAGiverThatDies(t *testing.T) {
	t.Parallel()
	path := socketPath(t)
	g := gatewaytest.Start(t, "HANDOVER_SOCKET="+path, "EVENT_LOOPS=2")
	clients := []*ackedClient{newAckedClient(t, g, "1", false), newAckedClient(t, g, "2", false)}
	_, port, _ := net.SplitHostPort(g.Addr)
	k := &giverKiller{t: t, giver: g, hello: Hello{Form: form.Version, Loops: 2, Digest: "127.0.0.1 " + port}}
	i := newFakeTaker(t, path)
	v := Take(t.Context(), i.wire, k, DefaultPace)
	if !v.Owned || v.Err != nil {
		t.Fatalf("the taker's result is %+v, want the connections owned", v)
	}
	sessions := 0
	var conns []int
	for _, l := range k.state.Portions {
		sessions += len(l.Sessions)
		for i := range l.Conns {
			conns = append(conns, l.Conns[i].FD)
		}
	}
	if sessions != len(clients) || len(conns) < len(clients) {
		t.Errorf("%d sessions on %d connections, want %d", sessions, len(conns), len(clients))
	}
	for _, c := range clients {
		if err := c.c.Err(); err != nil {
			t.Errorf("a client's connection was closed: %v", err)
		}
	}
	closeAll(conns)
}

// The giver falls silent or sends something wrong, but is alive. The taker must not
// serve anything.
func TestATakerOfALivingGiverTakesNothing(t *testing.T) {
	t.Parallel()
	path := socketPath(t)
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, act := range map[string]func(*Wire){
		"sends nothing": func(w *Wire) { w.next(gatewaytest.Patience); w.next(gatewaytest.Patience) },
		"closes":        func(w *Wire) { w.next(gatewaytest.Patience) },
		"refuses": func(w *Wire) {
			w.next(gatewaytest.Patience)
			_ = w.send(kindRefuse, []byte("no"), gatewaytest.Patience)
		},
		"sends an unexpected frame": func(w *Wire) {
			w.next(gatewaytest.Patience)
			_ = w.send(kindReleased, nil, gatewaytest.Patience)
		},
	} {
		t.Run(name, func(t *testing.T) {
			i := newFakeTaker(t, path)
			conn, err := l.AcceptUnix()
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				w, err := newWire(conn)
				if err == nil {
					act(w)
				}
				conn.Close()
			}()
			v := Take(t.Context(), i.wire, &giverKiller{t: t}, DefaultPace)
			if v.Owned || v.Alone || v.Err == nil {
				t.Errorf("result %+v, want an error", v)
			}
		})
	}
}

// A directory that other users may enter is refused: they could take the connections.
func TestADirectoryOpenToOthersIsRefused(t *testing.T) {
	path := socketPath(t)
	if err := os.Chmod(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if l, err := Listen(path); err == nil {
		l.Close()
		t.Error("listening in a directory of mode 0755 succeeded, want an error")
	}
}

// More descriptors than fit into one message arrive completely and in order with other
// frames.
func TestDescriptorsArriveCompletely(t *testing.T) {
	path := socketPath(t)
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	i := newFakeTaker(t, path)
	conn, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	to, err := newWire(conn)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	defer i.wire.Close()
	const batches = 4
	fd := int(os.Stdin.Fd())
	go func() {
		for range batches {
			fds := make([]int, maxDescriptors)
			for n := range fds {
				fds[n] = fd
			}
			_ = to.sendDescriptors(kindDescriptors, fds, gatewaytest.Patience)
			_ = to.send(kindPart, make([]byte, 3*readSize), gatewaytest.Patience)
		}
	}()
	for range batches {
		k, _, fds, err := i.wire.next(gatewaytest.Patience)
		closeAll(fds)
		if err != nil || k != kindDescriptors || len(fds) != maxDescriptors {
			t.Fatalf("kind %d with %d descriptors, %v, want %d", k, len(fds), err, maxDescriptors)
		}
		if k, body, _, err := i.wire.next(gatewaytest.Patience); err != nil || k != kindPart || len(body) != 3*readSize {
			t.Fatalf("kind %d with %d bytes, %v", k, len(body), err)
		}
	}
}
