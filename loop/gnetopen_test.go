package loop

import (
	"os"
	"strings"
	"testing"
)

// register calls unexported functions of gnet, and the linker does not check
// their parameters. When the version of gnet changes, newStreamConn, SetContext
// and register0 must be compared with gnetopen.go, and then this test must be
// changed.
func TestGnetVersionMatchesTheLinkedFunctions(t *testing.T) {
	const version = "github.com/panjf2000/gnet/v2 v2.10.0"
	mod, err := os.ReadFile("../go.mod")
	if err != nil || !strings.Contains(string(mod), version) {
		t.Errorf("go.mod does not require %q (%v): see gnetopen.go", version, err)
	}
}
