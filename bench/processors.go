package main

import (
	"fmt"
	"runtime"

	"github.com/hometrip/gateway/bench/load"
)

// processorsRoom is how many members the room of this scenario has.
const processorsRoom = 1000

// processorsScenario gives one gateway 1, 2, 4 … processors of the Go runtime, up
// to the machine's cores, with as many event loops, and then leaves the choice to
// it. The server is not bound to one core.
func processorsScenario(t *trial) error {
	t.unbound = true
	type choice struct {
		name string
		env  []string
	}
	var choices []choice
	for n := 1; n <= runtime.NumCPU(); n *= 2 {
		choices = append(choices, choice{fmt.Sprint(n), []string{fmt.Sprint("GOMAXPROCS=", n), fmt.Sprint("EVENT_LOOPS=", n)}})
	}
	choices = append(choices, choice{name: "own"})
	for _, c := range choices {
		if _, err := t.serve(quietPing, c.env...); err != nil {
			return err
		}
		w, err := t.load(processorsRoom)
		if err != nil {
			return err
		}
		if err := t.processorsRoom(w, c.name); err != nil {
			return err
		}
		t.stopAll()
	}
	return nil
}

// processorsRoom measures one room: saturated and paced.
func (t *trial) processorsRoom(w *load.Client, name string) error {
	args := load.DialArgs{Last: processorsRoom, Window: dialWindow, PerUser: everybody}
	if err := t.must(w.Dial(args)); err != nil {
		return err
	}
	room := load.FanoutArgs{Source: load.SourceUser, Token: publishToken, Last: processorsRoom, Window: fanoutWindow, For: t.window()}
	single, err := t.measure(func() (*load.Result, error) { return w.Fanout(room) })
	if err != nil {
		return err
	}
	t.record("single/"+name, single, nil)
	room.Window, room.Rate, room.For = 0, pacedDeliveries/processorsRoom, 4*t.window()
	paced, err := t.measure(func() (*load.Result, error) { return w.Fanout(room) })
	if err != nil {
		return err
	}
	t.record("paced/"+name, paced, nil)
	return nil
}
