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

// A launch is how a gateway is started: its settings, and where they come from.
type launch struct {
	config.Loaded
	book   *logBook
	report *report // nil: nobody wants to know
}

// A server runs the gateway until ctx is cancelled and it has drained.
type server func(ctx context.Context, start launch) error

// newCommand returns the command line. run is called by "serve".
func newCommand(run server) *cobra.Command {
	root := &cobra.Command{
		Use:   "gateway",
		Short: "Socket.IO gateway of HomeTrip",
		Long: `Socket.IO gateway of HomeTrip. Without a command it serves clients.
Settings come from the environment and from .env; "gateway config" shows them.
Installed by the Debian package, the other commands read the settings of the
service instead.

Exit codes: 0 success, or the answer is yes; 1 failure, or the answer is no; 2
the command line or a setting is wrong; 130 ended by a second signal.`,
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
		newHandoverCommand(), newTokenCommand(), newHealthcheckCommand(), newVersionCommand(), newConfigCommand(),
		newRoutesCommand(), newPublishCommand(), newDeadLetterCommand(), newUserExplainCommand(), newAuthzCommand(), newDoctorCommand(),
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
	report := newReport()
	err = run(c.Context(), launch{l, book, report})
	if err != nil {
		book.Error("stopped", "error", err)
		report.failed(err)
	}
	return errors.Join(err, book.Close(logFlushTimeout))
}

func newTokenCommand() *cobra.Command {
	var grant auth.Grant
	command := &cobra.Command{
		Use:   "token --user ID",
		Short: "Print a token for tests, signed with JWT_SECRET",
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
	command.Flags().StringVar(&grant.UserID, "user", "", "user id in the token (required)")
	command.Flags().StringVar(&grant.Email, "email", "", "email in the token")
	command.Flags().StringVar(&grant.Role, "role", "", "role in the token")
	command.Flags().StringSliceVar(&grant.Rooms, "rooms", nil, "rooms and patterns in the token, for ROOM_POLICY=claims")
	command.Flags().StringVar(&grant.TokenID, "jti", "", "id of the token, to revoke it by")
	command.Flags().DurationVar(&grant.TTL, "ttl", time.Hour, "how long the token is valid; 0: no end")
	command.MarkFlagRequired("user")
	return command
}

// mint returns a token for grant that a gateway with these settings accepts.
func mint(cfg config.Config, grant auth.Grant, now time.Time) (string, error) {
	grant.Issuer, grant.Audience, grant.Issued = cfg.Auth.Issuer, cfg.Auth.Audience, now
	return auth.Mint(cfg.Auth.Secret, grant)
}
