package rooms

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/codec"
)

// A world is the fixture of these tests: a hub, and clients that record what they
// are sent. The test's goroutine does the work of all event loops, in settle.
type world struct {
	t       testing.TB
	hub     *Hub
	now     time.Time
	clients []*client
	log     []string // "name packet", of all clients, in the order of sending
	live    bool     // the shards have goroutines of their own; there is no log
}

// startTime is the time at which each test begins.
var startTime = time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)

const startText = "2026-01-02T03:04:05.678Z"

func newWorld(t testing.TB, shards int, mutate ...func(*Config)) *world {
	t.Helper()
	config := Config{
		Shards:         shards,
		Auth:           authFunc(tokenNamesUser),
		ConnectTimeout: 45 * time.Second,
		MaxPacket:      1000,
		MaxMailbox:     10_000,
		Handlers:       ClientEvents(),
	}
	for _, m := range mutate {
		m(&config)
	}
	hub, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return &world{t: t, hub: hub, now: startTime}
}

type authFunc func(token string, now time.Time, done func(Identity, error))

func (f authFunc) Authenticate(token []byte, _ Presenter, now time.Time, done func(Identity, error)) {
	f(string(token), now, done)
}

// tokenNamesUser is the authenticator of these tests. A token is a user id;
// with "+1h" it expires in an hour; with "/a,b" it names the rooms a and b. A
// token "!text" is refused with that text.
func tokenNamesUser(token string, now time.Time, done func(Identity, error)) {
	if why, bad := strings.CutPrefix(token, "!"); bad {
		done(Identity{}, errors.New(why))
		return
	}
	token, list, listed := strings.Cut(token, "/")
	user, life, limited := strings.Cut(token, "+")
	id := Identity{UserID: user}
	if listed {
		id.Rooms = strings.Split(list, ",")
	}
	if limited {
		d, err := time.ParseDuration(life)
		if err != nil {
			panic(err)
		}
		id.Expires = now.Add(d)
	}
	done(id, nil)
}

// A client is a socket and the sink behind it.
type client struct {
	w      *world
	name   string
	shard  *Shard
	socket *Socket
	id     string // public id
	acks   int64

	inbox  []string // packets that the test has not read; binary ones as in a polling payload
	reason *Reason  // argument of the first Close
	gone   bool     // Closed was called
	wakes  int
	source uint64
	last   *codec.Message
}

func (c *client) Send(m *codec.Message) {
	c.last = m
	for packet := range strings.SplitSeq(string(m.AppendPayload(nil)), "\x1e") {
		c.inbox = append(c.inbox, packet)
		if !c.w.live {
			c.w.log = append(c.w.log, c.name+" "+packet)
		}
	}
}

func (c *client) Close(reason Reason) {
	if c.reason == nil {
		c.reason = &reason
	}
}

func (c *client) Wake() { c.wakes++ }

func (c *client) Source() uint64 { return c.source }

// open returns a client with an open Engine.IO session, on the next shard.
func (w *world) open(name string) *client { return w.openWith(name, "") }

// openWith is open with a token in the handshake.
func (w *world) openWith(name, token string) *client {
	c := &client{w: w, name: name, shard: w.hub.Shard(len(w.clients) % w.hub.config.Shards)}
	c.socket = c.shard.Open(c, token, w.now)
	w.clients = append(w.clients, c)
	return c
}

// connect returns a client that is connected to the namespace with a token.
func (w *world) connect(token string) *client {
	w.t.Helper()
	c := w.open(token)
	c.connect(token)
	return c
}

func (c *client) connect(token string) {
	c.w.t.Helper()
	c.text(`0{"token":` + strconv.Quote(token) + `}`)
	c.wantConnected()
}

// wantConnected reads the answer to CONNECT and, if there is a user, the event
// connected.
func (c *client) wantConnected() {
	c.w.t.Helper()
	var answer struct{ SID string }
	if err := json.Unmarshal([]byte(strings.TrimPrefix(c.next(), "40")), &answer); err != nil {
		c.w.t.Fatal(err)
	}
	if c.id = answer.SID; len(c.id) != 20 || c.id != c.socket.ID() {
		c.w.t.Fatalf("%s has id %q, its socket %q", c.name, c.id, c.socket.ID())
	}
	if user := c.socket.UserID(); user != "" {
		c.want("connected", fmt.Sprintf(`{"socketId":%q,"userId":%q,"message":"Connected to the WebSocket gateway"}`, c.id, user))
	}
}

// settle runs tasks and mailboxes of all shards, and closes sessions, until
// nothing is left to do.
func (w *world) settle() {
	for busy := true; busy; {
		busy = false
		for _, sh := range w.hub.shards {
			if sh.mailbox.waiting() > 0 {
				busy = true
				sh.Tasks(w.now)
				sh.Drain(1 << 20)
			}
		}
		for _, c := range w.clients {
			if c.reason != nil && !c.gone {
				busy = true
				c.hangUp()
			}
		}
	}
}

// at sets the time, and calls Expire of each socket and shard that is due.
func (w *world) at(now time.Time) {
	w.now = now
	for _, c := range w.clients {
		if d := c.socket.Deadline(); !d.IsZero() && !now.Before(d) {
			c.socket.Expire(now)
		}
	}
	for _, sh := range w.hub.shards {
		sh.Expire(now)
	}
	w.settle()
}

// text sends a Socket.IO packet from the client.
func (c *client) text(packet string) {
	c.socket.Text([]byte(packet), c.w.now)
	c.w.settle()
}

func (c *client) binary(data string) {
	c.socket.Binary([]byte(data), c.w.now)
	c.w.settle()
}

// hangUp ends the client's session.
func (c *client) hangUp() {
	c.gone = true
	c.socket.Closed(c.w.now)
	c.w.settle()
}

func eventText(event string, args []string) string {
	return `["` + event + `"` + strings.Join(append([]string{""}, args...), ",") + `]`
}

// emit sends an event without an ack id; args are JSON.
func (c *client) emit(event string, args ...string) { c.text("2" + eventText(event, args)) }

// ask sends an event and returns the arguments of its ack, which must be the first
// unread packet.
func (c *client) ask(event string, args ...string) string {
	c.w.t.Helper()
	c.acks++
	id := strconv.FormatInt(c.acks, 10)
	c.text("2" + id + eventText(event, args))
	packet := c.next()
	body, ok := strings.CutPrefix(packet, "43"+id+"[")
	if !ok {
		c.w.t.Fatalf("%s got %q, want ack %s of %s", c.name, packet, id, event)
	}
	return strings.TrimSuffix(body, "]")
}

// next returns the oldest unread packet.
func (c *client) next() string {
	c.w.t.Helper()
	if len(c.inbox) == 0 {
		c.w.t.Fatalf("%s got nothing", c.name)
	}
	packet := c.inbox[0]
	c.inbox = c.inbox[1:]
	return packet
}

// want reads the next packet, which must be the event with the body.
func (c *client) want(event, body string) {
	c.w.t.Helper()
	if got, want := c.next(), `42["`+event+`",`+body+`]`; got != want {
		c.w.t.Fatalf("%s got\n %s, want\n %s", c.name, got, want)
	}
}

// wantAbout reads the next packet, which must be an event about another client in a
// room.
func (c *client) wantAbout(event string, other *client, room string) {
	c.w.t.Helper()
	c.want(event, fmt.Sprintf(`{"socketId":%q,"userId":%q,"room":%q,"timestamp":%q}`,
		other.id, userOf(other.name), room, c.w.now.Format("2006-01-02T15:04:05.000Z")))
}

func userOf(token string) string {
	user, _, _ := strings.Cut(token, "/")
	user, _, _ = strings.Cut(user, "+")
	return user
}

func (c *client) wantNothing() {
	c.w.t.Helper()
	if len(c.inbox) > 0 {
		c.w.t.Fatalf("%s got %q, want nothing", c.name, c.inbox)
	}
}

func (w *world) wantNothing(clients ...*client) {
	w.t.Helper()
	for _, c := range clients {
		c.wantNothing()
	}
}

func (c *client) wantClosed(reason Reason) {
	c.w.t.Helper()
	switch {
	case c.reason == nil:
		c.w.t.Fatalf("%s is open, want it closed for %v", c.name, reason)
	case *c.reason != reason:
		c.w.t.Fatalf("%s was closed for %v, want %v", c.name, *c.reason, reason)
	}
}

func (c *client) wantOpen() {
	c.w.t.Helper()
	if c.reason != nil {
		c.w.t.Fatalf("%s was closed for %v", c.name, *c.reason)
	}
}

// wantEmpty checks that no room, member, socket or waiting message is left.
func (w *world) wantEmpty() {
	w.t.Helper()
	for i, sh := range w.hub.shards {
		if rooms, members := sh.Len(); rooms != 0 || members != 0 {
			w.t.Errorf("shard %d holds %d rooms with %d members, want none", i, rooms, members)
		}
	}
	if names, total := w.hub.Names(10); total != 0 {
		w.t.Errorf("%d rooms are occupied: %q, want none", total, names)
	}
	if s := w.hub.Stats(); s.Sockets != 0 || s.Members != 0 || s.MailboxWaiting != 0 {
		w.t.Errorf("counted %d sockets, %d members, %d waiting messages, want none", s.Sockets, s.Members, s.MailboxWaiting)
	}
}

// conversation returns the argument that names a room of type conversation.
func conversation(id string) string { return `{"roomType":"conversation","roomId":"` + id + `"}` }
