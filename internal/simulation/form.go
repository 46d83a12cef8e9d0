package simulation

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Draw returns the configuration of a seed: the fields that c leaves open are
// drawn.
func Draw(c Config, seed uint64) Config {
	rng := rand.New(rand.NewPCG(seed, 5))
	nodes, clients := 1+rng.IntN(5), 5+rng.IntN(40)
	if rng.IntN(8) == 0 {
		clients = 50 + rng.IntN(150)
	}
	span := between(rng, 20*time.Second, 40*time.Second)
	if rng.IntN(8) == 0 {
		span = 2 * time.Minute
	}
	c.Seed = seed
	orDefault(&c.Nodes, nodes)
	orDefault(&c.Clients, clients)
	orDefault(&c.Span, span)
	orDefault(&c.Recovery, []int{0, 30, 100}[rng.IntN(3)])
	if c.Recovery > 0 && c.Faults >= 0 {
		orDefault(&c.More, rng.IntN(moreFaults+1))
	}
	if extra := rng.IntN(extraFaults + 1); c.Faults >= 0 {
		orDefault(&c.Extra, extra)
	}
	c.Letters = c.Letters || rng.IntN(2) == 0
	if n := stream(seed, 21).IntN(8); c.Log == logStream && n < 2 {
		c.Log = []string{logRedis, logPosted}[n]
	}
	c.Presence = c.Presence || rand.New(rand.NewPCG(seed, 12)).IntN(3) == 0 // has its own source, so that it does not change the other fields of a seed
	return c
}

// Format writes a configuration in the form that Parse reads.
func Format(c Config) string {
	text := fmt.Sprintf("seed=%d nodes=%d clients=%d rooms=%d span=%v plan=%v delays=%d faults=%d",
		c.Seed, c.Nodes, c.Clients, c.Rooms, c.Span, c.PlanSpan, c.Delays, c.Faults)
	if c.Recovery != 0 || c.More != 0 {
		text += fmt.Sprintf(" recovery=%d more=%d", c.Recovery, c.More)
	}
	if c.Extra != 0 {
		text += fmt.Sprintf(" extra=%d", c.Extra)
	}
	if c.Letters {
		text += " letters=1"
	}
	if c.Log != logStream {
		text += " log=" + c.Log
	}
	if c.Presence {
		text += " presence=1"
	}
	if len(c.Skip) > 0 {
		var list []string
		for _, i := range slices.Sorted(maps.Keys(c.Skip)) {
			list = append(list, strconv.Itoa(i))
		}
		text += " skip=" + strings.Join(list, ",")
	}
	return text
}

// Parse reads the form that Format writes.
func Parse(text string) (c Config, err error) {
	for _, field := range strings.Fields(text) {
		name, value, _ := strings.Cut(field, "=")
		var n int
		if name != "span" && name != "plan" && name != "skip" && name != "log" {
			if n, err = strconv.Atoi(value); err != nil {
				return c, err
			}
		}
		switch name {
		case "seed":
			c.Seed, err = strconv.ParseUint(value, 10, 64)
		case "nodes":
			c.Nodes = n
		case "clients":
			c.Clients = n
		case "rooms":
			c.Rooms = n
		case "recovery":
			c.Recovery = n
		case "more":
			c.More = n
		case "letters":
			c.Letters = n != 0
		case "log":
			if c.Log = value; value != logRedis && value != logPosted {
				err = fmt.Errorf("log=%s: want %s or %s", value, logRedis, logPosted)
			}
		case "presence":
			c.Presence = n != 0
		case "extra":
			c.Extra = n
		case "delays":
			c.Delays = uint64(n)
		case "faults":
			c.Faults = n
		case "span":
			c.Span, err = time.ParseDuration(value)
		case "plan":
			c.PlanSpan, err = time.ParseDuration(value)
		case "skip":
			c.Skip = make(map[int]bool)
			for _, text := range strings.Split(value, ",") {
				if n, err = strconv.Atoi(text); err == nil {
					c.Skip[n] = true
				}
			}
		default:
			err = fmt.Errorf("%s: want seed, nodes, clients, rooms, span, plan, delays, faults, recovery, more, extra, letters, log, presence or skip", field)
		}
		if err != nil {
			return c, err
		}
	}
	return c, nil
}
