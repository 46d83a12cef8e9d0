package main

import (
	"fmt"
	"time"

	"github.com/hometrip/gateway/bench/load"
)

const (
	fanoutWindow = 2  // events under way when saturated
	burstSize    = 32 // events at once
	// largestBurst keeps a burst at a slow peer below a few seconds.
	largestBurst = 1000 // members
	// pacedDeliveries is the load of a paced run, whatever the room's size:
	// about a tenth of what the floor can do.
	pacedDeliveries = 20000.0 // per second
)

// everybody makes all connections of one Dial the same user.
const everybody = 1 << 30

// fanoutScenario posts notifications to users with many sockets: the members
// of user:{id} need not join, so that large rooms cost no join storm first.
// All rooms exist at once on one server, except the largest.
func fanoutScenario(t *trial) error {
	sizes := []int32{10, 100, 1000, 10000}
	if err := t.fanoutSizes(sizes); err != nil {
		return err
	}
	if !t.full {
		return nil
	}
	t.stopAll()
	return t.fanoutSizes([]int32{19000})
}

func (t *trial) fanoutSizes(sizes []int32) error {
	var total int32
	for _, n := range sizes {
		total += n
	}
	_, w, err := t.start(quietPing, int(total))
	if err != nil {
		return err
	}
	var first int32
	for i, n := range sizes {
		args := load.DialArgs{First: first, Last: first + n, Window: dialWindow, FirstUser: int32(i), PerUser: everybody}
		if err := t.must(w.Dial(args)); err != nil {
			return err
		}
		first += n
	}
	first = 0
	for i, n := range sizes {
		args := load.FanoutArgs{
			Source: load.SourceUser, Token: publishToken, User: int32(i), First: first, Last: first + n,
		}
		if err := t.fanoutRoom(w, args); err != nil {
			return err
		}
		first += n
	}
	return nil
}

// fanoutRoom measures one room: saturated, in bursts and paced.
func (t *trial) fanoutRoom(w *load.Client, args load.FanoutArgs) error {
	n := args.Last - args.First
	length := t.window()
	for _, mode := range []struct {
		name        string
		window      int
		burst       int
		rate        float64
		length      time.Duration
		least, most int32 // rooms of other sizes are left out
	}{
		{name: "single", window: fanoutWindow, length: length, most: 20000},
		{name: "burst", burst: burstSize, length: length, least: 1000, most: largestBurst},
		{name: "paced", rate: pacedDeliveries / float64(n), length: 4 * length, least: 1000, most: 20000},
	} {
		if n < mode.least || n > mode.most {
			continue
		}
		args.Window, args.Burst, args.Rate, args.For = mode.window, mode.burst, mode.rate, mode.length
		s, err := t.measure(func() (*load.Result, error) { return w.Fanout(args) })
		if err != nil {
			return err
		}
		t.record(fmt.Sprintf("%s/%d", mode.name, n), s, map[string]float64{"members": float64(n)})
	}
	return nil
}

// window is how long one measurement lasts at least.
func (t *trial) window() time.Duration {
	if t.full {
		return 3 * time.Second
	}
	return 400 * time.Millisecond
}

// stormScenario lets the members join one room all at once, then one of them
// type. This needs no publishing: it is what clients do to each other.
func stormScenario(t *trial) error {
	const members = 1000
	_, w, err := t.start(quietPing, members)
	if err != nil {
		return err
	}
	if err := t.must(w.Dial(load.DialArgs{Last: members, Window: dialWindow, PerUser: 1})); err != nil {
		return err
	}
	s, err := t.measure(func() (*load.Result, error) {
		return w.Join(load.JoinArgs{Last: members, RoomSize: members})
	})
	if err != nil {
		return err
	}
	t.record("join", s, map[string]float64{"members": members})
	args := load.FanoutArgs{Source: load.SourceTyping, First: 1, Last: members, Publisher: 0}
	for _, mode := range []struct {
		name   string
		window int
		burst  int
	}{{"typing", fanoutWindow, 0}, {"typing burst", 0, burstSize}} {
		args.Window, args.Burst, args.For = mode.window, mode.burst, t.window()
		s, err := t.measure(func() (*load.Result, error) { return w.Fanout(args) })
		if err != nil {
			return err
		}
		t.record(mode.name, s, map[string]float64{"members": members - 1})
	}
	return nil
}
