package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/hometrip/gateway/internal/config"
)

func newVersionCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Example: `  gateway version
  gateway version --json`,
		Args: cobra.NoArgs,
	}
	asJSON := jsonFlag(command)
	command.RunE = func(c *cobra.Command, _ []string) error {
		if *asJSON {
			return printJSON(c.OutOrStdout(), map[string]string{
				"version": version(), "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH,
			})
		}
		_, err := fmt.Fprintf(c.OutOrStdout(), "gateway %s %s %s/%s\n",
			version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return err
	}
	return command
}

// revisionLen is how many characters of a commit's hash are shown.
const revisionLen = 12

// release is set by the linker if the build does not see the repository.
var release string

// version returns the version of the build: the release, the module's version,
// the commit, or "devel".
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(len(s.Value), revisionLen)]
		}
	}
	return "devel"
}

func newConfigCommand() *cobra.Command {
	var env, defaults bool
	command := &cobra.Command{
		Use:   "config",
		Short: "Show the settings in effect and where each comes from; --defaults describes all settings",
		Example: `  gateway config
  gateway config --json | jq -r '.[] | select(.from != "default") | .name'
  gateway config --defaults
  gateway config --env > .env`,
		Args: cobra.NoArgs,
	}
	command.Flags().BoolVar(&defaults, "defaults", false, "print all settings with default, meaning and allowed values: a list on a terminal, else Markdown")
	command.Flags().BoolVar(&env, "env", false, "print all settings as a .env file of comments")
	asJSON := jsonFlag(command)
	command.MarkFlagsMutuallyExclusive("env", "json")
	command.MarkFlagsMutuallyExclusive("env", "defaults")
	command.RunE = func(c *cobra.Command, _ []string) error {
		out := c.OutOrStdout()
		if env || defaults {
			return printDefaults(out, env, *asJSON)
		}
		l, err := readSettings(c)
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(out, l.List())
		}
		return l.Print(out)
	}
	return command
}

// printDefaults prints the settings with their descriptions and defaults.
func printDefaults(out io.Writer, env, asJSON bool) error {
	if asJSON {
		return printJSON(out, config.List())
	}
	text := config.Markdown()
	if console, ok := out.(*os.File); ok && isTerminal(console) {
		text = config.Text()
	}
	if env {
		text = config.Env()
	}
	_, err := fmt.Fprint(out, text)
	return err
}
