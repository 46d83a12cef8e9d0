package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/hometrip/gateway/bench/load"
	"github.com/hometrip/gateway/bench/process"
	"github.com/hometrip/gateway/bench/report"
)

// preferred is the priority of all processes of a trial, as niceness, so that
// what else runs on the machine disturbs the measurement less.
const preferred = -15

// quietPing keeps heartbeats out of measurements that are not about them.
const quietPing = 2 * time.Minute

// trial is one scenario at one peer, once: its servers, its load processes and
// its rows.
type trial struct {
	*suite
	scenario *scenario
	peer     *peer
	run      int
	servers  []*process.Server
	workers  []*load.Client
	cleanups []func()
	unbound  bool // servers are not bound to a core
	niceness int  // of the servers and the load; preferred unless a scenario sets another one
}

// end stops everything the trial started.
func (t *trial) end() {
	t.stopAll()
	for _, f := range t.cleanups {
		f()
	}
}

// stopAll ends servers and workers, so that a scenario can start afresh.
func (t *trial) stopAll() {
	for _, s := range t.servers {
		s.Stop()
	}
	for _, w := range t.workers {
		_ = w.Close()
	}
	t.servers, t.workers = nil, nil
}

// serve starts one more server of the peer.
func (t *trial) serve(ping time.Duration, env ...string) (*process.Server, error) {
	port, err := t.freePort()
	if err != nil {
		return nil, err
	}
	full := append(baseEnv(port, ping), t.peer.env...)
	s, err := process.Start(process.Launch{
		Argv: t.argv[t.peer], Env: append(full, env...), Port: port, Limit: t.patience, Core: t.core(serverCore),
		Ready: cmp.Or(t.peer.ready, "/health"),
		Dir:   filepath.Join(t.tmp, fmt.Sprintf("%s-%d", t.peer.name, port)),
	})
	if err != nil {
		return nil, err
	}
	process.Prefer(s.PID(), t.niceness)
	t.servers = append(t.servers, s)
	return s, nil
}

// startOn starts another process of the trial.
func (t *trial) startOn(core int, cmd *exec.Cmd, start func() error) error {
	err := process.StartOn(core, cmd, start)
	if err == nil {
		process.Prefer(cmd.Process.Pid, t.niceness)
	}
	return err
}

// core is the one a process is bound to, which is none with -pin off.
func (t *trial) core(bound int) int {
	if !t.pin || t.unbound && bound == serverCore {
		return anyCore
	}
	return bound
}

// serveWith is serve for scenarios that need something beside the peer: who
// runs, but is not ready with it, cannot take part.
func (t *trial) serveWith(ping time.Duration, env ...string) (*process.Server, error) {
	s, err := t.serve(ping, env...)
	if late := new(process.NotReady); errors.As(err, &late) {
		return nil, unavailable{"not ready after " + late.Limit.String() + ", it answers " + late.Answer}
	}
	return s, err
}

// unavailable is why a peer cannot take part in a scenario. It is reported and
// does not fail the run.
type unavailable struct{ reason string }

func (u unavailable) Error() string { return "not available: " + u.reason }

// freePort gives each server a port that nobody listens on and that no closed
// connection of an earlier one still occupies.
func (t *trial) freePort() (int, error) {
	for range lastPort - firstPort {
		port := t.nextPort
		t.nextPort++
		if t.nextPort == lastPort {
			t.nextPort = firstPort
		}
		if l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("no free port from %d to %d", firstPort, lastPort)
}

// load starts one more load process, for max connections spread evenly over
// the trial's servers.
func (t *trial) load(max int) (*load.Client, error) {
	return t.loadTo(load.SetupArgs{Max: max}, t.servers)
}

// loadTo starts a load process for servers, in that order.
func (t *trial) loadTo(args load.SetupArgs, servers []*process.Server) (*load.Client, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, workerCommand)
	var w *load.Client
	err = t.startOn(t.core(loadCore), cmd, func() (err error) {
		w, err = load.Start(cmd)
		return err
	})
	if err != nil {
		return nil, err
	}
	t.workers = append(t.workers, w)
	args.Secret, args.Dialect, args.Source = jwtSecret, t.peer.dialect, byte(len(t.workers))
	for _, s := range servers {
		args.Addrs = append(args.Addrs, s.Addr)
	}
	return w, w.Setup(args)
}

// start is serve and load of the simple case.
func (t *trial) start(ping time.Duration, max int) (*process.Server, *load.Client, error) {
	s, err := t.serve(ping)
	if err != nil {
		return nil, nil, err
	}
	w, err := t.load(max)
	return s, w, err
}

// sample is a phase together with what the servers spent on it.
type sample struct {
	*load.Result
	cpu time.Duration
}

// measure runs a phase and takes the CPU time of all servers around it.
func (t *trial) measure(phase func() (*load.Result, error)) (sample, error) {
	before, err := t.serverCPU()
	if err != nil {
		return sample{}, err
	}
	r, err := phase()
	if err != nil {
		return sample{}, err
	}
	after, err := t.serverCPU()
	return sample{r, after - before}, err
}

func (t *trial) serverCPU() (time.Duration, error) {
	var sum time.Duration
	for _, s := range t.servers {
		cpu, err := process.CPU(s.PID())
		if err != nil {
			return 0, s.Alive()
		}
		sum += cpu
	}
	return sum, nil
}

// must checks a phase that is only there to prepare another.
func (t *trial) must(r *load.Result, err error) error {
	if err == nil && r.Wrong() > 0 {
		err = fmt.Errorf("while preparing: %d failed, %d lost, %d closed, %d doubled, %d swapped, %d strays: %q",
			r.Failures, r.Lost, r.Closed, r.Doubled, r.Swapped, r.Strays, r.Problems)
	}
	return err
}

// values are the measures every phase has. One unit is a delivery, a
// connection or a cycle.
func (s sample) values() map[string]float64 {
	v := map[string]float64{
		"units": float64(s.Units), "events": float64(s.Events), "seconds": s.Elapsed.Seconds(),
		"cpu_ms":  float64(s.cpu.Microseconds()) / 1000,
		"load_ms": float64(s.CPU.Microseconds()) / 1000,
	}
	if s.Units > 0 {
		v["cpu_us"] = float64(s.cpu.Nanoseconds()) / 1000 / float64(s.Units)
		v["load_us"] = float64(s.CPU.Nanoseconds()) / 1000 / float64(s.Units)
		v["per_s"] = float64(s.Units) / s.Elapsed.Seconds()
		v["server_util"] = s.cpu.Seconds() / s.Elapsed.Seconds()
	}
	if s.Latency != nil {
		h := hdrhistogram.Import(s.Latency)
		v["p50_us"], v["p99_us"] = float64(h.ValueAtQuantile(50)), float64(h.ValueAtQuantile(99))
		v["p999_us"], v["max_us"] = float64(h.ValueAtQuantile(99.9)), float64(h.Max())
	}
	return v
}

// record adds the row of a phase.
func (t *trial) record(kase string, s sample, more map[string]float64) {
	v := s.values()
	maps.Copy(v, more)
	t.row(t.scenario.name, kase, report.Row{Values: v, Wrong: s.Wrong(), Problems: problems(s.Result)})
}

func (t *trial) row(scenario, kase string, row report.Row) {
	row.Scenario, row.Case, row.Peer, row.Run = scenario, kase, t.peer.name, t.run
	t.results.Rows = append(t.results.Rows, row)
	t.progress("    %s", brief(row))
}

func problems(r *load.Result) []string {
	if r.Wrong() == 0 {
		return r.Problems
	}
	return append([]string{fmt.Sprintf("lost %d, doubled %d, out of order %d, stray %d, closed by the server %d, protocol %d",
		r.Lost, r.Doubled, r.Swapped, r.Strays, r.Closed, r.Failures)}, r.Problems...)
}

// brief is a row in one progress line.
func brief(row report.Row) string {
	text := fmt.Sprintf("%s/%s:", row.Scenario, row.Case)
	if row.Skipped != "" {
		return text + " not available: " + row.Skipped
	}
	for _, name := range []string{"cpu_us", "load_us", "per_s", "p50_us", "p99_us", "bytes_per_conn", "heap-B/session", "gc-pause-p99-us"} {
		if v, ok := row.Values[name]; ok {
			text += fmt.Sprintf("  %s %.4g", name, v)
		}
	}
	if row.Wrong > 0 {
		text += fmt.Sprintf("  WRONG %d: %q", row.Wrong, row.Problems)
	}
	return text
}
