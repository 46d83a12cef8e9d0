package loop

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/rooms"
)

// Each kind of trouble with a client must be logged once, with its address and
// what to do.
func TestTroublesWithClientsAreLoggedOnce(t *testing.T) {
	t.Parallel()
	closing := func(reason rooms.Reason) func(s *Server) {
		return func(s *Server) {
			connectWS(t, s, "ann")
			s.onAll(func(w *worker, _ time.Time) {
				for _, session := range w.sessions {
					session.Close(reason)
				}
			})
		}
	}
	sends := func(frames string) func(s *Server) {
		return func(s *Server) {
			c, _ := openWS(t, s)
			c.send(frames)
		}
	}
	for name, c := range map[string]struct {
		provoke func(s *Server)
		want    []string
	}{
		"origin": {func(s *Server) {
			dial(t, s).do("GET", engineSocket, "", webSocketHeaders, "Origin: https://evil.example")
		}, []string{"origin=https://evil.example", "CORS_ORIGIN"}},
		"head":     {func(s *Server) { dial(t, s).do("GET", "/", "", "X-Large: "+strings.Repeat("x", 70_000)) }, []string{"MAX_HEAD_SIZE"}},
		"body":     {func(s *Server) { dial(t, s).do("POST", "/", strings.Repeat("x", 200_000)) }, []string{"MAX_HTTP_BUFFER_SIZE"}},
		"EIO3":     {func(s *Server) { dial(t, s).do("GET", "/socket.io/?EIO=3&transport=polling", "") }, []string{"version=3", "Engine.IO 4"}},
		"msgpack":  {sends(frame(true, ws.OpBinary, "\x82\xa4type\x00\xa3nsp\xa1/")), []string{"socket.io-msgpack-parser"}},
		"nonsense": {sends(frame(true, ws.OpText, "4x")), []string{"protocol error"}},
		"large":    {sends("\x81\xff\x00\x00\x00\x00\x00\x0f\x86\xa1\x00\x00\x00\x00"), []string{"MAX_HTTP_BUFFER_SIZE"}},
		"fast":     {closing(rooms.ReasonTooFast), []string{"user=ann", "MAX_EVENTS_PER_SECOND"}},
		"slow":     {closing(rooms.ReasonSlowConsumer), []string{"user=ann", "MAX_PENDING_BYTES"}},
		"shed":     {closing(rooms.ReasonShed), []string{"user=ann", "MAX_TOTAL_PENDING_BYTES"}},
		"busy":     {closing(rooms.ReasonBusy), []string{"JWT_JWKS_URL", "no_keys"}},
	} {
		t.Run(name, func(t *testing.T) {
			log := &lockedBuffer{}
			s := newServer(t, func(c *Config) {
				c.MaxPayload, c.MaxHead = 100_000, 60_000
				c.Log = slog.New(slog.NewTextHandler(log, nil))
			})
			for range 5 {
				c.provoke(s)
			}
			want := append(c.want, "level=INFO", "address=127.0.0.1", "todo=")
			testkit.Await(t, "the log line", func() bool {
				for _, text := range want {
					if !strings.Contains(log.String(), text) {
						return false
					}
				}
				return true
			})
			if n := strings.Count(log.String(), "todo="); n != 1 {
				t.Errorf("%d lines, want 1:\n%s", n, log)
			}
		})
	}
}

func TestNoticesAreRateLimitedByKind(t *testing.T) {
	t.Parallel()
	var n notices
	now, said, unsaid := time.Now(), 0, int64(0)
	for i := range 1000 { // 100 s
		at := now.Add(time.Duration(i) * 100 * time.Millisecond)
		if missed, ok := n[troubleHead].Allow(at, troubleHead.interval()); ok {
			said++
			unsaid += missed
		}
	}
	if said != 10 || unsaid != 9*99 {
		t.Errorf("%d lines that count %d suppressed ones, want 10 and %d", said, unsaid, 9*99)
	}
	if _, ok := n[troubleBody].Allow(now, troubleBody.interval()); !ok {
		t.Error("a line was suppressed because of another kind")
	}
}
