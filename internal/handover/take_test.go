package handover

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The kernel's descriptor table is enlarged for all sessions before the first
// descriptor arrives.
func TestTheDescriptorTableIsEnlargedInAdvance(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	const sessions = 500
	if limit.Cur < sessions+otherDescriptors {
		t.Skipf("RLIMIT_NOFILE is %d", limit.Cur)
	}
	reserveDescriptors(sessions)
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "FDSize:")
	size := 0
	if _, err := fmt.Sscan(rest, &size); err != nil || size < sessions+otherDescriptors {
		t.Errorf("a table for %d descriptors, %v, want %d or more", size, err, sessions+otherDescriptors)
	}
}
