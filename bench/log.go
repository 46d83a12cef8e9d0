package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"time"

	"github.com/hometrip/gateway/bench/load"
	"github.com/hometrip/gateway/bench/process"
)

const (
	logRooms = 500
	logPace  = 1000.0               // events per second
	logBurst = 20000                // events of the saturated part
	logQuiet = 2 * time.Millisecond // of CPU in 100 ms: a reader that waits
)

// logScenario has 1 to 8 nodes read one log, a stream of RabbitMQ. All clients
// are on the first node. The others hold no room of any event: what an event
// costs them is compared with what it costs a program that only reads the
// stream with the same library, in the same phase.
func logScenario(t *trial) error {
	broker, err := t.rabbit()
	if err != nil {
		return err
	}
	counts := []int{1, 2, 4}
	if t.full {
		counts = append(counts, 8)
	}
	for _, n := range counts {
		if err := t.logOf(broker, n); err != nil {
			return fmt.Errorf("%d nodes: %w", n, err)
		}
		t.stopAll()
	}
	return nil
}

func (t *trial) logOf(broker *helper, n int) error {
	env := []string{"USE_RABBITMQ=true", "RABBITMQ_HOST=127.0.0.1", "RABBITMQ_PORT=" + broker.portText(), "EVENT_LOG=rabbitmq"}
	const members = 2 * logRooms
	if _, err := t.serveWith(quietPing, env...); err != nil {
		return err
	}
	w, err := t.load(members) // on the first node alone: the others do not run yet
	if err != nil {
		return err
	}
	if err := t.must(w.Dial(load.DialArgs{Last: members, Window: dialWindow, PerUser: 1})); err != nil {
		return err
	}
	if err := t.must(w.Join(load.JoinArgs{Last: members, RoomSize: 2, Window: dialWindow})); err != nil {
		return err
	}
	for range n - 1 {
		if _, err := t.serveWith(quietPing, env...); err != nil {
			return err
		}
	}
	client, err := t.streamReader(broker)
	if err != nil {
		return err
	}
	defer client.end()
	for _, phase := range []struct {
		kase   string
		events int
		rate   float64
	}{
		{fmt.Sprint(n), int(logPace * 5 * t.window().Seconds()), logPace},
		{fmt.Sprint(n, " saturated"), logBurst, 0},
	} {
		if err := t.logPhase(w, broker, client, phase.kase, phase.events, phase.rate); err != nil {
			return err
		}
	}
	return nil
}

// readers are the processes that read the log: the first node, the others, and
// the bare client.
type readers struct {
	first, others, client time.Duration
}

func (t *trial) readersCPU(client *streamClient) (r readers, err error) {
	for i, s := range t.servers {
		cpu, err := process.CPU(s.PID())
		if err != nil {
			return r, s.Alive()
		}
		if i == 0 {
			r.first = cpu
		} else {
			r.others += cpu
		}
	}
	r.client, err = process.CPU(client.cmd.Process.Pid)
	return r, err
}

// logPhase publishes events in turn to all rooms, and measures until every
// reader has read them.
func (t *trial) logPhase(w *load.Client, broker *helper, client *streamClient, kase string, events int, rate float64) error {
	events -= events % logRooms
	before, err := t.readersCPU(client)
	if err != nil {
		return err
	}
	brokerCPU := t.helperCPU(broker)
	published := make(chan error, 1)
	s, err := t.measure(func() (*load.Result, error) {
		go func() { published <- publishAMQP(broker.url(), logRooms, events, rate) }()
		return w.Fanout(load.FanoutArgs{Source: load.SourceListen, Last: 2 * logRooms, Expect: uint32(events / logRooms)})
	})
	if err == nil {
		err = <-published
	}
	if err != nil {
		return err
	}
	after, err := t.settled(client)
	if err != nil {
		return err
	}
	s.Events = uint64(events)
	each := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 / float64(events) }
	v := map[string]float64{
		"nodes": float64(len(t.servers)), "rate": rate,
		"held_us": each(after.first - before.first), "client_us": each(after.client - before.client),
		"broker_us": each(t.helperCPU(broker) - brokerCPU),
	}
	if others := len(t.servers) - 1; others > 0 {
		v["unheld_us"] = each(after.others-before.others) / float64(others)
		v["above_us"] = v["unheld_us"] - v["client_us"]
	}
	t.record(kase, s, v)
	return nil
}

// settled returns what the readers have used when they have read everything,
// which shows in that they use next to nothing more.
func (t *trial) settled(client *streamClient) (readers, error) {
	last, err := t.readersCPU(client)
	if err != nil {
		return last, err
	}
	err = await(startTimeout, func() error {
		now, err := t.readersCPU(client)
		if err != nil {
			return err
		}
		more := now.first + now.others + now.client - last.first - last.others - last.client
		last = now
		if more > logQuiet*time.Duration(len(t.servers)) {
			return fmt.Errorf("the readers of the log used %v in the last moment", more)
		}
		return nil
	})
	return last, err
}

// A streamClient is a process that reads the log and does nothing with it.
type streamClient struct{ cmd *exec.Cmd }

func (c *streamClient) end() { process.KillGroup(c.cmd) }

// streamReader starts one. It returns when it reads. It has as many processors
// of the runtime as a gateway takes, two more than cores: how many threads there
// are to be woken makes more of a difference than what a gateway does with an
// event (saturated, 1.8 to 3.4 us above a client with one of each; 5 us with a
// client that has one and a gateway that has three).
func (t *trial) streamReader(broker *helper) (*streamClient, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, streamCommand, broker.url())
	cores := runtime.NumCPU()
	if t.pin {
		cores = 1
	}
	cmd.Env = append(os.Environ(), fmt.Sprint("GOMAXPROCS=", cores+2))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := t.startOn(t.core(serverCore), cmd, cmd.Start); err != nil {
		return nil, fmt.Errorf("reader of the stream: %w", err)
	}
	c := &streamClient{cmd}
	if n, err := out.Read(make([]byte, 1)); n == 0 { // it writes a byte when it reads
		c.end()
		return nil, errors.Join(errors.New("reader of the stream: ended"), err)
	}
	return c, nil
}
