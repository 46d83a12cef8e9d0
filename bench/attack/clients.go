package main

import (
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/hometrip/gateway/bench/load"
	"github.com/hometrip/gateway/bench/process"
)

const (
	chatPerClient = 1.0 // events a second; each reaches one other client and is acknowledged
	dialWindow    = 32  // handshakes at a time
	dialRate      = 400 // a second; what small allows
	goodClaims    = `,"rooms":["conversation:bench-*"]`
	goodSource    = 1 // of their addresses: 127.1.1.1 to 127.1.1.16

	// preferred is the priority of the gateway and the good clients, as
	// niceness. Real attackers bring machines of their own; these must not win
	// by eating the processor, nor must whatever else this machine does.
	preferred = -15
)

// goodClients are the clients that must not notice the attack: a process that
// sends typing events, and checks what arrives.
type goodClients struct {
	worker *load.Client
	n      int32
}

// startGoodClients connects n clients and seats them in rooms of two.
func startGoodClients(addr string, n int, by *signer) (*goodClients, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	g := &goodClients{n: int32(n)}
	cmd := exec.Command(self, workerCommand)
	if err := process.StartOn(-1, cmd, func() (err error) {
		g.worker, err = load.Start(cmd)
		return err
	}); err != nil {
		return nil, err
	}
	process.Prefer(g.worker.PID(), preferred)
	err = g.worker.Setup(load.SetupArgs{Addrs: []string{addr}, Secret: jwtSecret, Key: by.secret, Alg: by.alg, Claims: goodClaims, Dialect: "socketio", Max: n, Source: goodSource})
	if err == nil {
		err = checkResult(g.worker.Dial(load.DialArgs{Last: g.n, Window: dialWindow, Rate: dialRate, PerUser: 1}))
	}
	if err == nil {
		err = checkResult(g.worker.Join(load.JoinArgs{Last: g.n, RoomSize: 2, Window: dialWindow}))
	}
	if err != nil {
		g.close()
		return nil, err
	}
	return g, nil
}

// checkResult returns an error if a phase lost events or clients.
func checkResult(r *load.Result, err error) error {
	if err == nil && r.Wrong() > 0 {
		err = fmt.Errorf("good clients: %s", describeFaults(r))
	}
	return err
}

func describeFaults(r *load.Result) string {
	return fmt.Sprintf("%d events lost, %d doubled, %d out of order, %d stray, %d clients closed, %d failures %q",
		r.Lost, r.Doubled, r.Swapped, r.Strays, r.Closed, r.Failures, r.Problems)
}

// chat has them send typing events to each other for some time.
func (g *goodClients) chat(length time.Duration) (*load.Result, error) {
	return g.worker.Chat(load.ChatArgs{Last: g.n, Rate: chatPerClient * float64(g.n), For: length})
}

func (g *goodClients) close() {
	if g.worker != nil {
		_ = g.worker.Close()
	}
}
