package main

import (
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hometrip/gateway/internal/config"
	"github.com/hometrip/gateway/internal/doctor"
)

// envFileFlag adds --env-file to all commands below root.
func envFileFlag(root *cobra.Command) {
	root.PersistentFlags().StringArray("env-file", nil,
		"read settings from this file instead of .env; the environment overrides it, and of several files the last wins")
}

// readServing returns the settings of a gateway that is to serve now.
func readServing(c *cobra.Command) (config.Loaded, error) {
	l, err := config.ProcessSources(namedEnvFiles(c)).Parse()
	if err == nil {
		err = l.UseDevSecret(".", true)
	}
	return l, err
}

// readSettings returns the settings of the gateway that a command is about. If
// the program is that of the Debian package, they are the settings of its
// service, not of this shell; a line on the standard error says so.
func readSettings(c *cobra.Command) (config.Loaded, error) {
	in, install := commandInputs(namedEnvFiles(c))
	l, err := in.Parse()
	if err == nil {
		err = l.UseDevSecret(".", false)
	}
	l.Installation = install
	if install != nil {
		fmt.Fprintln(c.ErrOrStderr(), "gateway: "+describeSources(in, install))
	}
	return l, err
}

func commandInputs(named []string) (config.Sources, *config.Installation) {
	if program, err := os.Executable(); err == nil && len(named) == 0 {
		if install := config.FindInstallation(program); install != nil {
			return install.Sources(), install
		}
	}
	return config.ProcessSources(named), nil
}

// describeSources says where settings are read from.
func describeSources(in config.Sources, install *config.Installation) string {
	files := strings.Join(in.Paths, ", ")
	if install == nil {
		return "settings are those of this environment and " + files
	}
	return fmt.Sprintf("settings are those of the service (%s and %s), not of this environment; --env-file reads others",
		install.Unit, files)
}

func namedEnvFiles(c *cobra.Command) []string {
	files, err := c.Flags().GetStringArray("env-file")
	if err != nil {
		return nil // a command that has no such flag
	}
	return files
}

// readConfig is readSettings for commands that need only the values.
func readConfig(c *cobra.Command) (config.Config, error) {
	l, err := readSettings(c)
	return l.Config, err
}

// warnOfSettings logs warnings about the settings: unknown names, values that
// look mistaken, and in production what the doctor calls a failure.
func warnOfSettings(l *config.Loaded, log *slog.Logger) {
	for _, warning := range l.Warnings {
		log.Warn("a setting looks wrong", "setting", warning)
	}
	if !l.Deployed() {
		return
	}
	for _, f := range dangers(l.Config).Check() {
		if f.Verdict == doctor.Fail || f.Verdict == doctor.Warn && f.Check == "JWT_SECRET" {
			log.Warn("a setting is not safe", "setting", f.Check, "found", f.Found, "want", f.Want, "do", f.Do)
		}
	}
}
