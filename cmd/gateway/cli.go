package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/hometrip/gateway/internal/auth"
)

const (
	logFlushTimeout    = 2 * time.Second // for the last lines, at the end
	healthcheckTimeout = 3 * time.Second
)

// A server runs the gateway until ctx is cancelled and it has drained.
type server func(ctx context.Context, cfg Config, log *slog.Logger) error

// newCommand returns the command line, on which run is what "serve" does.
func newCommand(run server) *cobra.Command {
	root := &cobra.Command{
		Use:           "gateway",
		Short:         "Socket.IO gateway of HomeTrip",
		Long:          "Socket.IO gateway of HomeTrip. Without a subcommand it serves.\nSettings come from the environment and from .env; \"gateway config\" lists them.",
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(c *cobra.Command, _ []string) error { return serveCommand(c.Context(), run) },
	}
	root.AddCommand(
		&cobra.Command{
			Use: "serve", Short: "Serve clients until SIGTERM or SIGINT", Args: cobra.NoArgs, RunE: root.RunE,
		},
		newTokenCommand(), newHealthcheckCommand(), newVersionCommand(), newConfigCommand(),
		newRoutesCommand(), newPublishCommand(), newDeadLetterCommand(), newAuthzCommand(),
	)
	return root
}

func serveCommand(ctx context.Context, run server) error {
	cfg, err := readConfig()
	if err != nil {
		return err
	}
	book := openLog(cfg, os.Stdout)
	err = run(ctx, cfg, book.Logger)
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
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := readConfig()
			if err != nil {
				return err
			}
			if cfg.JWTSecret == "" || cfg.EphemeralSecret {
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
func mint(cfg Config, grant auth.Grant, now time.Time) (string, error) {
	grant.Issuer, grant.Audience, grant.Issued = cfg.JWTIssuer, cfg.JWTAudience, now
	return auth.Mint(cfg.JWTSecret, grant)
}

func newHealthcheckCommand() *cobra.Command {
	var address string
	command := &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask the gateway on this machine whether it is well; exit 1 if not",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if address == "" {
				cfg, err := readConfig()
				if err != nil {
					return err
				}
				address = healthURL(cfg)
			}
			ctx, cancel := context.WithTimeout(c.Context(), healthcheckTimeout)
			defer cancel()
			return checkHealth(ctx, address)
		},
	}
	command.Flags().StringVar(&address, "url", "", "address to ask (default: /health on PORT)")
	return command
}

// healthURL returns where a gateway with these settings can be asked from the
// same machine.
func healthURL(cfg Config) string {
	return "http://" + net.JoinHostPort(ownHost(cfg.Host), strconv.Itoa(cfg.Port)) + "/health"
}

// ownHost returns where this machine reaches what listens on host.
func ownHost(host string) string {
	ip, err := netip.ParseAddr(host)
	switch {
	case err != nil || !ip.IsUnspecified():
		return host
	case ip.Is4():
		return "127.0.0.1"
	}
	return "localhost"
}

func checkHealth(ctx context.Context, address string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", address, response.Status)
	}
	return nil
}

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(c.OutOrStdout(), "gateway %s %s %s/%s\n",
				version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
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
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			text := configMarkdown()
			if env {
				text = configEnv()
			}
			_, err := fmt.Fprint(c.OutOrStdout(), text)
			return err
		},
	}
	command.Flags().BoolVar(&env, "env", false, "print them as a .env file instead")
	return command
}
