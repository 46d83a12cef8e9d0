package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hometrip/gateway/internal/auth"
	"github.com/hometrip/gateway/internal/sioclient"
)

// As socket.io-client has them by default.
const (
	reconnectDelay    = time.Second
	reconnectDelayMax = 5 * time.Second
	reconnectJitter   = 0.5
	connectTimeout    = 20 * time.Second
)

const (
	ackTimeout = 60 * time.Second // for a join; then the client connects anew
	tokenTTL   = 24 * time.Hour
)

// A receipt is an event that came.
type receipt struct {
	number int
	at     time.Duration
}

// A stay is one connection of a client.
type stay struct {
	node          int
	dialed        time.Duration
	asked, joined time.Duration // it is connected and asks for its room; it is in it; never: it is not
	ended         time.Duration // never: it lasted to the end of the run
	why           error         // of the end
	got           []receipt     // from its room

	returned  bool   // it has come with the pid of a session
	recovered bool   // and goes on with that session
	result    string // or why it does not; filled in at the end
}

// A client is in one room and asks for recovery: when it comes back it joins
// its room again only if it was not recovered. Its goroutine connects and
// reads, one more for each stay waits for the join.
type client struct {
	*clientPool
	user string
	room int
	home int // the node it always connects to; -1: any

	at   atomic.Int32 // the node on which it is in its room; -1: it is not
	last atomic.Int64 // highest number it has got in this stay; -1: none

	rng   *rand.Rand
	stays []*stay

	pid, offset string      // of its session; "": none
	seated      atomic.Bool // the join of this session was acknowledged

	mu       sync.Mutex // guards the following
	problems []string
}

// A clientPool is what the clients share.
type clientPool struct {
	clock
	nodes []*node
	got   atomic.Int64 // events, all clients together
}

func (c *clientPool) client(seed uint64, i, room, home int) *client {
	one := &client{clientPool: c, user: "u" + strconv.Itoa(i), room: room, home: home, rng: rand.New(rand.NewPCG(seed, uint64(i)+1))}
	one.away()
	return one
}

func (c *client) away() {
	c.at.Store(-1)
	c.last.Store(-1)
}

// run is the client's life.
func (c *client) run(ctx context.Context) {
	for tries := 0; ctx.Err() == nil; tries++ {
		s := &stay{node: c.choose(), dialed: c.now(), joined: never, ended: never}
		conn, err := c.connect(ctx, s.node)
		if err == nil {
			tries = 0
			c.stay(ctx, conn, s)
		}
		if !sleep(ctx, c.pause(tries)) {
			return
		}
	}
}

func (c *client) choose() int {
	if c.home >= 0 {
		return c.home
	}
	for {
		if n := c.rng.IntN(len(c.nodes)); !c.nodes[n].gone.Load() { // or the load balancer does not choose it
			return n
		}
	}
}

// gone reports whether the client stays with a node that was killed for good.
func (c *client) gone() bool { return c.home >= 0 && c.nodes[c.home].gone.Load() }

// pause is how long to wait before the next try. Who stays with one node is
// there to see it come back and does not wait long.
func (c *client) pause(tries int) time.Duration {
	if c.home >= 0 {
		return reconnectDelay / 10
	}
	d := reconnectDelayMax
	if tries < 3 {
		d = min(reconnectDelay<<tries, d)
	}
	return time.Duration(float64(d) * (1 - reconnectJitter + 2*reconnectJitter*c.rng.Float64()))
}

func (c *client) connect(ctx context.Context, node int) (*sioclient.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	token, err := auth.Mint(jwtSecret, auth.Grant{UserID: c.user, Issued: time.Now(), TTL: tokenTTL})
	if err != nil {
		return nil, err
	}
	asks := map[string]any{"token": token, "recovery": true}
	for name, value := range map[string]string{"pid": c.pid, "offset": c.offset} {
		if value != "" {
			asks[name] = value
		}
	}
	return sioclient.Connect(ctx, "http://"+c.nodes[node].front.Addr, sioclient.Options{Auth: asks})
}

// stay goes on with the session or begins one, joins the room unless it is in
// it, and reads until the connection ends.
func (c *client) stay(ctx context.Context, conn *sioclient.Client, s *stay) {
	s.asked, s.returned, s.recovered = c.now(), c.pid != "", c.pid == conn.PID() && c.pid != ""
	if !s.recovered {
		c.pid, c.offset = conn.PID(), ""
		c.seated.Store(false)
	}
	c.stays = append(c.stays, s)
	var join sync.WaitGroup
	if c.seated.Load() {
		c.enter(s)
	} else {
		join.Go(func() { c.join(ctx, conn, s) })
	}
	err := c.read(ctx, conn, s)
	if ctx.Err() == nil {
		s.ended, s.why = c.now(), err
	}
	conn.Kill()
	join.Wait()
	c.away()
}

// enter notes that it is in its room.
func (c *client) enter(s *stay) {
	s.joined = c.now()
	c.at.Store(int32(s.node))
}

func (c *client) join(ctx context.Context, conn *sioclient.Client, s *stay) {
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	answer, err := conn.EmitAck(ctx, "join_room", map[string]string{"roomType": "conversation", "roomId": strconv.Itoa(c.room)})
	switch {
	case err != nil:
		conn.Kill()
	case !bytes.Contains(answer, []byte(`"success":true`)):
		c.problem("%s: join of room %d: %s", c.user, c.room, answer)
		conn.Kill()
	default:
		c.seated.Store(true)
		c.enter(s)
	}
}

func (c *client) read(ctx context.Context, conn *sioclient.Client, s *stay) error {
	for {
		e, err := conn.Next(ctx)
		if err != nil {
			return err
		}
		if e.Name != "new_message" {
			c.pass(e)
			continue // who comes and goes
		}
		var body struct {
			ConversationID string
			Message        int
		}
		if err := e.Decode(&body); err != nil || body.ConversationID != strconv.Itoa(c.room) {
			c.problem("%s, in room %d, got %s (%v)", c.user, c.room, e.Args, err)
			continue
		}
		s.got = append(s.got, receipt{body.Message, c.now()})
		c.last.Store(max(c.last.Load(), int64(body.Message)))
		c.got.Add(1)
		c.pass(e)
	}
}

// pass notes the offset of an event, if it has one.
func (c *client) pass(e sioclient.Event) {
	var offset string
	if n := len(e.Args); n > 0 && json.Unmarshal(e.Args[n-1], &offset) == nil {
		c.offset = offset
	}
}

func (c *client) problem(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.problems = append(c.problems, fmt.Sprintf(format, args...))
}

// forGood reports whether the server has ended a stay in a way after which
// socket.io-client does not come back by itself.
func (s *stay) forGood() bool { return errors.Is(s.why, sioclient.ErrDisconnected) }
