package main

import (
	"math/rand/v2"
	"time"
)

// together is the share of the rounds with two faults at once, in percent.
const together = 50

// A plan draws faults: each kind once, in any order, before one comes again. The
// same seed gives the same plan.
type plan struct {
	rng   *rand.Rand
	kinds []*faultKind
	nodes int
	left  []*faultKind
}

func newPlan(seed uint64, kinds []*faultKind, nodes int) *plan {
	return &plan{rng: rand.New(rand.NewPCG(seed, 0)), kinds: kinds, nodes: nodes}
}

// next draws one round. Two faults of it are in different parts.
func (p *plan) next() []*fault {
	first := p.fault()
	if p.rng.IntN(100) >= together {
		return []*fault{first}
	}
	second := p.fault()
	if second.to == first.to && second.node == first.node {
		return []*fault{first}
	}
	second.after = time.Duration(p.rng.Int64N(int64(first.lasts + time.Second)))
	return []*fault{first, second}
}

// last draws the last round.
func (p *plan) last() []*fault {
	return []*fault{{faultKind: &last, node: p.rng.IntN(p.nodes), began: never, healed: never}}
}

func (p *plan) fault() *fault {
	if len(p.left) == 0 {
		p.left = append(p.left, p.kinds...)
	}
	i := p.rng.IntN(len(p.left))
	h := &fault{faultKind: p.left[i], node: -1, began: never, healed: never}
	p.left = append(p.left[:i:i], p.left[i+1:]...)
	if !h.to.one() {
		h.node = p.rng.IntN(p.nodes)
	}
	h.lasts = h.least + time.Duration(p.rng.Int64N(int64(h.most-h.least)))
	return h
}
