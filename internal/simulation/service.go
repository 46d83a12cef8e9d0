package simulation

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/hometrip/gateway/internal/simulation/rabbitmodel"
	"github.com/hometrip/gateway/upstream/routes"
)

var discard = slog.New(slog.DiscardHandler)

const (
	publishEvery = 600 * time.Millisecond // average time between two events
	publishWait  = 3 * time.Second        // without a confirm for so long an event is published again
)

// A service publishes events and orders with confirms. It publishes an event
// again if no confirm comes. It belongs to its run.
type service struct {
	r    *run
	rng  *rand.Rand
	link *brokerLink
	tags map[uint64]*event // events without a confirm, by delivery tag
	next uint64
	todo []*event        // to be published again
	soon bool            // publishing todo is scheduled
	back map[*event]bool // returned by RabbitMQ: there was no stream

	posting int // events on their way over HTTP
}

func newService(r *run) *service {
	return &service{r: r, rng: stream(r.config.Seed, 3), tags: make(map[uint64]*event), back: make(map[*event]bool)}
}

// newTable returns the table of routes: the built-in ones, and one with two rooms.
func newTable() *routes.Table {
	t, err := routes.NewTable([]routes.Route{{
		Event: "both.rooms", Rooms: []string{"conversation:{a}", "conversation:{b}"}, Emit: "both",
		Fields: []routes.Field{{Name: "message"}},
	}})
	if err != nil {
		panic(err)
	}
	return t
}

func (s *service) begin() { s.r.after(0, s.act) }

// act publishes a random number of events, and schedules itself again.
func (s *service) act() {
	if s.r.ending {
		return
	}
	d := between(s.rng, 0, 2*publishEvery)
	n := 1
	switch s.rng.IntN(20) {
	case 0:
		n, d = 40, 3*publishEvery // a burst
	case 1, 2, 3:
		n = 4
	}
	s.r.after(d, s.act)
	for range n {
		s.draw()
	}
}

// draw publishes one random event.
func (s *service) draw() {
	r, c := s.r, &s.r.config
	room := func() int {
		if s.rng.IntN(3) == 0 {
			return s.rng.IntN(min(c.Rooms, 3))
		}
		return s.rng.IntN(c.Rooms)
	}
	user := s.rng.IntN(c.Clients)
	switch n := s.rng.IntN(40); {
	case n == 0:
		s.publish(r.judge.order("user.disconnect", user))
	case n == 1:
		s.publish(r.judge.order("user.logout", user))
	case n == 2:
		s.publish(r.judge.poison())
	case n < 10:
		s.publish(r.judge.newEvent("booking.confirmed", c.Rooms+user))
	case n < 14 && c.Rooms > 1:
		a := room()
		s.publish(r.judge.newEvent("both.rooms", a, (a+1+s.rng.IntN(c.Rooms-1))%c.Rooms))
	default:
		s.publish(r.judge.newEvent("message.sent", room()))
	}
}

// numberOf returns the number of the event in a message. Two services number their
// messages independently, so that the id alone does not identify an event.
func numberOf(m *rabbitmodel.Message) int {
	if text := m.Headers[forHeader]; text != "" {
		n, _ := strconv.Atoi(text)
		return n
	}
	id, _ := strconv.Atoi(m.ID)
	app, _ := strconv.Atoi(m.App)
	return 2*id + app
}

// body returns the body of an event.
func (e *event) body(clients, rooms int) string {
	switch e.key {
	case "user.disconnect", "user.logout":
		return fmt.Sprintf(`{"userId":"u%d","reason":"order %d"}`, e.user, e.number)
	case "booking.confirmed":
		return fmt.Sprintf(`{"userId":"u%d","bookingId":"~e%d~"}`, e.rooms[0]-rooms, e.number)
	case "both.rooms":
		return fmt.Sprintf(`{"a":"%s","b":"%s","message":"~e%d~"}`, roomID(e.rooms[0]), roomID(e.rooms[1]), e.number)
	case "message.sent":
		if len(e.rooms) == 0 {
			return `{"no conversation":true}` // poison
		}
		return fmt.Sprintf(`{"conversationId":"%s","message":"~e%d~"}`, roomID(e.rooms[0]), e.number)
	}
	panic(e.key)
}

// publish sends an event, or keeps it until there is a connection.
func (s *service) publish(e *event) {
	if l := s.r.log.redis; l != nil && l.posted {
		s.post(e)
		return
	}
	if s.link == nil && !s.dial() {
		s.todo = append(s.todo, e)
		s.later()
		return
	}
	s.next++
	tag := s.next
	s.tags[tag] = e
	e.tries++
	m := rabbitmodel.Message{Exchange: exchange, Key: e.key, ID: strconv.Itoa(e.number / 2), App: strconv.Itoa(e.number % 2), Body: e.body(s.r.config.Clients, s.r.config.Rooms)}
	if s.r.tracing() {
		s.r.trace("service", "publishes event %d, %s %s", e.number, e.key, m.Body)
	}
	l := s.link
	l.do(func(ch *rabbitmodel.Channel) { ch.Publish(m, true) })
	s.r.after(publishWait, func() {
		if s.link == l && s.tags[tag] == e {
			l.line.silent = true // later confirms are ignored
			l.end()
		}
	})
}

func (s *service) dial() bool {
	b := s.r.broker
	if b.down || b.broker.Queue(streamName) == nil && b.broker.Queue(forwardQueue) == nil {
		return false
	}
	s.link = b.dial(nil, s.take, s.lost)
	s.next = 0
	s.link.do(func(ch *rabbitmodel.Channel) { ch.Confirms() })
	return true
}

// lost publishes the unconfirmed events again.
func (s *service) lost() {
	s.link = nil
	for tag := uint64(1); tag <= s.next; tag++ {
		if e := s.tags[tag]; e != nil {
			s.todo = append(s.todo, e)
		}
	}
	clear(s.tags)
	s.later()
}

func (s *service) later() {
	if len(s.todo) == 0 || s.soon {
		return
	}
	s.soon = true
	s.r.after(s.r.between(100*time.Millisecond, time.Second), func() {
		s.soon = false
		todo := s.todo
		s.todo = nil
		for _, e := range todo {
			s.publish(e)
		}
	})
}

func (s *service) take(x rabbitmodel.Event) {
	switch x.Kind {
	case rabbitmodel.Return:
		s.back[s.r.judge.events[numberOf(x.Message)]] = true
		return
	case rabbitmodel.Confirm:
	default:
		return
	}
	e := s.tags[x.Tag]
	delete(s.tags, x.Tag)
	switch {
	case e == nil:
	case x.Nack || s.back[e]:
		delete(s.back, e)
		s.todo = append(s.todo, e)
		s.later()
	case s.r.log.redis != nil:
		e.queued = true // it must be forwarded to the log
	default:
		s.r.judge.confirmed(e)
	}
}

// idle reports whether every event was confirmed.
func (s *service) idle() bool { return len(s.tags) == 0 && len(s.todo) == 0 && s.posting == 0 }
