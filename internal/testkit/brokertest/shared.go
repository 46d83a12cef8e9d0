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

// Shared returns the broker of all tests of a package that leave theirs alive,
// each with queues and exchanges of its own. TestMain closes it.
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
