package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
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

// revisionLen is how much of a commit's name is enough to find it.
const revisionLen = 12

// release is set by the linker where the build does not see the repository.
var release string

// version returns what the build knows of its origin: the release, the
// module's version, the commit, or "devel".
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
	var env bool
	command := &cobra.Command{
		Use:   "config",
		Short: "Print all settings with their defaults, as Markdown",
		Example: `  gateway config
  gateway config --env > .env
  gateway config --json | jq -r '.[].name'`,
		Args: cobra.NoArgs,
	}
	command.Flags().BoolVar(&env, "env", false, "print them as a .env file instead")
	asJSON := jsonFlag(command)
	command.MarkFlagsMutuallyExclusive("env", "json")
	command.RunE = func(c *cobra.Command, _ []string) error {
		if *asJSON {
			return printJSON(c.OutOrStdout(), configList())
		}
		text := configMarkdown()
		if env {
			text = configEnv()
		}
		_, err := fmt.Fprint(c.OutOrStdout(), text)
		return err
	}
	return command
}
