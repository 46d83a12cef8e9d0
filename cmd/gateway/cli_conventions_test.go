package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// eachCommand calls do for every command of the gateway, including the root command.
func eachCommand(do func(*cobra.Command)) {
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		do(c)
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newCommand(nil))
}

func TestEveryCommandHasAHelpTextAndAnExample(t *testing.T) {
	eachCommand(func(c *cobra.Command) {
		if c.Short == "" || c.Example == "" {
			t.Errorf("%s: short %q, example %q", c.CommandPath(), c.Short, c.Example)
		}
	})
}

// The command lines in the examples are parsed without an error.
func TestExamplesAreCommandLines(t *testing.T) {
	lines := 0
	eachCommand(func(c *cobra.Command) {
		for line := range strings.Lines(c.Example) {
			_, line, ok := strings.Cut(line, "gateway")
			if !ok {
				continue
			}
			for _, end := range []string{" #", " |", " <", " >", ")"} {
				line, _, _ = strings.Cut(line, end)
			}
			words := strings.Fields(line)
			if len(words) > 0 && words[0] == "completion" {
				continue // cobra adds it when it runs
			}
			target, rest, err := newCommand(nil).Find(words)
			if err == nil {
				err = target.ParseFlags(rest)
			}
			if err != nil || len(words) > 0 && target.HasSubCommands() {
				t.Errorf("%s: example %q: %v", c.CommandPath(), line, err)
			}
			lines++
		}
	})
	if lines < 20 {
		t.Errorf("%d examples found, want 20 or more", lines)
	}
}

func TestCompletionForEveryShell(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if out, err := command(t, nil, "completion", shell); err != nil || !strings.Contains(out, "__gateway_debug") {
			t.Errorf("%s: %v %.100s", shell, err, out)
		}
	}
	if out, err := command(t, nil, "__complete", "dead-"); err != nil || !strings.HasPrefix(out, "dead-letter\t") {
		t.Errorf("completion of dead-: %v %s", err, out)
	}
}

func TestExitCodes(t *testing.T) {
	t.Setenv("JWT_SECRET", "secret")
	t.Setenv("LOG_DIR", "")
	serve := func(context.Context, launch) error { return errors.New("no") }
	for _, c := range []struct {
		args string
		want int
	}{
		{"token --user 42", 0},
		{"help", 0},
		{"serve", exitFailed},
		{"healthcheck --url http://127.0.0.1:1/", exitFailed},
		{"routes try message.sent nonsense", exitFailed},
		{"nonsense", exitUsage},
		{"token", exitUsage},
		{"token --user 42 --nonsense", exitUsage},
		{"routes nonsense", exitUsage},
		{"routes try", exitUsage},
		{"config --env --json", exitUsage},
		{"dead-letter drop", exitUsage},
		{"dead-letter drop 1 --all", exitUsage},
	} {
		if out, err := command(t, serve, strings.Fields(c.args)...); exitCode(err) != c.want {
			t.Errorf("%s: exit code %d (%v), want %d\n%s", c.args, exitCode(err), err, c.want, out)
		}
	}
	t.Setenv("PORT", "x")
	if _, err := command(t, serve); exitCode(err) != exitUsage {
		t.Errorf("with PORT=x: exit code %d (%v), want %d", exitCode(err), err, exitUsage)
	}
}

func TestJSONForMachines(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string // in the value, as fmt prints it
	}{
		{[]string{"version", "--json"}, "arch:"},
		{[]string{"config", "--json"}, "group:Redis meaning:Host of Redis. name:REDIS_HOST"},
		{[]string{"routes", "check", "--json"}, "emits:booking_update"},
		{[]string{"routes", "try", "booking.confirmed", `{"userId":7}`, "--json"}, "rooms:[user:7]"},
		{[]string{"healthcheck", "--url", "http://127.0.0.1:1/", "--json"}, "healthy:false"},
		{[]string{"authz", "explain", "1", "conversation:2", "--json"}, "allow:true"},
	} {
		out, _ := command(t, nil, c.args...)
		var value any
		if err := json.Unmarshal([]byte(out), &value); err != nil || !strings.Contains(fmt.Sprint(value), c.want) {
			t.Errorf("%v: want %s in %v %s", c.args, c.want, err, out)
		}
	}
}
