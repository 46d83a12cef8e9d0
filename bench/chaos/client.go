package main

import (
	"bytes"
	"context"
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
	asked, joined time.Duration // the join, and its acknowledgement; never: it did not come
	ended         time.Duration // never: it lasted to the end of the run
	why           error         // of the end
	got           []receipt     // from its room
}

// A client is in one room, as long as it is connected. Its goroutine connects
// and reads, one more for each stay waits for the join.
type client struct {
	*crowd
	user string
	room int
	home int // the node it always connects to; -1: any

	at   atomic.Int32 // the node on which it is in its room; -1: it is not
	last atomic.Int64 // highest number it has got in this stay; -1: none

	rng   *rand.Rand
	stays []*stay

	mu       sync.Mutex // guards the following
	problems []string
}

// A crowd is what clients share.
type crowd struct {
	clock
	nodes []*node
	got   atomic.Int64 // events, all clients together
}

func (c *crowd) client(seed uint64, i, room, home int) *client {
	one := &client{crowd: c, user: "u" + strconv.Itoa(i), room: room, home: home, rng: rand.New(rand.NewPCG(seed, uint64(i)+1))}
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
		node := c.choose()
		conn, err := c.connect(ctx, node)
		if err == nil {
			tries = 0
			c.stay(ctx, conn, node)
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

// gone reports whether the client stays with a node that was stopped for good.
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
	return sioclient.Connect(ctx, "http://"+c.nodes[node].addr, sioclient.Options{Token: token})
}

// stay joins the room and reads until the connection ends.
func (c *client) stay(ctx context.Context, conn *sioclient.Client, node int) {
	s := &stay{node: node, asked: c.now(), joined: never, ended: never}
	c.stays = append(c.stays, s)
	var join sync.WaitGroup
	join.Go(func() { c.join(ctx, conn, s) })
	err := c.read(ctx, conn, s)
	if ctx.Err() == nil {
		s.ended, s.why = c.now(), err
	}
	conn.Kill()
	join.Wait()
	c.away()
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
		s.joined = c.now()
		c.at.Store(int32(s.node))
	}
}

func (c *client) read(ctx context.Context, conn *sioclient.Client, s *stay) error {
	for {
		e, err := conn.Next(ctx)
		if err != nil {
			return err
		}
		if e.Name != "new_message" {
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
