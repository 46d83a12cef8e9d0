package main

import (
	"fmt"
	"syscall"
	"time"
)

// A faultKind is a kind of fault: how it is injected, and how it is undone.
type faultKind struct {
	name        string
	to          part
	least, most time.Duration // that it lasts
	do, undo    func(t *cluster, n *node) error

	ends  bool // connections of the node's clients, which die with it or run out of patience
	stops bool // the log, for the clients of the node, or of all
}

// A part of the cluster has one fault at a time.
type part string

const (
	theRedis   part = "Redis"
	theBroker  part = "RabbitMQ"
	aGateway   part = "gateway" // of a number, as the following
	redisWay   part = "way to Redis of gateway"
	rabbitWay  part = "way to RabbitMQ of gateway"
	clientWay  part = "ways of the clients of gateway"
	usualDelay      = 30 * time.Millisecond // of what is delayed; now and then eight times as much
)

// one reports whether there are several of a part.
func (p part) one() bool { return p == theRedis || p == theBroker }

var kinds = []*faultKind{
	{
		name: "kill -9 of", to: aGateway, least: 300 * time.Millisecond, most: 4 * time.Second, ends: true, stops: true,
		do:   func(_ *cluster, n *node) error { n.server.Stop(); return nil },
		undo: func(_ *cluster, n *node) error { return n.launch() },
	},
	{
		name: "SIGSTOP of", to: aGateway, least: time.Second, most: 18 * time.Second, ends: true, stops: true,
		do:   func(_ *cluster, n *node) error { return n.signal(syscall.SIGSTOP) },
		undo: func(_ *cluster, n *node) error { return n.signal(syscall.SIGCONT) },
	},
	// Nobody is to notice it.
	{
		name: "hand-over of", to: aGateway, least: time.Second, most: 3 * time.Second,
		do:   func(_ *cluster, n *node) error { return n.handOver() },
		undo: func(_ *cluster, _ *node) error { return nil },
	},
	{
		name: "kill -9 of", to: theRedis, least: 100 * time.Millisecond, most: 6 * time.Second,
		do:   func(t *cluster, _ *node) error { t.redis.Kill(); return nil },
		undo: func(t *cluster, _ *node) error { return t.redis.Launch() },
	},
	{
		name: "restart of", to: theRedis, least: 0, most: 2 * time.Second,
		do:   func(t *cluster, _ *node) error { t.redis.Shutdown(); return nil },
		undo: func(t *cluster, _ *node) error { return t.redis.Launch() },
	},
	// When it stops for about as long as a lease, some gateways lose theirs and
	// some do not.
	{
		name: "SIGSTOP of", to: theRedis, least: time.Second, most: 9 * time.Second,
		do:   func(t *cluster, _ *node) error { return t.redis.Pause() },
		undo: func(t *cluster, _ *node) error { return t.redis.Resume() },
	},
	{
		name: "kill -9 of", to: theBroker, least: 100 * time.Millisecond, most: 4 * time.Second, stops: true,
		do:   func(t *cluster, _ *node) error { t.broker.Kill(); return nil },
		undo: (*cluster).startBroker,
	},
	{
		name: "restart of", to: theBroker, least: 0, most: 2 * time.Second, stops: true,
		do:   func(t *cluster, _ *node) error { t.broker.Shutdown(); return nil },
		undo: (*cluster).startBroker,
	},
	{
		name: "cut of the", to: redisWay, least: time.Second, most: 18 * time.Second,
		do:   func(_ *cluster, n *node) error { n.redis.Cut(); return nil },
		undo: func(_ *cluster, n *node) error { n.redis.Heal(); return nil },
	},
	{
		name: "silence on the", to: redisWay, least: time.Second, most: 18 * time.Second,
		do:   func(_ *cluster, n *node) error { n.redis.Hold(); return nil },
		undo: func(_ *cluster, n *node) error { n.redis.Heal(); return nil },
	},
	// What is on its way when a connection breaks is lost in the middle of a
	// message.
	{
		name: "reset in flight on the", to: redisWay, least: 0, most: time.Second,
		do:   func(_ *cluster, n *node) error { n.redis.Reset(); return nil },
		undo: func(_ *cluster, n *node) error { n.redis.Heal(); return nil },
	},
	{
		name: "reset in flight on the", to: rabbitWay, least: 0, most: time.Second, stops: true,
		do:   func(_ *cluster, n *node) error { n.rabbit.Reset(); return nil },
		undo: func(_ *cluster, n *node) error { n.rabbit.Heal(); return nil },
	},
	{
		name: "reset in flight on the", to: clientWay, least: 0, most: time.Second, ends: true,
		do:   func(_ *cluster, n *node) error { n.front.Reset(); return nil },
		undo: func(_ *cluster, n *node) error { n.front.Heal(); return nil },
	},
	{
		name: "delays on the", to: redisWay, least: 3 * time.Second, most: 8 * time.Second,
		do:   func(_ *cluster, n *node) error { n.redis.Lag(usualDelay); return nil },
		undo: func(_ *cluster, n *node) error { n.redis.Lag(0); return nil },
	},
	{
		name: "cut of the", to: rabbitWay, least: time.Second, most: 6 * time.Second, stops: true,
		do:   func(_ *cluster, n *node) error { n.rabbit.Cut(); return nil },
		undo: func(_ *cluster, n *node) error { n.rabbit.Heal(); return nil },
	},
	{
		name: "silence on the", to: rabbitWay, least: time.Second, most: 6 * time.Second, stops: true,
		do:   func(_ *cluster, n *node) error { n.rabbit.Hold(); return nil },
		undo: func(_ *cluster, n *node) error { n.rabbit.Heal(); return nil },
	},
	{
		name: "delays on the", to: rabbitWay, least: 3 * time.Second, most: 8 * time.Second, stops: true,
		do:   func(_ *cluster, n *node) error { n.rabbit.Lag(usualDelay); return nil },
		undo: func(_ *cluster, n *node) error { n.rabbit.Lag(0); return nil },
	},
}

// last is the fault of the last round, in one gateway.
var last = faultKind{
	name: "kill -9 for good of", to: aGateway, ends: true, stops: true,
	do: func(_ *cluster, n *node) error {
		n.gone.Store(true)
		n.server.Stop()
		return nil
	},
	undo: func(*cluster, *node) error { return nil },
}

// A fault is planned, and then injected.
type fault struct {
	*faultKind
	node  int           // -1: the part there is one of
	after time.Duration // the beginning of its round
	lasts time.Duration

	began, healed time.Duration // never: not yet
}

func (h *fault) String() string {
	s := h.name + " " + string(h.to)
	if h.node >= 0 {
		s += fmt.Sprint(" ", h.node)
	}
	if h.lasts == 0 {
		return s
	}
	return s + " for " + h.lasts.Round(100*time.Millisecond).String()
}

// of reports whether it concerns the node: it is in the node, or in what all need.
func (h *fault) of(node int) bool { return h.node < 0 || h.node == node }
