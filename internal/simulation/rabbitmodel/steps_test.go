package rabbitmodel

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
)

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

// refused does something that closes a channel or a connection.
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
		return // which consumer gets a message is not defined
	}
	if len(p.chans[c].consumers) > 0 {
		return // which delivery gets which tag is not defined
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
		p.t.Fatalf("%s\nget of %s: the broker returns %s, the model %s", strings.Join(p.log, "\n"), name, got, want)
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
			nack = false // a nack for a stream closes the connection
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
