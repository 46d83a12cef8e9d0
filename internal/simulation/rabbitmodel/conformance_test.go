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
	seeds = flag.Int("seeds", 6, "number of scripts to compare with a real broker")
	first = flag.Uint64("seed", 1, "seed of the first script")
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

// A peer is a connection with one channel to a real broker. seen has what the
// broker has sent, by kind: the client library has one Go channel for each kind,
// so the order of different kinds is not known.
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

// A pair is the model and a real broker, with the same number of connections.
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
	n     int // counts messages and consumers, for their names
	tags  [conns][]string
	acks  [conns][]uint64 // tags of deliveries that are not acknowledged
}

// Scripts of methods drawn from a seed run against the model and a real broker.
// For each connection, both must send the same events of each kind in the same
// order; confirms may come in any order.
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
	time.Sleep(50 * time.Millisecond) // finds events that the model does not have
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

// open opens the connection and the channel with index c, on both sides.
func (p *pair) open(c int) {
	conn, err := amqp.Dial(p.url)
	if err != nil {
		p.t.Fatal(err)
	}
	p.peers[c] = &peer{conn: conn}
	p.conns[c] = p.model.Connect()
	p.channel(c)
}

// channel opens a channel with confirms enabled, on both sides.
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

// do calls a method on both and compares what they send. The error of real is
// the reply of a method that has one.
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

// settle takes what the model has sent, waits until the broker has sent as much,
// and compares.
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
					continue // the script has closed it
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
	if kind == "confirm" { // confirms come in any order
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
