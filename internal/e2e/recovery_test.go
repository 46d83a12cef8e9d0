package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/testkit"
)

func TestClientsRecoverMissedEvents(t *testing.T) {
	clients(t, start(t, "EVENT_LOG=memory", "USE_RABBITMQ=false", "USE_REDIS=false", "EVENT_LOOPS=3", "PUBLISH_TOKEN=publisher"), "recovery.mjs")
}

var pythonBlock = regexp.MustCompile("(?s)```python\n(.*?)```")

// The Python example in docs/recovery.md runs while its connection is cut three times.
// It must recover and print each message once.
func TestPythonRecoveryExample(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it publishes by HTTP")
	g := start(t, "EVENT_LOOPS=2")
	text, err := os.ReadFile("../../docs/recovery.md")
	if err != nil {
		t.Fatal(err)
	}
	example := t.TempDir()
	code := pythonBlock.FindSubmatch(text)
	if code == nil {
		t.Fatal("docs/recovery.md has no example in Python")
	}
	if err := os.WriteFile(filepath.Join(example, "recovering.py"), code[1], 0o600); err != nil {
		t.Fatal(err)
	}
	line, err := testkit.NewProxy(g.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(line.Close)
	needPython(t)
	cmd := exec.CommandContext(t.Context(), debianPython, "recovery.py")
	cmd.Dir = absolute(t, "py")
	cmd.Env = append(os.Environ(), "GATEWAY_URL=http://"+line.Addr, "EXAMPLE="+example, "PYTHONDONTWRITEBYTECODE=1",
		"TOKEN="+gatewaytest.Token(t, "snake"))
	cmd.Stderr = g.Out
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := make(chan string)
	go readLines(out, lines)
	want := func(list ...string) {
		t.Helper()
		for _, w := range list {
			got, err := within(lines)
			if err != nil || got != w {
				t.Fatalf("the example printed %q, %v, want %q", got, err, w)
			}
		}
	}
	say := func(n int) {
		t.Helper()
		if status, answer, err := g.Post("message.sent", fmt.Sprintf(`{"conversationId":"python","message":"%d"}`, n)); err != nil || status != 202 {
			t.Fatal(status, string(answer), err)
		}
	}
	want("joined True")
	say(1)
	want("message 1 False")
	for i := range 3 {
		line.Cut()
		say(2 + 2*i)
		say(3 + 2*i)
		line.Heal()
		want(fmt.Sprintf("message %d True", 2+2*i), fmt.Sprintf("message %d True", 3+2*i))
	}
}

func readLines(r io.Reader, to chan<- string) {
	defer close(to)
	for scanner := bufio.NewScanner(r); scanner.Scan(); {
		to <- scanner.Text()
	}
}

func within(lines <-chan string) (string, error) {
	select {
	case line, ok := <-lines:
		if !ok {
			return "", io.EOF
		}
		return line, nil
	case <-time.After(patience):
		return "", errors.New("no line was printed")
	}
}
