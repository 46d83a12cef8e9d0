package loop

import (
	"strings"
	"testing"
)

func TestOriginsAreComparedBySchemeHostAndPort(t *testing.T) {
	t.Parallel()
	o := NewOrigins("https://app.example.com", "http://localhost:3000", "capacitor://localhost", "http://[::1]:3000", "wss://native.example")
	for _, c := range []struct {
		origin, host string
		want         bool
	}{
		{"", "gw.example.com", true}, // no browser
		{"https://app.example.com", "gw.example.com", true},
		{"https://app.example.com:443", "gw.example.com", true},
		{"HTTPS://App.Example.com/", "gw.example.com", true},
		{"wss://app.example.com", "gw.example.com", true},
		{"https://native.example", "gw.example.com", true},
		{"http://localhost:3000/page?x#y", "gw.example.com", true},
		{"capacitor://localhost", "gw.example.com", true},
		{"http://[0:0:0:0:0:0:0:1]:3000", "gw.example.com", true},
		{"http://app.example.com", "gw.example.com", false},
		{"https://app.example.com:80", "gw.example.com", false},
		{"https://app.example.com:4430", "gw.example.com", false},
		{"https://app.example.com.evil.example", "gw.example.com", false},
		{"https://evil.example/https://app.example.com", "gw.example.com", false},
		{"https://evil.example?https://app.example.com", "gw.example.com", false},
		{"https://app.example.com@evil.example", "gw.example.com", false},
		{"https://app.example.com:443@evil.example", "gw.example.com", false},
		{"https://evil@app.example.com", "gw.example.com", false},
		{"capacitor://localhost:80", "gw.example.com", false},
		{"null", "gw.example.com", false},
		{"null", "null", false},
		{"file://", "gw.example.com", false},
		{"://app.example.com", "gw.example.com", false},
		{"https://", "gw.example.com", false},
		{"https://[::1", "gw.example.com", false},
		{"https://[::1]x", "gw.example.com", false},
		{"https://[app.example.com]", "gw.example.com", false},
		{"https://app.example.com:x", "gw.example.com", false},
		{"app.example.com", "app.example.com", false},

		// The gateway's own host, as sent by Starscream, Go's x/net/websocket,
		// python-socketio and pages behind nginx' $host:$server_port.
		{"https://gw.example.com", "gw.example.com", true},
		{"http://gw.example.com", "gw.example.com", true},
		{"https://gw.example.com", "gw.example.com:443", true},
		{"wss://gw.example.com", "gw.example.com:443", true},
		{"ws://gw.example.com", "gw.example.com:80", true},
		{"wss://gw.example.com:8443", "gw.example.com:8443", true},
		{"http://gw:3002/socket.io/?eio=4", "gw:3002", true},
		{"https://gw.example.com:443", "gw.example.com", true},
		{"https://gw.example.com:", "gw.example.com", true},
		{"https://gw.example.com", "GW.example.com", true},
		{"http://[::1]:3002", "[::1]:3002", true},
		{"http://[::1]", "[0::1]:80", true},
		{"https://gw.example.com", "gw.example.com:80", false},
		{"http://gw.example.com", "gw.example.com:443", false},
		{"https://gw.example.com:8443", "gw.example.com", false}, // nginx' $host loses the port
		{"https://evil.example", "gw.example.com", false},
		{"http://gw.example.com", "", false},
		{"http://[::1]:3002", "[::2]:3002", false},
		{"http://gw.example.com@evil.example", "gw.example.com@evil.example", false},
		{"https://" + strings.Repeat("x", 300), strings.Repeat("X", 300) + ":443", true},
	} {
		if got := o.allow([]byte(c.origin), []byte(c.host)); got != c.want {
			t.Errorf("Origin %q at Host %q: allowed %v, want %v", c.origin, c.host, got, c.want)
		}
	}
	all := NewOrigins("*")
	for _, origin := range []string{"null", "https://any.example", "x"} {
		if !all.allow([]byte(origin), []byte("gw")) {
			t.Errorf("%q is not allowed by *", origin)
		}
	}
}

func TestComparingOriginsAllocatesNothing(t *testing.T) {
	o := NewOrigins("https://app.example.com")
	for _, origin := range []string{"https://app.example.com", "https://gw.example.com", "https://evil.example"} {
		if n := testing.AllocsPerRun(100, func() { o.allow([]byte(origin), []byte("gw.example.com")) }); n > 0 {
			t.Errorf("%s: %v allocations, want none", origin, n)
		}
	}
}
