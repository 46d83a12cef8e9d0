package loop

import (
	"os"
	"strings"
	"testing"
)

// register calls functions of gnet that are not exported. The linker finds them
// by name and does not see that their parameters have changed: whoever takes
// another version compares newStreamConn, SetContext and register0 with
// gnetopen.go, and then changes this test.
func TestGnetIsTheVersionWhoseFunctionsAreCalled(t *testing.T) {
	const version = "github.com/panjf2000/gnet/v2 v2.10.0"
	mod, err := os.ReadFile("../go.mod")
	if err != nil || !strings.Contains(string(mod), version) {
		t.Errorf("go.mod does not require %q (%v): see gnetopen.go", version, err)
	}
}
