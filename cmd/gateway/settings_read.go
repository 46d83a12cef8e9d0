package main

import (
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hometrip/gateway/internal/doctor"
)

// envFileFlag adds --env-file to all commands below root.
func envFileFlag(root *cobra.Command) {
	root.PersistentFlags().StringArray("env-file", nil,
		"read settings from this file instead of .env, where the environment does not have them; of several the last wins")
}

// readServing returns the settings of a gateway that is to serve now.
func readServing(c *cobra.Command) (loaded, error) {
	l, err := processInputs(namedEnvFiles(c)).parse()
	if err == nil {
		err = l.useDevSecret(".", true)
	}
	return l, err
}

// readSettings returns the settings of the gateway that a command is about.
// If the program is the one of the Debian package, they are what its service
// reads, not what this shell has; a line on the standard error says so.
func readSettings(c *cobra.Command) (loaded, error) {
	in, install := commandInputs(namedEnvFiles(c))
	l, err := in.parse()
	if err == nil {
		err = l.useDevSecret(".", false)
	}
	l.install = install
	if install != nil {
		fmt.Fprintln(c.ErrOrStderr(), "gateway: "+in.describe(install))
	}
	return l, err
}

func commandInputs(named []string) (inputs, *installation) {
	if program, err := os.Executable(); err == nil && len(named) == 0 {
		if install := findInstallation(program); install != nil {
			return install.inputs(), install
		}
	}
	return processInputs(named), nil
}

// describe says where settings are read.
func (in inputs) describe(install *installation) string {
	files := strings.Join(in.paths, ", ")
	if install == nil {
		return "settings are those of this environment and " + files
	}
	return fmt.Sprintf("settings are those of the service (%s and %s), not of this environment; --env-file reads others",
		install.unit, files)
}

func namedEnvFiles(c *cobra.Command) []string {
	files, err := c.Flags().GetStringArray("env-file")
	if err != nil {
		return nil // a command that has no such flag
	}
	return files
}

// readConfig is readSettings for who only needs the values.
func readConfig(c *cobra.Command) (Config, error) {
	l, err := readSettings(c)
	return l.Config, err
}

// warn logs what is odd about the settings: names that are nobody's, values
// that look mistaken, and in production what the doctor calls a failure.
func (l *loaded) warn(log *slog.Logger) {
	for _, warning := range l.warnings {
		log.Warn("a setting looks wrong", "setting", warning)
	}
	if !l.deployed() {
		return
	}
	for _, f := range dangers(l.Config).Check() {
		if f.Verdict == doctor.Fail || f.Verdict == doctor.Warn && f.Check == "JWT_SECRET" {
			log.Warn("a setting is not safe", "setting", f.Check, "found", f.Found, "want", f.Want, "do", f.Do)
		}
	}
}
