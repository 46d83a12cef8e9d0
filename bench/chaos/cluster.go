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

	"github.com/hometrip/gateway/bench/harness"
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
	"LOG_LEVEL=debug", // says what became of each return
}

// A cluster is the gateways, Redis and RabbitMQ. Owned by the goroutine of the
// scenario; faults that are injected at the same time are in different parts.
type cluster struct {
	redis  *redistest.Server
	broker *brokertest.Broker
	nodes  []*node
}

// A node is a gateway and its ways to clients, Redis and RabbitMQ.
type node struct {
	addr     string // host:port
	program  string
	dir      string
	sockets  string // directory of HANDOVER_SOCKET
	env      []string
	port     int
	front    *testkit.Proxy // clients connect to
	redis    *testkit.Proxy
	rabbit   *testkit.Proxy
	server   *process.Server
	launches int
	gone     atomic.Bool // killed for good
}

// newCluster starts everything; dir is for logs.
func newCluster(o options, program, dir string) (*cluster, error) {
	t := &cluster{}
	err := t.open(o, program, dir)
	if err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *cluster) open(o options, program, dir string) (err error) {
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

func (n *node) open(t *cluster) (err error) {
	if n.port, err = freeport.Find(); err != nil {
		return err
	}
	n.addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(n.port))
	if n.front, err = testkit.NewProxy(n.addr); err != nil {
		return err
	}
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

// handOver has a new process take over from the running one. If another fault
// prevents that, the running one must go on.
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
func (t *cluster) startBroker(*node) error {
	if err := t.broker.Launch(); err != nil {
		return err
	}
	for until := time.Now().Add(brokerTimeout); ; time.Sleep(pollInterval) {
		err := t.lookAtLog()
		if err == nil || time.Now().After(until) {
			return err
		}
	}
}

func (t *cluster) lookAtLog() error {
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
func (t *cluster) close() {
	for _, n := range t.nodes {
		if n.server != nil {
			n.server.Stop()
		}
		_ = os.RemoveAll(n.sockets)
		for _, p := range []*testkit.Proxy{n.front, n.redis, n.rabbit} {
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
type figures struct{ harness.Usage }

var web = http.Client{Timeout: askTimeout, Transport: &http.Transport{DisableKeepAlives: true}}

func (n *node) figures() (f figures, err error) {
	f.Usage, err = harness.Measure(&web, "http://"+n.addr+"/metrics", n.server)
	return f, err
}

func (f figures) there() bool     { return f.Metrics != nil }
func (f figures) nodes() int      { return int(f.Metrics["cluster_nodes"]) }   // that it sees, itself included
func (f figures) allSockets() int { return int(f.Metrics["cluster_sockets"]) } // of these
func (f figures) sockets() int    { return int(f.Metrics["sockets"]) }

// beside is how many descriptors are not clients' connections.
func (f figures) beside() int { return f.Descriptors - int(f.Metrics["connections"]) }

// position is how far it has read and delivered the log.
func (f figures) position() float64 { return f.Metrics["event_log_position"] }
