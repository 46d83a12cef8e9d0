package redistest

import (
	"sync"
	"testing"

	"github.com/hometrip/gateway/internal/testkit"
)

var shared struct {
	once   sync.Once
	server *Server
	err    error
}

// Shared returns the server of all tests of a package that leave theirs alive,
// each with keys of its own. TestMain closes it.
func Shared(t testing.TB) *Server {
	t.Helper()
	shared.once.Do(func() { shared.server, shared.err = Start(nil) })
	testkit.Need(t, shared.err)
	return shared.server
}

// StartBehindProxy starts a server, and a proxy on the way to it. Both end with
// the test.
func StartBehindProxy(t testing.TB) (*Server, *testkit.Proxy) {
	t.Helper()
	server, err := Start(nil)
	testkit.Need(t, err)
	t.Cleanup(server.Close)
	line, err := testkit.NewProxy(server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(line.Close)
	return server, line
}

// CloseShared ends the shared server, if there is one.
func CloseShared() {
	if shared.server != nil {
		shared.server.Close()
	}
}
