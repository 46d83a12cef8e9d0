// Package gatewaytest runs the gateway as a process for tests: the program is
// built once for a test binary and started with the test's settings. A test
// fails if the process logs a panic or a data race.
package gatewaytest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"sync"
	"testing"
)

// program is the gateway, built by the first test that needs it.
var program struct {
	once sync.Once
	dir  string
	path string
	err  error
}

// Main runs a package's tests and removes the program afterwards.
func Main(m *testing.M) int {
	defer func() {
		if program.dir != "" {
			os.RemoveAll(program.dir)
		}
	}()
	return m.Run()
}

// Program returns the path of the gateway's program. It is built with the race
// detector if the tests are.
func Program(t testing.TB) string {
	t.Helper()
	program.once.Do(func() { program.err = build() })
	if program.err != nil {
		t.Fatal(program.err)
	}
	return program.path
}

func build() (err error) {
	if program.dir, err = os.MkdirTemp("", "gateway-test-"); err != nil {
		return err
	}
	program.path = filepath.Join(program.dir, "gateway")
	args := []string{"build", "-o", program.path}
	if raceEnabled() {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "github.com/hometrip/gateway/cmd/gateway")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("building the gateway: %w\n%s", err, out)
	}
	return nil
}

func raceEnabled() bool {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return false
	}
	for _, s := range info.Settings {
		if s.Key == "-race" {
			return s.Value == "true"
		}
	}
	return false
}
