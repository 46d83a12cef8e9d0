package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/testkit"
)

// mostIdleWakes is how many times a second the threads of an idle gateway may
// wake: measured are 20, whatever the number of event loops. Loops that tick
// while nothing happens wake 600 times with 2 loops and 5,000 times with 32.
const mostIdleWakes = 150

// TestAnIdleGatewaySleeps, with few event loops and with many.
func TestAnIdleGatewaySleeps(t *testing.T) {
	notOnReference(t, "it is about our own process")
	testkit.Slow(t, "it watches an idle process for 8 s")
	const look, looks = 2 * time.Second, 10
	for _, loops := range []int{2, 32} {
		t.Run(fmt.Sprint(loops, " loops"), func(t *testing.T) {
			g := start(t, "EVENT_LOOPS="+strconv.Itoa(loops))
			g.dial(t, "ann", false)
			var rate float64
			for range looks { // the first are those of its start
				before, began := wakes(t, g.Pid()), time.Now()
				time.Sleep(look)
				rate = float64(wakes(t, g.Pid())-before) / time.Since(began).Seconds()
				if rate <= mostIdleWakes {
					return
				}
			}
			t.Errorf("%.0f wake-ups a second, want at most %d", rate, mostIdleWakes)
		})
	}
}

var voluntary = regexp.MustCompile(`(?m)^voluntary_ctxt_switches:\s*(\d+)$`)

// wakes is how many times the threads of a process have waited.
func wakes(t *testing.T, pid int) (n int) {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(threads) == 0 {
		t.Fatalf("no threads of process %d: %v", pid, err)
	}
	for _, thread := range threads {
		status, err := os.ReadFile(thread)
		if err != nil {
			continue // it has ended
		}
		m := voluntary.FindSubmatch(status)
		if m == nil {
			t.Fatalf("%s: no voluntary_ctxt_switches", thread)
		}
		count, err := strconv.Atoi(string(m[1]))
		if err != nil {
			t.Fatal(err)
		}
		n += count
	}
	return n
}
