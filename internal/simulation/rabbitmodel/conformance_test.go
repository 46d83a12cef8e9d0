package rabbitmodel

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/internal/testkit/brokertest"
)

var (
	seeds = flag.Int("seeds", 6, "scripts to compare with a real broker")
	first = flag.Uint64("seed", 1, "the first of them")
)

const (
	conns    = 3
	commandN = 60
	patience = testkit.Patience
)

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	brokertest.CloseShared()
	os.Exit(code)
}

// A peer is a connection to a real broker with one channel. What comes is
// sorted by what it is, because the library hands it on like that.
type peer struct {
	conn *amqp.Connection
	ch   *amqp.Channel

	mu   sync.Mutex // guards the following
	seen map[string][]string
}

func (p *peer) note(kind, what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen[kind] = append(p.seen[kind], what)
}

func (p *peer) count(kind string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.seen[kind])
}

// A pair is the model and a real broker with as many connections each.
type pair struct {
	t      *testing.T
	rng    *rand.Rand
	prefix string
	url    string

	model *Broker
	conns []*Conn
	chans []*Channel
	want  []map[string][]string
	peers []*peer
	log   []string
	n     int // messages and consumers, for their names
	tags  [conns][]string
	acks  [conns][]uint64 // delivered and not acknowledged
}

func TestModelAnswersAsTheBrokerDoes(t *testing.T) {
	broker := brokertest.Shared(t)
	for seed := *first; seed < *first+uint64(*seeds); seed++ {
		if !t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) { compare(t, broker, seed) }) {
			break
		}
	}
}

func compare(t *testing.T, broker *brokertest.Broker, seed uint64) {
	p := &pair{t: t, rng: rand.New(rand.NewPCG(seed, 0)), model: New(), url: broker.URL, prefix: fmt.Sprintf("%d-%d.", seed, time.Now().UnixNano())}
	for range conns {
		p.conns, p.chans = append(p.conns, nil), append(p.chans, nil)
		p.peers, p.want = append(p.peers, nil), append(p.want, nil)
	}
	for c := range conns {
		p.open(c)
	}
	p.do(0, "exchange x", func(ch *amqp.Channel) error {
		return ch.ExchangeDeclare(p.name("x"), "topic", true, false, false, false, nil)
	},
		func(ch *Channel) { ch.ExchangeDeclare(p.name("x"), "topic") })
	for _, q := range []string{"stream", "classic", "quorum", "single"} {
		p.declare(0, q)
	}
	for range commandN {
		p.step()
	}
	time.Sleep(50 * time.Millisecond) // whatever came and was not expected
	p.settle()
	for c, peer := range p.peers {
		for kind, got := range peer.seen {
			if want := p.want[c][kind]; len(got) != len(want) {
				p.fail(c, kind, got, want)
			}
		}
		peer.conn.Close()
	}
}

func (p *pair) name(s string) string { return p.prefix + s }

// open opens the connection and the channel of a peer.
func (p *pair) open(c int) {
	conn, err := amqp.Dial(p.url)
	if err != nil {
		p.t.Fatal(err)
	}
	p.peers[c] = &peer{conn: conn}
	p.conns[c] = p.model.Connect()
	p.channel(c)
}

// channel opens a channel that confirms.
func (p *pair) channel(c int) {
	peer := p.peers[c]
	ch, err := peer.conn.Channel()
	if err == nil {
		err = ch.Confirm(false)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	peer.mu.Lock()
	peer.seen = map[string][]string{}
	peer.mu.Unlock()
	p.want[c], p.tags[c], p.acks[c] = map[string][]string{}, nil, nil
	peer.ch = ch
	confirms := ch.NotifyPublish(make(chan amqp.Confirmation, 100))
	returns := ch.NotifyReturn(make(chan amqp.Return, 100))
	cancels := ch.NotifyCancel(make(chan string, 100))
	closes := ch.NotifyClose(make(chan *amqp.Error, 1))
	go func() {
		for x := range confirms {
			peer.note("confirm", fmt.Sprint(x.DeliveryTag, x.Ack))
		}
	}()
	go func() {
		for x := range returns {
			peer.note("return", string(x.Body)+" "+x.ReplyText)
		}
	}()
	go func() {
		for x := range cancels {
			peer.note("cancel", x)
		}
	}()
	go func() {
		if e := <-closes; e != nil {
			peer.note("closed", strconv.Itoa(e.Code))
		}
	}()
	p.chans[c] = p.conns[c].Channel()
	p.chans[c].Confirms()
	p.conns[c].Out = nil
}

// do has both do the same. What real returns is the answer of a method that
// has one.
func (p *pair) do(c int, what string, real func(*amqp.Channel) error, model func(*Channel)) {
	p.t.Helper()
	p.log = append(p.log, fmt.Sprintf("%d> %s", c, what))
	err := real(p.peers[c].ch)
	model(p.chans[c])
	for _, q := range p.model.queues {
		q.Flush()
	}
	code := 0
	if e, closed := errors.AsType[*amqp.Error](err); closed {
		code = e.Code
	} else if err != nil {
		p.t.Fatalf("%s: %v", what, err)
	}
	for _, e := range p.conns[c].Out {
		if (e.Kind == ChannelClosed || e.Kind == ConnectionClosed) && code != 0 && e.Code != code {
			p.t.Fatalf("%s\n%s: the broker closes with %v, the model with %d", strings.Join(p.log, "\n"), what, err, e.Code)
		}
		if e.Kind == Done && code != 0 {
			p.t.Fatalf("%s\n%s: the broker closes with %v, the model does not", strings.Join(p.log, "\n"), what, err)
		}
	}
	p.settle()
}

// settle takes what the model has sent and waits until the broker has sent as
// much.
func (p *pair) settle() {
	p.t.Helper()
	for c, conn := range p.conns {
		for _, e := range conn.Out {
			kind, what := "", ""
			switch e.Kind {
			case Delivery:
				kind, what = "to "+e.Consumer, fmt.Sprint(e.Message.Body, e.Offset, e.Redelivered)
				p.acks[c] = append(p.acks[c], e.Tag)
			case Confirm:
				kind, what = "confirm", fmt.Sprint(e.Tag, !e.Nack)
			case Return:
				kind, what = "return", e.Message.Body+" "+e.Text
			case Cancelled:
				kind, what = "cancel", e.Consumer
			case ChannelClosed, ConnectionClosed:
				if kind, what = "closed", strconv.Itoa(e.Code); e.Code == 0 {
					continue // the script did it
				}
			default:
				continue
			}
			p.want[c][kind] = append(p.want[c][kind], what)
		}
		conn.Out = nil
	}
	for c, want := range p.want {
		for kind, list := range want {
			p.await(c, kind, list)
		}
	}
	for c := range p.conns {
		if p.conns[c].Closed {
			p.open(c)
		} else if p.chans[c].Closed {
			p.channel(c)
		}
	}
}

func (p *pair) await(c int, kind string, want []string) {
	p.t.Helper()
	peer := p.peers[c]
	for end := time.Now().Add(patience); peer.count(kind) < len(want) && time.Now().Before(end); {
		time.Sleep(200 * time.Microsecond)
	}
	peer.mu.Lock()
	defer peer.mu.Unlock()
	got := peer.seen[kind]
	if kind == "confirm" { // tags come in any order
		got, want = slices.Clone(got), slices.Clone(want)
		slices.Sort(got)
		slices.Sort(want)
	}
	if !slices.Equal(got, want) {
		p.fail(c, kind, got, want)
	}
}

func (p *pair) fail(c int, kind string, got, want []string) {
	p.t.Helper()
	p.t.Fatalf("%s\nconnection %d, %s: the broker sends\n%q, the model\n%q", strings.Join(p.log, "\n"), c, kind, got, want)
}

func (p *pair) queue() string {
	return []string{"stream", "stream", "classic", "quorum", "single"}[p.rng.IntN(5)]
}

func (p *pair) step() {
	c, q := p.rng.IntN(conns), p.queue()
	name := p.name(q)
	switch n := p.rng.IntN(40); {
	case n < 14:
		p.publish(c, "", name)
	case n < 16:
		p.publish(c, p.name("x"), []string{"a.b", "a", "c.d"}[p.rng.IntN(3)])
	case n < 20:
		p.consume(c, q)
	case n < 22 && len(p.tags[c]) > 0:
		tag := p.tags[c][p.rng.IntN(len(p.tags[c]))]
		p.do(c, "cancel "+tag, func(ch *amqp.Channel) error { return ch.Cancel(tag, false) }, func(ch *Channel) { ch.Cancel(tag) })
	case n < 25 && (q == "classic" || q == "quorum"):
		p.get(c, name)
	case n < 33 && len(p.acks[c]) > 0:
		p.answer(c)
	case n == 33:
		key := []string{"a.*", "#", "a.#", "c"}[p.rng.IntN(4)]
		p.do(c, "bind "+q+" "+key, func(ch *amqp.Channel) error { return ch.QueueBind(name, key, p.name("x"), false, nil) },
			func(ch *Channel) { ch.Bind(name, key, p.name("x")) })
	case n == 34:
		p.do(c, "close the channel", func(ch *amqp.Channel) error { return ch.Close() }, func(ch *Channel) { ch.Close() })
	case n == 35:
		p.do(c, "delete "+q, func(ch *amqp.Channel) error { _, err := ch.QueueDelete(name, false, false, false); return err },
			func(ch *Channel) { ch.QueueDelete(name) })
		p.declare(c, q)
	case n == 36:
		p.refused(c)
	case n == 37:
		p.declare(c, q)
	case n == 38:
		p.do(c, "close the connection", func(*amqp.Channel) error { return p.peers[c].conn.Close() }, func(*Channel) { p.conns[c].Close() })
	}
}

// refused does what ends a channel or a connection.
func (p *pair) refused(c int) {
	switch p.rng.IntN(5) {
	case 4:
		p.do(c, "get of single", func(ch *amqp.Channel) error { _, _, err := ch.Get(p.name("single"), false); return err },
			func(ch *Channel) { ch.Get(p.name("single"), false) })
	case 0:
		p.do(c, "bind nothing", func(ch *amqp.Channel) error { return ch.QueueBind("nothing", "a", p.name("x"), false, nil) },
			func(ch *Channel) { ch.Bind("nothing", "a", p.name("x")) })
	case 1:
		p.do(c, "inspect nothing", func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclarePassive("nothing", true, false, false, false, nil)
			return err
		}, func(ch *Channel) { ch.QueueInspect("nothing") })
	case 2:
		p.do(c, "declare another stream", func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare(p.name("stream"), true, false, false, false, amqp.Table{"x-queue-type": "stream", "x-max-length-bytes": 77})
			return err
		}, func(ch *Channel) { ch.QueueDeclare(p.name("stream"), Args{Type: Stream, MaxBytes: 77}) })
	case 3:
		p.do(c, "get of the stream", func(ch *amqp.Channel) error { _, _, err := ch.Get(p.name("stream"), false); return err },
			func(ch *Channel) { ch.Get(p.name("stream"), false) })
	}
}

func (p *pair) declare(c int, q string) {
	var args amqp.Table
	var m Args
	switch q {
	case "stream":
		args, m = amqp.Table{"x-queue-type": "stream"}, Args{Type: Stream}
	case "classic":
		args, m = amqp.Table{"x-max-length": 4, "x-overflow": "reject-publish"}, Args{MaxLength: 4, RejectPublish: true}
	case "quorum":
		args, m = amqp.Table{"x-queue-type": "quorum"}, Args{Type: Quorum}
	case "single":
		args, m = amqp.Table{"x-queue-type": "quorum", "x-single-active-consumer": true}, Args{Type: Quorum, Single: true}
	}
	p.do(c, "declare "+q, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(p.name(q), true, false, false, false, args)
		return err
	}, func(ch *Channel) { ch.QueueDeclare(p.name(q), m) })
}

func (p *pair) publish(c int, exchange, key string) {
	p.n++
	body := strconv.Itoa(p.n)
	p.do(c, "publish "+body+" "+key, func(ch *amqp.Channel) error {
		return ch.Publish(exchange, key, true, false, amqp.Publishing{Body: []byte(body), DeliveryMode: amqp.Persistent})
	}, func(ch *Channel) { ch.Publish(Message{Exchange: exchange, Key: key, Body: body}, true) })
}

func (p *pair) consume(c int, q string) {
	if (q == "classic" || q == "quorum") && len(p.model.queues[p.name(q)].consumers) > 0 {
		return // which of several gets a message is not promised
	}
	if len(p.chans[c].consumers) > 0 {
		return // whose delivery has which tag is not promised
	}
	p.n++
	tag, prefetch := "c"+strconv.Itoa(p.n), 1+p.rng.IntN(4)
	noAck := q == "classic" && p.rng.IntN(4) == 0
	begin, args := Begin{}, amqp.Table(nil)
	if q == "stream" {
		switch s := p.model.queues[p.name("stream")]; p.rng.IntN(5) {
		case 0:
			begin = Begin{At: "first"}
		case 1:
			begin = Begin{At: "last"}
		case 2:
			begin = Begin{Offset: s.NextOffset() + 2}
		case 3:
			begin = Next
		default:
			begin = Begin{Offset: p.rng.Int64N(s.NextOffset() + 1)}
		}
		if args = (amqp.Table{"x-stream-offset": begin.At}); begin.At == "" {
			args["x-stream-offset"] = begin.Offset
		}
	}
	p.tags[c] = append(p.tags[c], tag)
	peer := p.peers[c]
	p.do(c, fmt.Sprintf("consume %s as %s prefetch %d %+v", q, tag, prefetch, begin), func(ch *amqp.Channel) error {
		if err := ch.Qos(prefetch, 0, false); err != nil {
			return err
		}
		list, err := ch.Consume(p.name(q), tag, noAck, false, false, false, args)
		go func() {
			for d := range list {
				offset, stream := d.Headers["x-stream-offset"].(int64)
				if !stream {
					offset = -1
				}
				peer.note("to "+tag, fmt.Sprint(string(d.Body), offset, d.Redelivered))
			}
		}()
		return err
	}, func(ch *Channel) {
		ch.Qos(prefetch)
		ch.Consume(p.name(q), tag, noAck, begin)
	})
}

func (p *pair) get(c int, name string) {
	var got string
	p.log = append(p.log, fmt.Sprintf("%d> get %s", c, name))
	d, found, err := p.peers[c].ch.Get(name, false)
	if err != nil {
		p.t.Fatal(err)
	}
	if got = "nothing"; found {
		got = fmt.Sprint(string(d.Body), d.Redelivered, d.MessageCount, d.DeliveryTag)
	}
	p.chans[c].Get(name, false)
	out := p.conns[c].Out
	e := out[len(out)-1]
	want := "nothing"
	if e.Message != nil {
		want = fmt.Sprint(e.Message.Body, e.Redelivered, e.Messages, e.Tag)
		p.acks[c] = append(p.acks[c], e.Tag)
	}
	if got != want {
		p.t.Fatalf("%s\nthe broker has %s, the model %s", strings.Join(p.log, "\n"), got, want)
	}
	p.conns[c].Out = out[:len(out)-1]
	p.settle()
}

func (p *pair) answer(c int) {
	i := p.rng.IntN(len(p.acks[c]))
	tag := p.acks[c][i]
	multiple := p.rng.IntN(3) == 0
	nack := p.rng.IntN(4) == 0
	for _, u := range p.chans[c].unacked {
		if u.queue.log != nil && (u.tag == tag || multiple) {
			nack = false // ends the connection
		}
	}
	if multiple {
		p.acks[c] = slices.Delete(p.acks[c], 0, i+1)
	} else {
		p.acks[c] = slices.Delete(p.acks[c], i, i+1)
	}
	p.do(c, fmt.Sprintf("answer %d multiple %v nack %v", tag, multiple, nack), func(ch *amqp.Channel) error {
		if nack {
			return ch.Nack(tag, multiple, true)
		}
		return ch.Ack(tag, multiple)
	}, func(ch *Channel) {
		if nack {
			ch.Nack(tag, multiple, true)
		} else {
			ch.Ack(tag, multiple)
		}
	})
}
