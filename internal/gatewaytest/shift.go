package gatewaytest

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

//go:embed shift.txt
var shiftSource string

var shifted struct {
	once sync.Once
	path string
	err  error
}

// ShiftedProgram returns the path of the gateway's program, built with a
// package time whose time of day CLOCK_SHIFT moves: see shift.txt. The sources
// of the gateway are unchanged. Libraries that shift the clock of a process
// (libfaketime) do not work for a static Go program.
func ShiftedProgram(t testing.TB) string {
	t.Helper()
	Program(t) // it makes the directory
	shifted.once.Do(func() { shifted.path, shifted.err = buildShifted(program.dir) })
	if shifted.err != nil {
		t.Fatal(shifted.err)
	}
	return shifted.path
}

func buildShifted(dir string) (path string, err error) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", err
	}
	original := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	source, err := os.ReadFile(original)
	if err != nil {
		return "", err
	}
	const before, after = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()", "func Now() Time {\n\tsec, nsec, mono := shiftedNow()"
	if strings.Count(string(source), before) != 1 {
		return "", fmt.Errorf("%s of %s: time.Now does not begin as expected, adapt the test", original, runtime.Version())
	}
	replaced, added := filepath.Join(dir, "time.go"), filepath.Join(dir, "shift.go")
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{
		original: replaced, filepath.Join(filepath.Dir(original), "shift.go"): added,
	}})
	if err != nil {
		return "", err
	}
	list := filepath.Join(dir, "overlay.json")
	for name, text := range map[string]string{
		replaced: strings.Replace(string(source), before, after, 1), added: shiftSource, list: string(overlay),
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	path = filepath.Join(dir, "gateway-shifted")
	out, err := exec.Command("go", "build", "-overlay", list, "-o", path, "github.com/hometrip/gateway/cmd/gateway").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building the gateway with another clock: %w\n%s", err, out)
	}
	return path, nil
}
