// Package testkit is what tests of several packages share.
//
//	await.go  waiting for a condition
//	proxy.go  a TCP proxy that cuts, holds and delays connections
package testkit

import (
	"testing"
	"time"
)

// Patience is how long an event that should come soon may take on a busy
// machine.
const Patience = 30 * time.Second

// pollInterval is the pause between two checks of a condition.
const pollInterval = 5 * time.Millisecond

// Await polls a condition that should hold soon.
func Await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(Patience)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(pollInterval)
	}
}
