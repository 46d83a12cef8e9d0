package simulation

import (
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/hometrip/gateway/internal/simulation/rabbitmodel"
	"github.com/hometrip/gateway/internal/simulation/redismodel"
	"github.com/hometrip/gateway/rooms/cluster/sessions"
	"github.com/hometrip/gateway/upstream/routes"
)

// maxStepsAtOnce is the largest number of steps at one simulated instant.
const maxStepsAtOnce = 200_000

// A Config says what is simulated. The comments name the default of a zero field.
type Config struct {
	Seed    uint64
	Nodes   int           // 5
	Clients int           // 200
	Rooms   int           // conversations; a third of the clients
	Span    time.Duration // time in which clients act and faults happen; 60 s
	Faults  int           // number of faults; -1: none; 0: drawn from the seed
	Skip    map[int]bool  // numbers of faults that do not happen

	PlanSpan time.Duration // time for which the faults are planned; Span. Those after Span do not happen
	Delays   uint64        // selects another sequence of delays for the same plan of faults
	Recovery int           // percent of the clients that ask for recovery
	More     int           // number of faults of the second list (moreKinds)
	Extra    int           // number of faults of the third list (extraKinds)
	Letters  bool          // nodes write dead letters
	Log      string        // where the event log is: "", "redis" or "redis-http"; see logStream
	Presence bool          // nodes publish presence events
	Trace    io.Writer     // where the trace is written; nil: nowhere
}

func (c *Config) fill() {
	orDefault(&c.Nodes, 5)
	orDefault(&c.Clients, 200)
	orDefault(&c.Rooms, max(c.Clients/3, 2))
	orDefault(&c.Span, 60*time.Second)
	orDefault(&c.PlanSpan, c.Span)
	c.Letters = c.Letters && c.Log != logPosted // there is no RabbitMQ
}

func orDefault[T int | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// A Result is the outcome of a run.
type Result struct {
	Config     Config
	Broken     *Violation // nil: every rule held
	Hash       uint64     // of the trace
	Simulated  time.Duration
	Steps      uint64
	Faults     []string // the faults that happened, with their numbers
	Planned    int      // number of planned faults
	Deliveries int      // of services' events to clients
	Events     int      // published by services
	Counts     map[string]int
}

// A Violation is a broken rule.
type Violation struct {
	At   time.Duration
	Rule string // name of the rule
	Text string // details
}

// Error implements error.
func (v *Violation) Error() string { return fmt.Sprintf("at %v: %s: %s", v.At, v.Rule, v.Text) }

// A run is a simulated fleet. One goroutine owns all of it.
type run struct {
	schedule
	config Config

	redis   *redisServer
	broker  *brokerServer
	log     servedLog
	nodes   []*machine
	clients []*client
	service *service
	judge   judge
	faults  []fault
	table   *routes.Table
	limits  limits

	strict bool // a fault is not accepted any more as a reason for a lost session

	wallTrusted bool // no node's wall clock was set

	recovery recovery
	presence presenceJudge
	pids     pids
	deaths   map[lifeOf]time.Duration // when nodes died

	ending  bool // the faults are over, and clients only do what finish asks for
	done    []string
	counts  map[string]int
	broken  *Violation
	dropped int64 // messages that were dropped before the probe, see probe
	packets packets
}

// limits are the sizes of this run's queues and windows. Small ones are drawn as
// well, so that they are full more often.
type limits struct {
	mailbox, window, queue, pending int
	shards                          int
	segment                         int           // bytes of a segment of RabbitMQ's stream
	turn                            time.Duration // longest delay until an event loop reads its mailbox
}

// Run simulates a fleet and returns the result.
func Run(c Config) (result Result) {
	c.fill()
	r := newRun(c)
	result.Config = c
	defer func() {
		if p := recover(); p != nil {
			v, broken := p.(*Violation)
			if !broken {
				panic(p)
			}
			r.broken = v
		}
		result.Broken, result.Hash, result.Simulated = r.broken, r.hash, r.now
		result.Steps, result.Faults, result.Counts, result.Planned = r.steps, r.done, r.counts, len(r.faults)
		result.Deliveries, result.Events = r.judge.deliveries, len(r.judge.events)
		r.trace("run", "hash %016x", r.hash)
	}()
	r.begin()
	r.until(c.Span)
	r.finish()
	return result
}

func newRun(c Config) *run {
	r := &run{schedule: newSchedule(c.Seed+c.Delays<<32, c.Trace), config: c, counts: make(map[string]int), packets: make(packets), pids: make(pids), deaths: make(map[lifeOf]time.Duration), wallTrusted: true}
	draw := stream(c.Seed, 2)
	r.limits = limits{
		mailbox: pick(draw, 4, 64, 4096), window: pick(draw, 2, 16, 500), queue: pick(draw, 32, 4096),
		pending: pick(draw, 4<<10, 64<<10), shards: pick(draw, 1, 2, 3),
		segment: pick(draw, 1000, 5000, 20_000),
		turn:    time.Duration(pick(draw, int(turnDelay), int(turnDelay), int(slowTurn))),
	}
	r.recovery = drawRecovery(c)
	r.redis = &redisServer{r: r, server: redismodel.New()}
	r.redis.server.Script(sessions.Write, redismodel.WriteRecord)
	r.broker = newBrokerServer(r, rabbitmodel.New(), draw)
	if r.log.r = r; c.Log != logStream {
		r.log.redis = newRedisLog(&r.log, c.Log == logPosted)
	}
	r.service = newService(r)
	r.judge.init(r)
	r.table = newTable()
	if c.Presence {
		r.presence.init(r)
	}
	return r
}

func pick(rng *rand.Rand, list ...int) int { return list[rng.IntN(len(list))] }

// begin starts nodes, clients and services, and plans the faults.
func (r *run) begin() {
	for i := range r.config.Nodes {
		m := &machine{r: r, index: i, name: fmt.Sprintf("node%d", i)}
		r.nodes = append(r.nodes, m)
		m.start()
	}
	for i := range r.config.Clients {
		c := newClient(r, i)
		r.clients = append(r.clients, c)
		c.begin()
	}
	r.service.begin()
	r.planFaults()
}

// until runs all steps up to a time.
func (r *run) until(end time.Duration) {
	for {
		if at, any := r.todo.next(); !any || at > end {
			break
		}
		if r.step(); r.stepsAtOnce > maxStepsAtOnce {
			r.fail("an endless loop at one instant", "%d steps have run while no time passed", r.stepsAtOnce)
		}
	}
	r.now = max(r.now, end)
}

// fail ends the run with a violation of a rule.
func (r *run) fail(rule, format string, args ...any) {
	v := &Violation{At: r.now, Rule: rule, Text: fmt.Sprintf(format, args...)}
	r.trace("judge", "%s", v.Error())
	panic(v)
}

// count adds one to a counter of the report.
func (r *run) count(what string) { r.counts[what]++ }
