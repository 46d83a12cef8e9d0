package loop

import (
	"strings"
	"testing"

	"github.com/hometrip/gateway/rooms"
)

func TestSIDNamesItsLoop(t *testing.T) {
	for loop := range rooms.MaxShards {
		sid := newSID(loop)
		if got, ok := loopOf([]byte(sid), rooms.MaxShards); !ok || got != loop {
			t.Errorf("%s: loop %d, %v, want %d", sid, got, ok, loop)
		}
		if got, ok := loopOf([]byte(sid), loop+1); !ok || got != loop {
			t.Errorf("%s, of the last loop: loop %d, %v", sid, got, ok)
		}
		// The session was handed over by a process with more loops.
		if got, ok := loopOf([]byte(sid), 3); !ok || got != loop%3 {
			t.Errorf("%s, with 3 loops: loop %d, %v, want %d", sid, got, ok, loop%3)
		}
	}
}

func TestInvalidSIDs(t *testing.T) {
	for _, sid := range []string{
		"", "AA", newSID(0)[1:], newSID(0) + "A", "/A" + newSID(0)[2:], "A\x00" + newSID(0)[2:],
		"..", "__" + newSID(0)[2:], "BA" + newSID(0)[2:], strings.Repeat("A", 1000),
	} {
		if loop, ok := loopOf([]byte(sid), rooms.MaxShards); ok {
			t.Errorf("%q was parsed as one of loop %d, want an error", sid, loop)
		}
	}
}

func TestSIDsAreUniqueAndPlain(t *testing.T) {
	seen := make(map[string]bool)
	for range 10_000 {
		sid := newSID(1)
		if seen[sid] {
			t.Fatalf("%s came twice", sid)
		}
		seen[sid] = true
		if rest := strings.Trim(sid, sidAlphabet); rest != "" || len(sid) != sidLen {
			t.Fatalf("%q: want %d characters that need no escaping", sid, sidLen)
		}
	}
}
