package testkit

import (
	"errors"
	"os"
	"os/exec"
	"testing"
)

// AllTests is the environment variable that make test sets to run every test.
// With it, a test whose programs are not installed fails. Without it, such tests
// and slow ones (Slow) are skipped, so that go test ./... needs nothing but Go
// and takes less than a minute.
const AllTests = "TEST_ALL"

// Missing is the error of what is not installed: a program, or packages of npm.
type Missing string

// Error implements error.
func (m Missing) Error() string {
	return string(m) + " is not installed: run `make test` once, it installs it"
}

// All reports whether every test is to run.
func All() bool { return os.Getenv(AllTests) != "" }

// Slow skips a test that takes much CPU time, unless all tests are to run. cost
// says what it does and how long it takes.
func Slow(t testing.TB, cost string) {
	t.Helper()
	if !All() {
		t.Skip("slow: " + cost + ". `make test` runs it, or " + AllTests + "=true")
	}
}

// Need ends the test if err is not nil. If the error is that something is not
// installed, the test is skipped, unless all tests are to run.
func Need(t testing.TB, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if _, missing := errors.AsType[Missing](err); missing && !All() {
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
