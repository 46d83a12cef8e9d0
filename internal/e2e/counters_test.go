package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/gatewaytest"
)

// counters has the values of the gateway's counters and histograms by name and labels.
type counters map[string]float64

// counters scrapes the process that listens at g's address: g, or the process that has
// taken over.
func (g *gateway) counters() (counters, error) {
	header := http.Header{"Authorization": {"Bearer " + gatewaytest.PublishToken}, "Accept": {"text/plain"}}
	status, body, err := request(http.MethodGet, g.URL+"/metrics", header, "")
	if err != nil || status != http.StatusOK {
		return nil, fmt.Errorf("status %d: %w", status, err)
	}
	all := make(counters)
	rises := make(map[string]bool) // by metric name: it is a counter or a histogram
	for line := range strings.Lines(string(body)) {
		words := strings.Fields(line)
		if strings.HasPrefix(line, "# TYPE gateway_") {
			rises[words[2]] = words[3] == "counter" || words[3] == "histogram"
			continue
		}
		name, _, _ := strings.Cut(words[0], "{")
		base := name
		for _, part := range []string{"_bucket", "_sum", "_count"} {
			base = strings.TrimSuffix(base, part)
		}
		if !rises[name] && !rises[base] {
			continue
		}
		key := strings.Join(words[:len(words)-1], " ")
		if all[key], err = strconv.ParseFloat(words[len(words)-1], 64); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// since describes each counter that is less than before, or is missing.
func (all counters) since(before counters) (wrong []string) {
	for name, n := range before {
		if now, found := all[name]; !found || now < n {
			wrong = append(wrong, fmt.Sprintf("%s: %v, was %v", name, now, n))
		}
	}
	return wrong
}

// Three hand-overs happen while a client emits events. No scrape may show a counter
// that decreased or is missing: Prometheus takes a smaller value for a restart and
// adds all of it to the rate. The counters of presence events continue, too.
func TestCountersNeverDecreaseInAHandOver(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it does not hand over")
	settings, _ := fleetSettings(t, "rabbitmq")
	exchange := "presence-in-counters"
	h := receivePresence(t, exchange)
	g := start(t, append(settings, handoverSocket(t), "PRESENCE_EVENTS=true", "PRESENCE_EXCHANGE="+exchange, "PRESENCE_GRACE=0")...)
	g.AwaitReady()
	ann := g.dial(t, "ann", false)
	ben := g.dial(t, "ben", true)
	h.want("user.online ann", "user.online ben")
	ben.Close()
	h.want("user.online ann", "user.online ben", "user.offline ben")
	ann.do("join_room", "1")
	_, _, _ = g.Get("/nothing")

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var busy sync.WaitGroup
	defer busy.Wait()
	busy.Go(func() {
		for ctx.Err() == nil {
			answered, cancel := context.WithTimeout(context.Background(), patience)
			_, err := ann.EmitAck(answered, "typing", map[string]string{"roomType": "conversation", "roomId": "1"})
			cancel()
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	var mu sync.Mutex
	scrapes := 0
	busy.Go(func() {
		var before counters
		for ctx.Err() == nil {
			now, err := g.counters()
			if err != nil {
				t.Error(err)
				return
			}
			if wrong := now.since(before); len(wrong) > 0 {
				t.Errorf("scrape %d: counters decreased or are missing:\n%s", scrapes, strings.Join(wrong, "\n"))
				return
			}
			before = now
			mu.Lock()
			scrapes++
			mu.Unlock()
			time.Sleep(time.Millisecond)
		}
	})
	scraped := func() {
		t.Helper()
		mu.Lock()
		want := scrapes + 10
		mu.Unlock()
		gatewaytest.Await(t, "more scrapes", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return scrapes >= want || t.Failed()
		})
	}
	scraped()
	current := g
	for range 3 {
		current = current.succeed(t)
		scraped()
	}
	current.dial(t, "eve", false)
	h.want("user.online ann", "user.online ben", "user.offline ben", "user.online eve")
	gatewaytest.Await(t, "the presence events of all processes to be counted", func() bool {
		now, err := current.counters()
		return err == nil && now[`gateway_presence_events_total{result="told"}`] >= 4
	})
	stop()
}
