package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/hometrip/gateway/bench/process"
	"github.com/hometrip/gateway/bench/report"
)

// ability is what a scenario may ask of a peer.
type ability uint

const (
	canPublish  ability = 1 << iota // POST /events/{key}
	canPoll                         // long-polling and upgrade
	canRedis                        // several nodes as one, which services reach by Redis too
	canNodes                        // what clients say reaches other nodes through Redis
	canAMQP                         // events from RabbitMQ
	canLog                          // each node reads them from a stream in RabbitMQ
	canPing                         // pings at PING_INTERVAL
	canJSON                         // GET /metrics with Go heap figures
	canSimulate                     // a simulation of its sessions in this repository
	canHandOver                     // another process can take over its connections
)

// lacking says what a peer without a is left out for.
func lacking(a ability) string {
	return map[ability]string{
		canPublish: "takes no events over HTTP", canPoll: "no long-polling", canRedis: "its nodes are not joined by Redis",
		canNodes: "its nodes are not joined by Redis",
		canAMQP:  "takes no events from RabbitMQ", canSimulate: "not of this repository", canHandOver: "connections end with the process",
	}[a]
}

// peer is one server the suite can start.
type peer struct {
	name    string
	about   string
	dialect string
	can     ability
	// prepare builds or installs it once, and returns its version and the
	// command line.
	prepare func(root, tmp string) (version string, argv []string, err error)
	env     []string // beyond the gateway's own variables
	// reference: ratios are made of it, so it is repeated in every run.
	reference bool
	ready     string // path that answers 200 when it can serve; empty: /health
}

func (p *peer) has(a ability) bool { return p.can&a == a }

// peers are in the order they are measured in: the machine's limit first.
var peers = []*peer{
	{
		name: "floor", dialect: "socketio", reference: true, can: canPublish | canPing | canPoll | canNodes,
		about:   "one write(2) per delivery and nothing else: no JWT check, no JSON parser",
		prepare: floorCommand(), env: []string{"GODEBUG=asyncpreemptoff=1"},
	},
	{
		name: "floor-batch", dialect: "socketio", reference: true, can: canPublish | canPing | canPoll | canNodes,
		about:   "the floor, writing what is pending once per socket and turn",
		prepare: floorCommand("-batch"), env: []string{"GODEBUG=asyncpreemptoff=1"},
	},
	{
		name: "gateway", dialect: "socketio", reference: true,
		can:     canPublish | canPoll | canRedis | canNodes | canAMQP | canLog | canPing | canJSON | canSimulate | canHandOver,
		about:   "this repository",
		ready:   "/ready",
		prepare: gatewayCommand,
		// What the scenarios do is what its limits are there to stop, and its
		// peers have none. They are counted all the same.
		env: []string{
			"MAX_HANDSHAKES_PER_SECOND=1000000", "MAX_EVENTS_PER_SECOND=1000000", "MAX_EVENTS_BURST=1000000",
			"MAX_SOCKETS_PER_USER=0", "PRESENCE_MAX_MEMBERS=0", "MAX_PRESENCE_PER_SECOND=0",
		},
	},
	{
		name: "node", dialect: "socketio", can: canPublish | canPoll | canRedis | canNodes | canAMQP | canPing,
		about:   "Node, socket.io with its default engine; many nodes: @socket.io/redis-adapter; RabbitMQ: amqplib",
		prepare: nodeCommand,
	},
	{
		name: "bun", dialect: "socketio", can: canPublish | canPoll | canPing,
		about:   "Bun, socket.io with @socket.io/bun-engine",
		prepare: bunCommand,
	},
	{
		name: "zishang", dialect: "socketio", can: canPublish | canPoll | canPing,
		about:   "Go, zishang520/socket.io, the Node server ported to goroutines",
		prepare: goPeerCommand("zishang", "github.com/zishang520/socket.io/servers/socket/v3"),
	},
	{
		name: "centrifuge", dialect: "centrifuge", can: canPublish,
		about:   "Go, centrifugal/centrifuge; its own JSON protocol, a typing's sender hears itself",
		prepare: goPeerCommand("centrifuge", "github.com/centrifugal/centrifuge"),
	},
}

func floorCommand(args ...string) func(root, tmp string) (string, []string, error) {
	return func(root, tmp string) (string, []string, error) {
		bin := filepath.Join(tmp, "floor")
		return "of this suite", append([]string{bin}, args...), process.Build(root, bin, "./bench/floor")
	}
}

func gatewayCommand(root, tmp string) (string, []string, error) {
	bin := filepath.Join(tmp, "gateway")
	if err := process.Build(root, bin, "./cmd/gateway"); err != nil {
		return "", nil, err
	}
	return process.Revision(root), []string{bin}, nil
}

func nodeCommand(root, _ string) (string, []string, error) {
	dir := filepath.Join(root, "bench", "peers", "node")
	if err := npmInstall(dir); err != nil {
		return "", nil, err
	}
	out, err := exec.Command("node", "--version").Output()
	if err != nil {
		return "", nil, fmt.Errorf("node: %w", err)
	}
	version := "node " + strings.TrimSpace(string(out)) + ", socket.io " + npmVersion(dir, "socket.io") +
		", redis-adapter " + npmVersion(dir, "@socket.io/redis-adapter") + ", amqplib " + npmVersion(dir, "amqplib")
	return version, []string{"node", filepath.Join(dir, "server.js")}, nil
}

func bunCommand(root, _ string) (string, []string, error) {
	dir := filepath.Join(root, "bench", "peers", "bun")
	if err := npmInstall(dir); err != nil {
		return "", nil, err
	}
	version := "bun " + npmVersion(dir, "bun") + ", bun-engine " + npmVersion(dir, "@socket.io/bun-engine") +
		", socket.io " + npmVersion(dir, "socket.io")
	return version, []string{filepath.Join(dir, "node_modules", ".bin", "bun"), filepath.Join(dir, "server.js")}, nil
}

// goPeerCommand builds the peer of bench/peers/name, a module of its own, and
// reports the version of the library it stands for.
func goPeerCommand(name, library string) func(root, tmp string) (string, []string, error) {
	return func(root, tmp string) (string, []string, error) {
		dir, bin := filepath.Join(root, "bench", "peers", name), filepath.Join(tmp, name)
		if err := process.Build(dir, bin, "."); err != nil {
			return "", nil, err
		}
		b, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err != nil {
			return "", nil, err
		}
		_, rest, _ := strings.Cut(string(b), library+" ")
		version, _, _ := strings.Cut(rest, "\n")
		return library + " " + version, []string{bin}, nil
	}
}

// npmInstall brings the pinned packages of dir, unless they are there.
func npmInstall(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "node_modules", ".package-lock.json")); err == nil {
		return nil
	}
	cmd := exec.Command("npm", "ci", "--no-audit", "--no-fund")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci in %s: %w\n%s", dir, err, out)
	}
	return nil
}

func npmVersion(dir, pkg string) string {
	b, err := os.ReadFile(filepath.Join(dir, "node_modules", pkg, "package.json"))
	if err != nil {
		return "?"
	}
	_, rest, _ := strings.Cut(string(b), `"version": "`)
	version, _, _ := strings.Cut(rest, `"`)
	return version
}

func (p *peer) describe(version string) report.Peer {
	return report.Peer{Name: p.name, Version: version, About: p.about}
}
