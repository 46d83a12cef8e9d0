package main

import (
	"math/rand/v2"
	"time"
)

// together is how many of the rounds have two harms at once, in percent.
const together = 50

// A plan deals harms: each kind once, in any order, before one comes again.
// The same seed deals the same ones.
type plan struct {
	rng   *rand.Rand
	kinds []*kind
	nodes int
	left  []*kind
}

func newPlan(seed uint64, kinds []*kind, nodes int) *plan {
	return &plan{rng: rand.New(rand.NewPCG(seed, 0)), kinds: kinds, nodes: nodes}
}

// next deals one round. Two harms of it are done to different parts.
func (p *plan) next() []*harm {
	first := p.harm()
	if p.rng.IntN(100) >= together {
		return []*harm{first}
	}
	second := p.harm()
	if second.to == first.to && second.node == first.node {
		return []*harm{first}
	}
	second.after = time.Duration(p.rng.Int64N(int64(first.lasts + time.Second)))
	return []*harm{first, second}
}

// last deals the last round.
func (p *plan) last() []*harm {
	return []*harm{{kind: &last, node: p.rng.IntN(p.nodes), began: never, healed: never}}
}

func (p *plan) harm() *harm {
	if len(p.left) == 0 {
		p.left = append(p.left, p.kinds...)
	}
	i := p.rng.IntN(len(p.left))
	h := &harm{kind: p.left[i], node: -1, began: never, healed: never}
	p.left = append(p.left[:i:i], p.left[i+1:]...)
	if !h.to.one() {
		h.node = p.rng.IntN(p.nodes)
	}
	h.lasts = h.least + time.Duration(p.rng.Int64N(int64(h.most-h.least)))
	return h
}
