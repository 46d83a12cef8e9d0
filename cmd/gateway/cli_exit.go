package main

import (
	"encoding/json"
	"errors"
	"io"

	"github.com/spf13/cobra"

	"github.com/hometrip/gateway/internal/config"
)

// Exit codes.
const (
	exitFailed      = 1   // or the answer is no
	exitUsage       = 2   // the command line or a setting is wrong: trying again is no use
	exitInterrupted = 130 // by a second signal: 128 + SIGINT
)

// A failure is the error of a command that was called correctly.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// newGroup returns a command that only has subcommands.
func newGroup(name, short, example string, subcommands ...*cobra.Command) *cobra.Command {
	group := &cobra.Command{
		Use: name, Short: short, Example: example,
		Args: cobra.NoArgs, // or a subcommand that there is not would be shown the help, and exit with 0
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	group.AddCommand(subcommands...)
	return group
}

// markFailures maps the errors of commands, and cobra's errors about how they
// are called, to exit codes.
func markFailures(c *cobra.Command) {
	if run := c.RunE; run != nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			if err := run(c, args); err != nil {
				return failure{err}
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		markFailures(sub)
	}
}

// exitCode returns the process's exit code after a command has returned err.
func exitCode(err error) int {
	_, failed := errors.AsType[failure](err)
	_, settings := errors.AsType[config.Error](err)
	switch {
	case err == nil:
		return 0
	case failed && !settings:
		return exitFailed
	}
	return exitUsage
}

// jsonFlag adds --json to a command.
func jsonFlag(c *cobra.Command) *bool {
	return c.Flags().Bool("json", false, "print JSON")
}

// printJSON prints a value as JSON, in one line.
func printJSON(out io.Writer, value any) error {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	return e.Encode(value)
}
