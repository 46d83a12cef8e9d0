package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/rooms"
)

// A fakeAuth accepts every token that was not revoked. A token is a user id, or
// a user id, a slash and a token id.
type fakeAuth struct {
	mu      sync.Mutex // guards the following
	refused map[string]bool
}

func (p *fakeAuth) Authenticate(token []byte, _ rooms.Presenter, _ time.Time, done func(rooms.Identity, error)) {
	user, id, _ := strings.Cut(string(token), "/")
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refused[user] || p.refused["/"+id] {
		done(rooms.Identity{}, errors.New("jwt revoked"))
		return
	}
	done(rooms.Identity{UserID: user, TokenID: id}, nil)
}

func (p *fakeAuth) Revoke(o rooms.Order) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refused == nil {
		p.refused = make(map[string]bool)
	}
	if o.TokenID != "" {
		p.refused["/"+o.TokenID] = true
	} else {
		p.refused[o.User] = true
	}
}

func (*fakeAuth) Check(rooms.Identity, time.Time) error { return nil }

// A client is a socket on a node, and its sink.
type client struct {
	n      *node
	name   string
	shard  *rooms.Shard
	socket *rooms.Socket
	acks   int

	mu      sync.Mutex // guards the following
	inbox   []string   // packets that the test has not read
	arrived chan struct{}
}

func (c *client) Send(m *codec.Message) {
	c.mu.Lock()
	for packet := range strings.SplitSeq(string(m.AppendPayload(nil)), "\x1e") {
		c.inbox = append(c.inbox, packet)
	}
	c.mu.Unlock()
	offer(c.arrived)
}

func (c *client) Close(reason rooms.Reason) { c.n.w.t.Errorf("%s was closed: %v", c.name, reason) }

func (c *client) Wake() {}

func (c *client) Source() uint64 { return 0 }

// run calls do on the client's event loop, and waits for it.
func (c *client) run(do func(now time.Time)) {
	done := make(chan struct{})
	c.shard.Post(func(now time.Time) { do(now); close(done) })
	<-done
}

func (c *client) text(packet string) {
	c.run(func(now time.Time) { c.socket.Text([]byte(packet), now) })
}

// open returns a client that has sent CONNECT, and may be refused.
func (n *node) open(token string) *client {
	user, _, _ := strings.Cut(string(token), "/")
	c := &client{n: n, name: user, shard: n.hub.Shard(n.next % shards), arrived: make(chan struct{}, 1)}
	n.next++
	c.run(func(now time.Time) { c.socket = c.shard.Open(c, "", now) })
	c.text(`0{"token":` + strconv.Quote(token) + `}`)
	return c
}

// connect returns a connected client that has read the event connected.
func (n *node) connect(token string) *client {
	n.w.t.Helper()
	c := n.open(token)
	if got := c.next(); !strings.HasPrefix(got, `40{`) {
		n.w.t.Fatalf("%s got %s", token, got)
	}
	c.want("connected")
	return c
}

func (c *client) hangUp() { c.run(c.socket.Closed) }

// next waits for the next packet and returns it.
func (c *client) next() string {
	c.n.w.t.Helper()
	deadline := time.After(patience)
	for {
		c.mu.Lock()
		if len(c.inbox) > 0 {
			packet := c.inbox[0]
			c.inbox = c.inbox[1:]
			c.mu.Unlock()
			return packet
		}
		c.mu.Unlock()
		select {
		case <-c.arrived:
		case <-deadline:
			c.n.w.t.Fatalf("%s of %s got nothing; %+v", c.name, c.n.name, c.n.w.stats())
		}
	}
}

// all returns all unread packets.
func (c *client) all() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	got := c.inbox
	c.inbox = nil
	return got
}

type presenceBody struct{ SocketID, UserID, Room string }

// want waits for the next packet, which must be the event.
func (c *client) want(event string) (body presenceBody) {
	c.n.w.t.Helper()
	packet := c.next()
	raw, ok := strings.CutPrefix(packet, `42["`+event+`",`)
	if !ok {
		c.n.w.t.Fatalf("%s of %s got %s, want %s", c.name, c.n.name, packet, event)
	}
	if err := json.Unmarshal([]byte(strings.TrimSuffix(raw, "]")), &body); err != nil {
		c.n.w.t.Fatal(err)
	}
	return body
}

func (c *client) wantOf(event string, other *client) {
	c.n.w.t.Helper()
	if got := c.want(event); got.UserID != other.name {
		c.n.w.t.Fatalf("%s got %s of %s, want of %s", c.name, event, got.UserID, other.name)
	}
}

func (c *client) wantNothing() {
	c.n.w.t.Helper()
	if got := c.all(); len(got) > 0 {
		c.n.w.t.Fatalf("%s of %s got %q, want nothing", c.name, c.n.name, got)
	}
}

func conversation(id string) string { return `{"roomType":"conversation","roomId":"` + id + `"}` }

// send emits an event about a room and returns its ack id.
func (c *client) send(event, room string) string {
	c.acks++
	c.text(fmt.Sprintf(`2%d["%s",%s]`, c.acks, event, conversation(room)))
	return strconv.Itoa(c.acks)
}

// do emits an event about a room. The next packet must be an ack with success.
func (c *client) do(event, room string) {
	c.n.w.t.Helper()
	id := c.send(event, room)
	if packet := c.next(); !strings.HasPrefix(packet, `43`+id+`[{"success":true`) {
		c.n.w.t.Fatalf("%s of %s: %s %s: got %s", c.name, c.n.name, event, room, packet)
	}
}
