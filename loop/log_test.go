package loop

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/hometrip/gateway/internal/testkit"
)

// A lockedBuffer is a buffer that several event loops write to.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestSessionsAreLoggedAtDebugOnly(t *testing.T) {
	t.Parallel()
	for level, want := range map[slog.Level]bool{slog.LevelDebug: true, slog.LevelInfo: false} {
		log := &lockedBuffer{}
		s := newServer(t, func(c *Config) {
			c.Log = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: level}))
		})
		ann := connectWS(t, s, "ann")
		ann.join("1")
		_ = ann.conn.Close()
		testkit.Await(t, "the session to end", func() bool { return s.Stats().Sessions == 0 })
		got := strings.Contains(log.String(), `"msg":"session ended","reason":"transport_closed","transport":"websocket"`) &&
			strings.Contains(log.String(), `"user":"ann"`)
		if got != want {
			t.Errorf("at %v the session is logged: %v, want %v:\n%s", level, got, want, log)
		}
	}
}
