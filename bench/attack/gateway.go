package main

import (
	"cmp"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/hometrip/gateway/bench/harness"
	"github.com/hometrip/gateway/bench/process"
	"github.com/hometrip/gateway/internal/freeport"
)

const (
	jwtSecret    = "attack-secret-of-thirty-two-byte"
	publishToken = "attack-publish-token"
	goodOrigin   = "https://app.example"
	startTimeout = 20 * time.Second
	scrapeLimit  = 10 * time.Second

	// memoryLimit is a small container's: what attackers can make the gateway
	// hold is then seen early.
	memoryLimit = 256 << 20 // GOMEMLIMIT, bytes
)

// A setup is how a gateway is run. What it does not name is at its default.
type setup struct {
	name     string
	alg      string // of the tokens; "": HS256
	services bool   // Redis, RabbitMQ and the application are beside it
	env      []string
}

// signers are the keys of this run, by algorithm.
var signers = map[string]*signer{
	"HS256": {alg: "HS256"}, "RS256": {alg: "RS256"}, "ES256": {alg: "ES256"}, "EdDSA": {alg: "EdDSA"},
}

func (s *setup) signer() *signer { return signers[cmp.Or(s.alg, "HS256")] }

// production is what every gateway here runs with.
var production = []string{
	"NODE_ENV=production", "SERVICE_HOST=127.0.0.1", "PUBLISH_TOKEN=" + publishToken,
	"CORS_ORIGIN=" + goodOrigin, "USE_REDIS=false", "USE_RABBITMQ=false", "LOG_DIR=", "LOG_LEVEL=info",
	"GOMEMLIMIT=" + strconv.Itoa(memoryLimit),
}

var (
	// defaults has the deadlines that would make a row last long shortened.
	defaults = &setup{name: "defaults", env: []string{"HEAD_TIMEOUT=2000", "CONNECT_TIMEOUT=5000"}}

	// small has limits that are off by default, or beyond what can be reached
	// on two cores.
	small = &setup{name: "small", env: []string{
		"MAX_CONNECTIONS=1500", "MAX_CONNECTIONS_PER_IP=100", "MAX_HANDSHAKES_PER_IP=50",
		"MAX_HANDSHAKES_PER_SECOND=400", "TRUSTED_PROXIES=" + proxyAddress, "PROXY_PROTOCOL=true", "CONNECT_TIMEOUT=2000",
	}}
)

// A target is a running gateway. Used by the main goroutine, but for scrape.
type target struct {
	*process.Server
	admin  string // host:port
	client http.Client
}

func startGateway(binary, dir string, s *setup, v *services) (*target, error) {
	port, err := freeport.Find()
	if err != nil {
		return nil, err
	}
	adminPort, err := freeport.Find()
	if err != nil {
		return nil, err
	}
	t := &target{admin: net.JoinHostPort("127.0.0.1", strconv.Itoa(adminPort)), client: http.Client{Timeout: scrapeLimit}}
	env := slices.Concat([]string{"PORT=" + strconv.Itoa(port), "ADMIN_ADDR=" + t.admin, s.signer().env()}, production)
	if v != nil {
		env = append(env, v.env()...)
	}
	env = append(env, s.env...)
	t.Server, err = process.Start(process.Launch{
		Argv: []string{binary}, Env: env, Dir: filepath.Join(dir, s.name), Port: port, Ready: "/ready",
		Limit: startTimeout, Core: -1,
	})
	if err == nil {
		process.Prefer(t.PID(), preferred)
	}
	return t, err
}

func (t *target) scrape() (process.Metrics, error) {
	return process.Scrape(&t.client, t.metricsURL())
}

func (t *target) metricsURL() string { return "http://" + t.admin + "/metrics" }

// collect has the gateway collect its garbage, so that what is left is held:
// three times, because what is in a pool goes with the second.
func (t *target) collect() error {
	for range 3 {
		if _, err := process.Get(&t.client, "http://"+t.admin+"/debug/pprof/heap?gc=1"); err != nil {
			return err
		}
	}
	return nil
}

// A footprint is what the gateway holds at one time.
type footprint struct {
	harness.Usage
	heap        float64 // bytes
	goroutines  int
	connections int
	sessions    int
	cpu         time.Duration
}

func (t *target) footprint() (p footprint, err error) {
	if p.Usage, err = harness.Measure(&t.client, t.metricsURL(), t.Server); err != nil {
		return p, err
	}
	if p.cpu, err = process.CPU(t.PID()); err != nil {
		return p, err
	}
	p.heap, p.goroutines = p.Metrics["heap_bytes"], int(p.Metrics["goroutines"])
	p.connections = int(p.Metrics["connections"])
	p.sessions = int(p.Metrics[`sessions{transport="websocket"}`] + p.Metrics[`sessions{transport="polling"}`])
	return p, nil
}
