package brokertest

import (
	"sync"
	"testing"

	"github.com/hometrip/gateway/internal/testkit"
)

var shared struct {
	once   sync.Once
	broker *Broker
	err    error
}

// Shared returns the broker that the tests of a package share if they do not
// stop it, each with its own queues and exchanges. TestMain closes it.
func Shared(t testing.TB) *Broker {
	t.Helper()
	shared.once.Do(func() { shared.broker, shared.err = Start() })
	testkit.Need(t, shared.err)
	return shared.broker
}

// CloseShared ends the shared broker, if there is one.
func CloseShared() {
	if shared.broker != nil {
		shared.broker.Close()
	}
}
