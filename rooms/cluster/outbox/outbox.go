// Package outbox queues the messages of a node's clients for rooms that other
// nodes hold, and packs them into PUBLISH commands. It is a state machine
// without goroutines and I/O: inputs and outputs are values.
//
// The messages of a room keep their order. They are published at most once: a
// message whose PUBLISH failed is counted and not sent again, because it may
// have been delivered. All rooms with messages share a flush. A flush does not
// wait for the previous one, but a room is in one flush at a time.
package outbox

import (
	"slices"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/internal/shrink"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

const (
	// flushMessages and flushBytes limit one flush. envelopeBytes limits one
	// PUBLISH, unless a single message is larger.
	flushMessages = 512
	flushBytes    = 256 << 10
	envelopeBytes = 256 << 10

	// maxFlights is how many flushes may await their replies.
	maxFlights = 4

	// waitingShare limits the messages of one user's rooms whose holders are not
	// known yet to 1/waitingShare of the queue.
	waitingShare = 16

	maxKeys = 1024 // nodes whose channel names are cached

	maxSpare = 1024 // empty rooms that are kept for reuse
)

// phase says what a room in the outbox waits for.
type phase uint8

const (
	waiting phase = iota // for its holders to be known
	ready
	flying
)

// A room is a room with messages, or with a count of members, to be published.
type room struct {
	name     string
	user     string // charged with the messages while the room waits
	phase    phase
	messages []*codec.Message // a nil message sends the number of members alone
}

// Directory answers the outbox's questions about a room.
type Directory interface {
	// Holders returns the sessions of other nodes that hold a room. If ok is
	// false they are not known yet, and Known is called when they are.
	Holders(room string) (sessions []int64, ok bool)

	// Tell returns the number of members of a room, which is sent now. count
	// says that a message of kind count is sent; asks is whether that message
	// asks the other nodes for their counts.
	Tell(room string, count bool) (members int, asks bool)
}

// Config has the limits of an outbox.
type Config struct {
	Names    wire.Names
	Node     uint32
	Messages int // messages that may wait
	Bytes    int // bytes that these may have
}

// An envelope is the content of one PUBLISH of a flush.
type envelope struct {
	session  int64
	body     []byte
	messages int64
}

// A flight is a flush whose replies have not arrived.
type flight struct {
	rooms    []*room
	messages []int64 // number of messages, by command
	taken    int     // messages that it has from the queue
}

// An Outbox has the rooms with messages to be published. It is not safe for
// concurrent use.
type Outbox struct {
	c       Config
	sharded bool // Redis Cluster: SPUBLISH to the server of the channel's slot

	rooms   map[string]*room
	peak    shrink.Peak // of rooms
	ready   []*room     // a queue that begins at head
	head    int
	spare   []*room
	waits   map[string]int      // by user: messages of rooms whose holders are not known
	keys    map[uint32][]string // by node: its channel, as the keys of a command
	flights map[uint64]*flight

	queued int // messages that wait or are being published
	bytes  int

	failed []string // rooms of flushes that failed

	Stats Stats
}

// Stats are counters.
type Stats struct {
	Published  int64 // messages, counted once for each receiving node
	Publishes  int64 // PUBLISH commands
	Full       int64 // messages dropped because the queue was full
	NoReceiver int64 // messages for a node that is not subscribed
	Lost       int64 // messages whose PUBLISH failed
}

// New makes an outbox.
func New(c Config) *Outbox {
	return &Outbox{c: c, rooms: make(map[string]*room), flights: make(map[uint64]*flight), waits: make(map[string]int), keys: make(map[uint32][]string)}
}

// Sharded sets whether Redis is a Redis Cluster.
func (o *Outbox) Sharded(yes bool) { o.sharded = yes }

// Queued returns the number of messages that wait or are being published.
func (o *Outbox) Queued() int { return o.queued }

// Busy reports whether messages or counts wait or are being published.
func (o *Outbox) Busy() bool { return o.queued > 0 || len(o.flights) > 0 || o.head < len(o.ready) }

// Speaks reports whether messages of a room wait or are being published.
func (o *Outbox) Speaks(room string) bool { return o.rooms[room] != nil }

// Ready reports whether Take may return a batch.
func (o *Outbox) Ready() bool { return o.head < len(o.ready) && len(o.flights) < maxFlights }

// Say queues a client's message to a room. It drops the message if the queue is
// full, and a volatile message if the queue is half full. known says that the
// holders of the room can be asked for. Otherwise the message waits for them,
// and the share of the user limits it, too.
func (o *Outbox) Say(name, user string, known bool, m *codec.Message) {
	most := 1
	if m.Volatile {
		most = 2
	}
	if o.queued >= max(o.c.Messages/most, 1) || o.bytes >= o.c.Bytes/most {
		o.Stats.Full++
		return
	}
	r := o.rooms[name]
	waits := !known && r == nil || r != nil && r.phase == waiting
	if waits && o.waits[user] >= max(o.c.Messages/waitingShare, 1) {
		o.Stats.Full++
		return
	}
	if r == nil {
		r = o.room(name)
		if waits {
			r.phase, r.user = waiting, user
		} else {
			o.makeReady(r)
		}
	}
	if r.phase == waiting {
		o.waits[r.user]++
	}
	o.queued++
	o.bytes += m.Size()
	r.messages = append(r.messages, m)
}

// Count queues a message that sends the number of a room's members.
func (o *Outbox) Count(name string) {
	r := o.rooms[name]
	if r == nil {
		r = o.room(name)
		o.makeReady(r)
	}
	if len(r.messages) == 0 || r.messages[len(r.messages)-1] != nil {
		if r.phase == waiting {
			o.waits[r.user]++
		}
		r.messages = append(r.messages, nil)
	}
}

// Failed returns the rooms of flushes that failed since the last call of Failed.
func (o *Outbox) Failed() (rooms []string) { rooms, o.failed = o.failed, nil; return rooms }

// room makes a room or reuses an empty one.
func (o *Outbox) room(name string) (r *room) {
	if n := len(o.spare); n > 0 {
		r, o.spare = o.spare[n-1], o.spare[:n-1]
	} else {
		r = &room{}
	}
	r.name = name
	o.rooms[name] = r
	return r
}

func (o *Outbox) makeReady(r *room) {
	r.phase = ready
	if o.head > 0 && o.head*2 >= len(o.ready) {
		n := copy(o.ready, o.ready[o.head:])
		clear(o.ready[n:])
		o.ready, o.head = o.ready[:n], 0
	}
	o.ready = append(o.ready, r)
}

// Known records that the holders of a room can be asked for.
func (o *Outbox) Known(name string) {
	r := o.rooms[name]
	if r == nil || r.phase != waiting {
		return
	}
	if o.waits[r.user] -= len(r.messages); o.waits[r.user] <= 0 {
		delete(o.waits, r.user)
	}
	o.makeReady(r)
}

// Take returns the next flush, if there is one.
func (o *Outbox) Take(id uint64, d Directory) (b wire.Batch, ok bool) {
	if len(o.flights) >= maxFlights {
		return b, false
	}
	f := &flight{}
	var envelopes []envelope
	for size := 0; o.head < len(o.ready) && f.taken < flushMessages && size < flushBytes; {
		r := o.ready[o.head]
		o.ready[o.head] = nil
		o.head++
		sessions, known := d.Holders(r.name)
		switch {
		case !known:
			r.phase = waiting
			o.waits[r.user] += len(r.messages)
		case len(sessions) == 0: // no other node holds the room
			o.release(r, len(r.messages))
			o.rest(r)
		default:
			n, bytes := o.portion(r)
			size += bytes
			count := wire.Count{Room: r.name}
			count.Members, count.Ask = d.Tell(r.name, slices.Contains(r.messages[:n], nil))
			envelopes = o.pack(envelopes, r, n, sessions, count)
			o.release(r, n)
			f.taken += n
			r.phase = flying
			f.rooms = append(f.rooms, r)
		}
	}
	if len(envelopes) == 0 {
		return b, false
	}
	b = wire.Batch{ID: id, Kind: wire.Publish, Commands: make([]wire.Command, len(envelopes))}
	name := "PUBLISH"
	if o.sharded {
		name = "SPUBLISH"
	}
	for i, e := range envelopes {
		b.Commands[i] = wire.Command{Name: name, Keys: o.channel(wire.NodeOf(e.session)), Args: []string{string(e.body)}}
		f.messages = append(f.messages, e.messages)
	}
	o.queued += f.taken // they count until the reply arrives
	o.flights[id] = f
	return b, true
}

// channel returns a node's channel as the keys of a command.
func (o *Outbox) channel(node uint32) []string {
	key := o.keys[node]
	if key == nil {
		if len(o.keys) >= maxKeys {
			clear(o.keys)
		}
		key = []string{o.c.Names.Channel(node)}
		o.keys[node] = key
	}
	return key
}

// portion returns how many of a room's messages fit into a flush, and their
// bytes.
func (o *Outbox) portion(r *room) (n, bytes int) {
	for n < len(r.messages) && n < flushMessages && bytes < flushBytes {
		if m := r.messages[n]; m != nil {
			bytes += m.Size()
		}
		n++
	}
	return n, bytes
}

// pack appends the first n messages of a room to the envelope of each node that
// holds it.
func (o *Outbox) pack(envelopes []envelope, r *room, n int, sessions []int64, count wire.Count) []envelope {
	for i, s := range sessions {
		if seen(sessions[:i], s) {
			continue
		}
		for _, m := range r.messages[:n] {
			size := wire.RecordHead + len(r.name)
			if m != nil {
				size += m.Size()
			}
			at := last(envelopes, s)
			if at < 0 || len(envelopes[at].body)+size > envelopeBytes {
				at = len(envelopes)
				body := make([]byte, 0, 8+size)
				envelopes = append(envelopes, envelope{session: s, body: wire.AppendHead(body, o.c.Node)})
			}
			e := &envelopes[at]
			if m == nil {
				e.body = wire.AppendCount(e.body, count)
				continue
			}
			e.body = wire.AppendMessage(e.body, r.name, count.Members, m)
			e.messages++
		}
	}
	return envelopes
}

// seen reports whether the sessions have one of the same node as s.
func seen(sessions []int64, s int64) bool {
	for _, other := range sessions {
		if wire.NodeOf(other) == wire.NodeOf(s) {
			return true
		}
	}
	return false
}

// last returns the index of the last envelope for a session's node, -1 for
// none.
func last(envelopes []envelope, s int64) int {
	for i := len(envelopes) - 1; i >= 0; i-- {
		if wire.NodeOf(envelopes[i].session) == wire.NodeOf(s) {
			return i
		}
	}
	return -1
}

// release removes the first n messages of a room.
func (o *Outbox) release(r *room, n int) {
	for _, m := range r.messages[:n] {
		if m != nil {
			o.queued--
			o.bytes -= m.Size()
		}
	}
	left := copy(r.messages, r.messages[n:])
	clear(r.messages[left:])
	r.messages = r.messages[:left]
}

// rest removes a room that has no messages left.
func (o *Outbox) rest(r *room) {
	delete(o.rooms, r.name)
	o.rooms = shrink.Map(o.rooms, &o.peak)
	if len(o.spare) < maxSpare && cap(r.messages) <= 16 {
		r.name, r.user = "", ""
		o.spare = append(o.spare, r)
	}
}

// Reply handles the replies to the batch of that id. It reports whether the
// batch was one of this outbox.
func (o *Outbox) Reply(id uint64, replies []wire.Reply) bool {
	f := o.flights[id]
	if f == nil {
		return false
	}
	delete(o.flights, id)
	o.queued -= f.taken
	for i, n := range f.messages {
		switch r := &replies[i]; {
		case r.Err != nil:
			o.Stats.Lost += n
		case r.Int == 0:
			o.Stats.NoReceiver += n
		default:
			o.Stats.Published += n
			o.Stats.Publishes++
		}
	}
	failed := wire.FirstError(replies) != nil
	for _, r := range f.rooms {
		if failed {
			o.failed = append(o.failed, r.name)
		}
		if len(r.messages) == 0 {
			o.rest(r)
		} else {
			o.makeReady(r)
		}
	}
	return true
}
