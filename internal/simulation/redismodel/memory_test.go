package redismodel

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/internal/testkit/redistest"
)

// The model and a server are asked for the MEMORY USAGE of streams of several
// sizes. The answers must differ by a quarter at most, which is enough for the
// decisions that depend on them.
func TestMemoryUsageOfAStreamIsCloseToTheServers(t *testing.T) {
	server, err := redistest.Start(nil)
	testkit.Need(t, err)
	defer server.Close()
	p, err := dial(server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer p.conn.Close()
	model := New().Connect()
	do := func(args ...string) (real, modelled int64) {
		p.send(args...)
		r, err := p.next()
		if err != nil || r.Kind == Fault {
			t.Fatalf("%q: %v, %v", args, r, err)
		}
		model.Do(args...)
		m := model.Out[0]
		model.Out = nil
		return r.Int, m.Int
	}
	for _, body := range []int{0, 60, 1000} {
		for _, n := range []int{1, 5, 50, 500} {
			do("DEL", "s")
			for i := range n {
				do("XADD", "s", fmt.Sprintf("1700000000000-%d", i+1), "at", "1700000000000", "key", "message.sent",
					"id", fmt.Sprint(i), "published", "1700000000000000", "body", strings.Repeat("x", body))
			}
			if got, want := do("MEMORY", "USAGE", "s", "SAMPLES", "100"); got < want-want/4 || got > want+want/4 {
				t.Errorf("MEMORY USAGE of %d entries of %d bytes: the server says %d, the model %d, want at most a quarter of difference", n, body, got, want)
			}
		}
	}
}
