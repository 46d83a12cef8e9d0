package loop

import (
	"log/slog"
	"net/netip"
	"strings"
	"testing"
)

// A PROXY header that is not expected must be answered with what to set, and
// logged once for several connections.
func TestUnexpectedProxyHeaders(t *testing.T) {
	t.Parallel()
	const first = "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"
	trusted := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	for name, c := range map[string]struct {
		text, want string
		trusted    []netip.Prefix
		protocol   bool
	}{
		"version 1":               {first, "set send-proxy-v2", trusted, true},
		"version 1, unknown":      {"PROXY UNKNOWN\r\n", "set send-proxy-v2", trusted, true},
		"version 1, not asked":    {first, "set send-proxy-v2", nil, false},
		"version 2, not asked":    {proxiedFrom, "PROXY_PROTOCOL=true", trusted, false},
		"of an untrusted address": {proxiedFrom, "TRUSTED_PROXIES", nil, true},
		"twice":                   {proxiedFrom + proxiedFrom, "not the first", trusted, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := &lockedBuffer{}
			s := newServer(t, func(cfg *Config) {
				cfg.TrustedProxies, cfg.ProxyProtocol = c.trusted, c.protocol
				cfg.Log = slog.New(slog.NewTextHandler(log, nil))
			})
			var refused []*wire
			for range 3 {
				conn := dial(t, s)
				conn.send(c.text) // without a request
				if r := conn.receive(); r.status != 400 || !strings.Contains(r.body, c.want) {
					t.Errorf("%d %s, want 400 and %q", r.status, r.body, c.want)
				}
				refused = append(refused, conn)
			}
			for _, conn := range refused {
				conn.wantEOF()
			}
			if n := strings.Count(log.String(), c.want); n != 1 || !strings.Contains(log.String(), "level=INFO") || !strings.Contains(log.String(), "address=127.0.0.1:") {
				t.Errorf("%d lines, want 1 at info with the address:\n%s", n, log)
			}
		})
	}
}
