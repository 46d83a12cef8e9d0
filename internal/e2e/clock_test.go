package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/gatewaytest"
)

// untilWrap returns the time until the low 32 bits of the Unix time in units of 10 us
// overflow.
func untilWrap(now time.Time) time.Duration {
	const unit = 10 * time.Microsecond
	return time.Duration(1<<32-now.UnixNano()/int64(unit)%(1<<32)) * unit
}

// Clients on each transport connect and emit events while the clock of the gateway is
// set. A second gateway passes the moment at which 32 bits of time in 10 us overflow.
// No client may be refused or disconnected.
func TestClientsStayConnectedWhenTheClockIsSet(t *testing.T) {
	notOnReference(t, "its clock cannot be set")
	if os.Getenv("E2E_CLOCK") != "1" {
		t.Skip("it builds the gateway and all of its libraries with another clock, a minute of CPU: E2E_CLOCK=1 runs it")
	}
	const seconds = 20
	const beforeWrap = 16 * time.Second // time from the start of the process to the overflow
	program := gatewaytest.ShiftedProgram(t)
	for name, shift := range map[string]string{
		"over the wrap": fmt.Sprintf("0:%d", (untilWrap(time.Now()) - beforeWrap).Milliseconds()),
		"back and forth": "3000:-6000,5000:-10000,7000:-25000,9000:60000,11000:-43200000,13000:86400000,15000:-5000," +
			"17000:-31536000000",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := &gateway{Gateway: gatewaytest.New(t, "CLOCK_SHIFT="+shift, "MAX_HANDSHAKES_PER_IP=50"), t: t}
			g.Command = []string{program}
			g.Launch()
			out, err := script(t, g, "default", "clock.mjs", fmt.Sprint(seconds)).Output()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			var result struct {
				Connected, Acknowledged int
				Wrong                   []string
			}
			if err := json.Unmarshal(out, &result); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if len(result.Wrong) > 0 || result.Connected < seconds || result.Acknowledged < seconds {
				t.Errorf("%d connected, %d events were acknowledged; wrong:\n%s",
					result.Connected, result.Acknowledged, strings.Join(result.Wrong, "\n"))
			}
		})
	}
}
