package main

import (
	"fmt"
	"time"

	"github.com/hometrip/gateway/bench/process"
	"github.com/hometrip/gateway/bench/report"
)

// loopsScenario measures what a gateway without clients costs, by the number of
// its event loops: the loops sleep when nobody speaks, so it should not depend
// on how many there are.
func loopsScenario(t *trial) error {
	calm := 2 * time.Second // for the loops to fall asleep
	for _, loops := range []int{1, 2, 4, 8, 16, 32} {
		s, err := t.serve(quietPing, fmt.Sprint("EVENT_LOOPS=", loops))
		if err != nil {
			return err
		}
		time.Sleep(calm)
		before, err := process.CPU(s.PID())
		if err != nil {
			return s.Alive()
		}
		began := time.Now()
		time.Sleep(10 * t.window())
		after, err := process.CPU(s.PID())
		if err != nil {
			return s.Alive()
		}
		perSecond := float64((after - before).Microseconds()) / 1000 / time.Since(began).Seconds()
		t.row("loops", fmt.Sprint(loops), report.Row{Values: map[string]float64{"loops": float64(loops), "idle_ms": perSecond}})
		t.stopAll()
	}
	return nil
}
