package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hometrip/gateway/bench/load"
	"github.com/hometrip/gateway/bench/process"
)

const (
	lead       = 200 * time.Millisecond // of the good clients before the attack
	trail      = 300 * time.Millisecond // and after it
	homeLimit  = 10 * time.Second       // for connections to go, and then for memory to be given back
	calmLimit  = 30 * time.Second       // the same for the resident memory, at the end
	homeChecks = 50 * time.Millisecond

	attempts = 3 // at a row
)

// A siege is one run of the command. Used by the main goroutine.
type siege struct {
	began   time.Time
	tmp     string
	binary  string
	clients int
	samples []string

	services *services // nil until a setup wants them
	setup    *setup    // of the following; nil without
	target   *target
	good     *good
	calm     footprint // before the first attack
}

func newSiege(root string, clients int) (*siege, error) {
	tmp, err := os.MkdirTemp("", "attack-")
	if err != nil {
		return nil, err
	}
	s := &siege{began: time.Now(), tmp: tmp, binary: filepath.Join(tmp, "gateway"), clients: clients}
	s.samples, err = readSamples(root)
	if err == nil {
		err = process.Build(root, s.binary, "./cmd/gateway")
	}
	if err != nil {
		s.close()
	}
	return s, err
}

func (s *siege) close() {
	s.leave()
	if s.services != nil {
		s.services.close()
	}
	_ = os.RemoveAll(s.tmp)
}

// enter starts a gateway with its good clients.
func (s *siege) enter(set *setup) (err error) {
	s.leave()
	s.setup = set
	beside, err := s.beside(set)
	if err != nil {
		return err
	}
	if s.target, err = startGateway(s.binary, s.tmp, set, beside); err != nil {
		return err
	}
	if s.good, err = startGood(s.target.Addr, s.clients, set.signer()); err != nil {
		return err
	}
	if err := s.target.collect(); err != nil {
		return err
	}
	s.calm, err = s.target.footprint()
	return err
}

// beside returns the services for a setup, nil when it wants none.
func (s *siege) beside(set *setup) (v *services, err error) {
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

// leave stops both.
func (s *siege) leave() {
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
func (s *siege) play(chosen []*row) (results []*result, err error) {
	for i, r := range chosen {
		last := i == len(chosen)-1 || chosen[i+1].setup != r.setup // of its gateway
		var res *result
		var earlier []string
		for range attempts {
			if res, err = s.playOnce(r); err != nil {
				return nil, err
			}
			if res.earlier = earlier; last && !res.failed() {
				s.wantCalm(res)
			}
			if !res.failed() {
				break
			}
			earlier = append(earlier, res.problems...)
			s.leave()
		}
		results = append(results, res)
		fmt.Println(res.line())
	}
	return results, nil
}

func (s *siege) playOnce(r *row) (*result, error) {
	if s.setup != r.setup {
		if err := s.enter(r.setup); err != nil {
			return nil, err
		}
	}
	before, err := s.target.footprint()
	if err != nil {
		return nil, err
	}
	a := &attack{
		target: s.target.Addr, samples: s.samples, signer: r.setup.signer(), services: s.services,
		foes: make(map[*foe]struct{}), tallies: make(map[string]int64),
	}
	res := &result{row: r, attack: a, before: before}
	type chatted struct {
		*load.Result
		err error
	}
	chat := make(chan chatted, 1)
	go func() {
		r, err := s.good.chat(lead + r.lasts() + trail)
		chat <- chatted{r, err}
	}()
	probed := s.target.Addr
	if r.full {
		probed = s.target.admin
	}
	w := watch(s.target, probed)
	time.Sleep(lead)
	var end context.CancelFunc
	a.until = time.Now().Add(r.lasts())
	a.ctx, end = context.WithDeadline(context.Background(), a.until)
	r.play(a)
	<-a.ctx.Done()
	end()
	a.end()
	c := <-chat
	if res.seen = w.end(); c.err != nil {
		return nil, c.err
	}
	res.chat = c.Result
	return res, s.judge(res)
}

// judge waits for the gateway to be as it was, and looks whether it is.
func (s *siege) judge(res *result) (err error) {
	for deadline := time.Now().Add(homeLimit); ; time.Sleep(homeChecks) {
		if res.after, err = s.target.footprint(); err != nil {
			return err
		}
		if res.after.connections == s.clients || time.Now().After(deadline) {
			break
		}
	}
	if err := s.weigh(res); err != nil {
		return err
	}
	res.check(s.clients)
	return nil
}

// weigh measures the heap, and waits for what is given back bit by bit: rooms
// stay in the directory for ROOM_LINGER.
func (s *siege) weigh(res *result) error {
	for deadline := time.Now().Add(homeLimit); ; time.Sleep(10 * homeChecks) {
		if err := s.target.collect(); err != nil {
			return err
		}
		m, err := s.target.scrape()
		if err != nil {
			return err
		}
		if res.after.heap = m["heap_bytes"]; res.after.heap-res.before.heap <= heapGrowth || time.Now().After(deadline) {
			return nil
		}
	}
}

// wantCalm waits for what takes its time to go: sessions that nobody polls,
// and memory that the runtime gives back bit by bit.
func (s *siege) wantCalm(res *result) {
	most := s.calm.rss + residentGrowth
	var now footprint
	for deadline := time.Now().Add(calmLimit); ; time.Sleep(10 * homeChecks) {
		var err error
		if now, err = s.target.footprint(); err != nil {
			res.problem("at the end: %v", err)
			return
		}
		if now.sessions == s.clients && now.rss <= most {
			return
		}
		if time.Now().After(deadline) {
			break
		}
	}
	res.problem("%v after the last row: %d sessions, %.0f MiB resident; they were %d and %.0f MiB, and %d MiB more are allowed",
		calmLimit, now.sessions, now.rss/mib, s.clients, s.calm.rss/mib, residentGrowth/mib)
}
