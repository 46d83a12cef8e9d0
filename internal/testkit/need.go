package testkit

import (
	"errors"
	"os"
	"os/exec"
	"testing"
)

// NeedsAll is the variable that make test sets, so that a test whose programs are not
// installed fails; otherwise it is skipped.
const NeedsAll = "TEST_NEEDS_ALL"

// Missing is the error of what is not installed: a program, or packages of npm.
type Missing string

// Error implements error.
func (m Missing) Error() string {
	return string(m) + " is not installed: run `make test` once, it installs it"
}

// Need ends the test if err is not nil. If the error is that something is not
// installed, the test is skipped, unless all tests are to run.
func Need(t testing.TB, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if _, missing := errors.AsType[Missing](err); missing && os.Getenv(NeedsAll) == "" {
		t.Skip(err)
	}
	t.Fatal(err)
}

// NeedProgram is Need for a program, by name or path.
func NeedProgram(t testing.TB, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		Need(t, Missing(name))
	}
}

// NeedFile is Need for what has a file at path.
func NeedFile(t testing.TB, path, what string) {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		Need(t, Missing(what))
	}
}
