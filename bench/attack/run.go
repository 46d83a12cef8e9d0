package main

import (
	"context"
	"fmt"
	"time"

	"github.com/hometrip/gateway/bench/harness"
	"github.com/hometrip/gateway/bench/load"
	"github.com/hometrip/gateway/bench/process"
)

const (
	warmUp        = 200 * time.Millisecond // of the good clients before the attack
	coolDown      = 300 * time.Millisecond // and after it
	recoveryLimit = 10 * time.Second       // for connections to go, and then for memory to be given back
	baselineLimit = 30 * time.Second       // the same for the resident memory, at the end
	recoveryPoll  = 50 * time.Millisecond

	attempts = 3 // at a row
)

// A run is one execution of the command: the gateway of the current setup with
// its good clients, and what it needs. Owned by the main goroutine.
type run struct {
	*harness.Workspace
	began   time.Time
	clients int
	samples []string

	services *services // nil until a setup wants them
	setup    *setup    // of the following; nil without
	target   *target
	good     *goodClients
	baseline footprint // before the first attack
}

func newRun(w *harness.Workspace, clients int) (*run, error) {
	samples, err := readSamples(w.Root)
	return &run{Workspace: w, began: time.Now(), clients: clients, samples: samples}, err
}

func (s *run) close() {
	s.stop()
	if s.services != nil {
		s.services.close()
	}
}

// start starts a gateway with its good clients.
func (s *run) start(set *setup) (err error) {
	s.stop()
	s.setup = set
	beside, err := s.servicesFor(set)
	if err != nil {
		return err
	}
	if s.target, err = startGateway(s.Gateway, s.Dir, set, beside); err != nil {
		return err
	}
	if s.good, err = startGoodClients(s.target.Addr, s.clients, set.signer()); err != nil {
		return err
	}
	if err := s.target.collect(); err != nil {
		return err
	}
	s.baseline, err = s.target.footprint()
	return err
}

// servicesFor returns the services for a setup, nil when it wants none.
func (s *run) servicesFor(set *setup) (v *services, err error) {
	if !set.services {
		return nil, nil
	}
	if s.services == nil {
		if s.services, err = startServices(); err != nil {
			return nil, err
		}
	}
	return s.services, s.services.seat(s.clients)
}

// stop stops both.
func (s *run) stop() {
	if s.good != nil {
		s.good.close()
	}
	if s.target != nil && s.target.Server != nil {
		s.target.Stop()
	}
	s.setup, s.target, s.good = nil, nil, nil
}

// play plays the rows. One that fails is played again, with a fresh gateway,
// before it is believed: the machine may have been busy with something else.
func (s *run) play(chosen []*row) (results []*result, err error) {
	for i, r := range chosen {
		last := i == len(chosen)-1 || chosen[i+1].setup != r.setup // of its gateway
		var res *result
		var earlier []string
		for range attempts {
			if res, err = s.playRow(r); err != nil {
				return nil, err
			}
			if res.earlier = earlier; last && !res.failed() {
				s.awaitBaseline(res)
			}
			if !res.failed() {
				break
			}
			earlier = append(earlier, res.problems...)
			s.stop()
		}
		results = append(results, res)
		fmt.Println(res.line())
	}
	return results, nil
}

func (s *run) playRow(r *row) (*result, error) {
	if s.setup != r.setup {
		if err := s.start(r.setup); err != nil {
			return nil, err
		}
	}
	before, err := s.target.footprint()
	if err != nil {
		return nil, err
	}
	a := &attack{
		target: s.target.Addr, samples: s.samples, signer: r.setup.signer(), services: s.services,
		attackers: make(map[*attacker]struct{}), tallies: make(map[string]int64),
	}
	res := &result{row: r, attack: a, before: before}
	type chatted struct {
		*load.Result
		err error
	}
	chat := make(chan chatted, 1)
	go func() {
		r, err := s.good.chat(warmUp + r.lasts() + coolDown)
		chat <- chatted{r, err}
	}()
	probed := s.target.Addr
	if r.full {
		probed = s.target.admin
	}
	w := watch(s.target, probed)
	time.Sleep(warmUp)
	var end context.CancelFunc
	a.until = time.Now().Add(r.lasts())
	a.ctx, end = context.WithDeadline(context.Background(), a.until)
	r.attack(a)
	<-a.ctx.Done()
	end()
	a.end()
	c := <-chat
	if res.observed = w.end(); c.err != nil {
		return nil, c.err
	}
	res.chat = c.Result
	return res, s.judge(res)
}

// judge waits until the gateway has no connections but those of the good
// clients, measures it and checks the bounds of the row.
func (s *run) judge(res *result) (err error) {
	harness.Await(recoveryLimit, recoveryPoll, func() bool {
		res.after, err = s.target.footprint()
		return err != nil || res.after.connections == s.clients
	})
	if err != nil {
		return err
	}
	if err := s.measureHeap(res); err != nil {
		return err
	}
	res.check(s.clients)
	return nil
}

// measureHeap measures the heap, and waits for what is given back bit by bit: rooms
// stay in the directory for ROOM_LINGER.
func (s *run) measureHeap(res *result) (err error) {
	harness.Await(recoveryLimit, 10*recoveryPoll, func() bool {
		var m process.Metrics
		if err = s.target.collect(); err == nil {
			m, err = s.target.scrape()
		}
		if err != nil {
			return true
		}
		res.after.heap = m["heap_bytes"]
		return res.after.heap-res.before.heap <= heapGrowth
	})
	return err
}

// awaitBaseline waits for what takes its time to go: sessions that nobody polls,
// and memory that the runtime gives back bit by bit.
func (s *run) awaitBaseline(res *result) {
	most := s.baseline.Resident + residentGrowth
	var now footprint
	var err error
	restored := harness.Await(baselineLimit, 10*recoveryPoll, func() bool {
		now, err = s.target.footprint()
		return err != nil || now.sessions == s.clients && now.Resident <= most
	})
	switch {
	case err != nil:
		res.problem("at the end: %v", err)
	case !restored:
		res.problem("%v after the last row: %d sessions, %d MiB resident; they were %d and %d MiB, and %d MiB more are allowed",
			baselineLimit, now.sessions, now.Resident/mib, s.clients, s.baseline.Resident/mib, residentGrowth/mib)
	}
}
