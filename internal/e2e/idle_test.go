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

// maxIdleWakes is the most wake-ups a second allowed for the threads of an idle
// gateway. 20 were measured, whatever the number of event loops. Event loops that wake
// at every tick cause 600 a second with 2 loops and 5,000 with 32.
const maxIdleWakes = 150

// A gateway with one idle client wakes rarely, with few event loops and with many.
func TestIdleGatewayWakesRarely(t *testing.T) {
	notOnReference(t, "it is about our own process")
	testkit.Slow(t, "it watches an idle process for 8 s")
	const look, looks = 2 * time.Second, 10
	for _, loops := range []int{2, 32} {
		t.Run(fmt.Sprint(loops, " loops"), func(t *testing.T) {
			g := start(t, "EVENT_LOOPS="+strconv.Itoa(loops))
			g.dial(t, "ann", false)
			var rate float64
			for range looks { // the first rounds still include work of the start
				before, began := wakes(t, g.Pid()), time.Now()
				time.Sleep(look)
				rate = float64(wakes(t, g.Pid())-before) / time.Since(began).Seconds()
				if rate <= maxIdleWakes {
					return
				}
			}
			t.Errorf("%.0f wake-ups a second, want at most %d", rate, maxIdleWakes)
		})
	}
}

var voluntary = regexp.MustCompile(`(?m)^voluntary_ctxt_switches:\s*(\d+)$`)

// wakes returns the number of voluntary context switches of a process' threads.
func wakes(t *testing.T, pid int) (n int) {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(threads) == 0 {
		t.Fatalf("no threads of process %d: %v", pid, err)
	}
	for _, thread := range threads {
		status, err := os.ReadFile(thread)
		if err != nil {
			continue // the thread has ended
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
