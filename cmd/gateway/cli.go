package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/hometrip/gateway/internal/auth"
	"github.com/hometrip/gateway/internal/config"
)

const logFlushTimeout = 2 * time.Second // for the last lines, at the end

// A launch is what a gateway starts with.
type launch struct {
	config.Loaded
	book *logBook
}

// A server runs the gateway until ctx is cancelled and it has drained.
type server func(ctx context.Context, start launch) error

// newCommand returns the command line, on which run is what "serve" does.
func newCommand(run server) *cobra.Command {
	root := &cobra.Command{
		Use:   "gateway",
		Short: "Socket.IO gateway of HomeTrip",
		Long: `Socket.IO gateway of HomeTrip. Without a subcommand it serves.
Settings come from the environment and from .env; "gateway config" shows them.
The program of the Debian package reads those of its service instead.

It exits with 0 when all is well or the answer is yes, 1 when something failed
or the answer is no, 2 when the command line or a setting is wrong, 130 when a
second signal cut it short.`,
		Example: `  gateway                                     # serve on PORT
  gateway doctor                              # will it work here?
  gateway token --user 42                     # a token to try it with
  source <(gateway completion bash)           # or zsh, fish`,
		Version:       version(),
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(c *cobra.Command, _ []string) error { return serveCommand(c, run) },
	}
	root.AddCommand(
		&cobra.Command{
			Use: "serve", Short: "Serve clients until SIGTERM or SIGINT", Args: cobra.NoArgs, RunE: root.RunE,
			Example: `  gateway serve
  NODE_ENV=production JWT_SECRET=… gateway serve`,
		},
		newTokenCommand(), newHealthcheckCommand(), newVersionCommand(), newConfigCommand(),
		newRoutesCommand(), newPublishCommand(), newDeadLetterCommand(), newAuthzCommand(), newDoctorCommand(),
	)
	envFileFlag(root)
	markFailures(root)
	return root
}

func serveCommand(c *cobra.Command, run server) error {
	l, err := readServing(c)
	if err != nil {
		return err
	}
	book := openLog(l.Config, os.Stdout)
	warnOfSettings(&l, book.Logger)
	err = run(c.Context(), launch{l, book})
	if err != nil {
		book.Error("stopped", "error", err)
	}
	return errors.Join(err, book.Close(logFlushTimeout))
}

func newTokenCommand() *cobra.Command {
	var grant auth.Grant
	command := &cobra.Command{
		Use:   "token --user ID",
		Short: "Print a token for trying things out, signed with JWT_SECRET",
		Example: `  gateway token --user 42
  gateway token --user 42 --ttl 5m --rooms 'conversation:*'`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := readConfig(c)
			if err != nil {
				return err
			}
			if cfg.Auth.Secret == "" || cfg.Auth.EphemeralSecret && cfg.Auth.SecretFile == "" {
				return errors.New("JWT_SECRET is not set: there is nothing to sign with that a gateway would know")
			}
			token, err := mint(cfg, grant, time.Now())
			if err == nil {
				_, err = fmt.Fprintln(c.OutOrStdout(), token)
			}
			return err
		},
	}
	command.Flags().StringVar(&grant.UserID, "user", "", "user id the token names (required)")
	command.Flags().StringVar(&grant.Email, "email", "", "email the token carries")
	command.Flags().StringVar(&grant.Role, "role", "", "role the token carries")
	command.Flags().StringSliceVar(&grant.Rooms, "rooms", nil, "rooms and patterns the token names, for ROOM_POLICY=claims")
	command.Flags().StringVar(&grant.TokenID, "jti", "", "id of the token, by which it can be revoked")
	command.Flags().DurationVar(&grant.TTL, "ttl", time.Hour, "how long the token is valid; 0 is for ever")
	command.MarkFlagRequired("user")
	return command
}

// mint returns a token for grant which a gateway with these settings accepts.
func mint(cfg config.Config, grant auth.Grant, now time.Time) (string, error) {
	grant.Issuer, grant.Audience, grant.Issued = cfg.Auth.Issuer, cfg.Auth.Audience, now
	return auth.Mint(cfg.Auth.Secret, grant)
}
