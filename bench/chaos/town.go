package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/bench/process"
	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/internal/testkit/brokertest"
	"github.com/hometrip/gateway/internal/testkit/freeport"
	"github.com/hometrip/gateway/internal/testkit/redistest"
)

const (
	jwtSecret    = "chaos-secret-of-thirty-two-bytes"
	logName      = "websocket-gateway.events"
	keyPrefix    = "chaos:1:" // of keys in Redis: KEY_PREFIX and the database
	startTimeout = 60 * time.Second
	askTimeout   = 30 * time.Second
)

// settings are those of production, but that rooms and clients go sooner, so
// that less time is spent waiting.
var settings = []string{
	"NODE_ENV=production", "SERVICE_HOST=127.0.0.1", "JWT_SECRET=" + jwtSecret, "LOG_DIR=", "CORS_ORIGIN=*",
	"USE_REDIS=true", "REDIS_HOST=127.0.0.1", "REDIS_DB=1", "KEY_PREFIX=chaos:",
	"USE_RABBITMQ=true", "RABBITMQ_EXCHANGE=" + exchange,
	"ROOM_LINGER=1000", "DRAIN_PERIOD=2000",
}

// A town is what harm is done to. Owned by the goroutine of the storm; harms
// that are done at the same time are done to different parts.
type town struct {
	redis  *redistest.Server
	broker *brokertest.Broker
	nodes  []*node
}

// A node is a gateway and its ways to Redis and RabbitMQ.
type node struct {
	addr     string // host:port
	program  string
	dir      string
	sockets  string // directory of HANDOVER_SOCKET
	env      []string
	port     int
	redis    *testkit.Proxy
	rabbit   *testkit.Proxy
	server   *process.Server
	launches int
	gone     atomic.Bool // killed for good
}

// newTown starts everything; dir is for logs.
func newTown(o options, program, dir string) (*town, error) {
	t := &town{}
	err := t.open(o, program, dir)
	if err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *town) open(o options, program, dir string) (err error) {
	if t.redis, err = redistest.Start(nil); err != nil {
		return err
	}
	if t.broker, err = brokertest.Start(); err != nil {
		return err
	}
	for i := range o.nodes {
		n := &node{program: program, dir: filepath.Join(dir, fmt.Sprint("gateway-", i)), env: slices.Concat(settings, o.settings)}
		t.nodes = append(t.nodes, n)
		if err := n.open(t); err != nil {
			return err
		}
	}
	return nil
}

func (n *node) open(t *town) (err error) {
	if n.port, err = freeport.Find(); err != nil {
		return err
	}
	n.addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(n.port))
	if n.redis, err = testkit.NewProxy(t.redis.Addr); err != nil {
		return err
	}
	if n.rabbit, err = testkit.NewProxy(t.broker.Addr); err != nil {
		return err
	}
	_, redisPort, _ := net.SplitHostPort(n.redis.Addr)
	if n.sockets, err = os.MkdirTemp("", "chaos-"); err != nil { // mode 0700, and a short path
		return err
	}
	n.env = append(n.env, "HANDOVER_SOCKET="+filepath.Join(n.sockets, "handover"), "PORT="+strconv.Itoa(n.port), "REDIS_PORT="+redisPort,
		"RABBITMQ_URL=amqp://guest:guest@"+n.rabbit.Addr+"/")
	return n.launch()
}

// handOver has a new process take the place of the one that runs. That it does
// not, because of what else is harmed, is none of the clients' business either.
func (n *node) handOver() error {
	before := n.server
	if err := n.launch(); err != nil {
		n.server = before
		return before.Alive()
	}
	for until := time.Now().Add(startTimeout); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		if before.Alive() != nil {
			return nil
		}
		if n.server.Alive() != nil {
			n.server = before
			return nil
		}
	}
	return errors.New("two processes run, and none hands over to the other")
}

// launch starts the gateway; what it prints is in a directory for each start.
func (n *node) launch() (err error) {
	n.launches++
	n.server, err = process.Start(process.Launch{
		Argv: []string{n.program}, Env: n.env, Dir: filepath.Join(n.dir, fmt.Sprint("start-", n.launches)),
		Port: n.port, Ready: "/health", Limit: startTimeout, Core: -1,
	})
	return err
}

const (
	brokerTimeout = time.Minute // for RabbitMQ to have the log again, once it takes connections
	brokerStep    = time.Second // for one answer: one that is starting may not answer on a connection
)

// startBroker starts RabbitMQ again and waits until it has the log: that is the
// end of its own absence.
func (t *town) startBroker(*node) error {
	if err := t.broker.Launch(); err != nil {
		return err
	}
	for until := time.Now().Add(brokerTimeout); ; time.Sleep(lookAgain) {
		err := t.lookAtLog()
		if err == nil || time.Now().After(until) {
			return err
		}
	}
}

func (t *town) lookAtLog() error {
	conn, err := amqp.Dial(t.broker.URL)
	if err != nil {
		return err
	}
	defer time.AfterFunc(brokerStep, func() { _ = conn.CloseDeadline(time.Now()) }).Stop()
	defer conn.Close()
	channel, err := conn.Channel()
	if err == nil {
		_, err = channel.QueueDeclarePassive(logName, true, false, false, false, nil)
	}
	return err
}

func (n *node) signal(s syscall.Signal) error { return syscall.Kill(n.server.PID(), s) }

// close ends everything.
func (t *town) close() {
	for _, n := range t.nodes {
		if n.server != nil {
			n.server.Stop()
		}
		_ = os.RemoveAll(n.sockets)
		for _, p := range []*testkit.Proxy{n.redis, n.rabbit} {
			if p != nil {
				p.Close()
			}
		}
	}
	if t.broker != nil {
		t.broker.Close()
	}
	if t.redis != nil {
		t.redis.Close()
	}
}

// figures is what a gateway holds, and says of itself.
type figures struct {
	process.Metrics
	resident    int64 // bytes
	descriptors int
}

var web = http.Client{Timeout: askTimeout, Transport: &http.Transport{DisableKeepAlives: true}}

func (n *node) figures() (f figures, err error) {
	if f.Metrics, err = process.Scrape(&web, "http://"+n.addr+"/metrics"); err != nil {
		return f, errors.Join(err, n.server.Alive())
	}
	f.descriptors = process.Descriptors(n.server.PID())
	f.resident, err = process.Resident(n.server.PID())
	return f, err
}

func (f figures) there() bool     { return f.Metrics != nil }
func (f figures) nodes() int      { return int(f.Metrics["cluster_nodes"]) }   // that it sees, itself included
func (f figures) allSockets() int { return int(f.Metrics["cluster_sockets"]) } // of these
func (f figures) sockets() int    { return int(f.Metrics["sockets"]) }

// beside is how many descriptors are not clients' connections.
func (f figures) beside() int { return f.descriptors - int(f.Metrics["connections"]) }

// position is how far it has read and delivered the log.
func (f figures) position() float64 { return f.Metrics["event_log_position"] }
