package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"
	"time"

	"github.com/redis/rueidis"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/hometrip/gateway/internal/authz"
	"github.com/hometrip/gateway/internal/config"
	"github.com/hometrip/gateway/internal/doctor"
	"github.com/hometrip/gateway/upstream/rabbitmq"
)

// examinationTimeout limits one group of checks, without the time that --slow
// waits.
const examinationTimeout = time.Minute

func newDoctorCommand() *cobra.Command {
	var public string
	var slow bool
	command := &cobra.Command{
		Use:   "doctor",
		Short: "Check host, settings, Redis, RabbitMQ and proxies; exit 1 if a check fails",
		Long: `Check what a gateway with these settings depends on, and say what to do about
each problem. Nothing is changed. With --url it connects through the proxies, as
clients do.

Installed by the Debian package, it checks the service: its settings, the limits
of its unit, and whether the running process has the settings on disk.`,
		Example: `  gateway doctor
  gateway doctor --url https://chat.example.com --slow
  gateway doctor --json | jq '.[] | select(.verdict == "fail")'`,
		Args: cobra.NoArgs,
	}
	command.Flags().StringVar(&public, "url", "", "public address of the gateway, to check the proxies in front of it")
	command.Flags().BoolVar(&slow, "slow", false, "also test whether the proxies let a connection be idle for PING_INTERVAL")
	asJSON := jsonFlag(command)
	command.RunE = func(c *cobra.Command, _ []string) error {
		l, err := readSettings(c)
		if err != nil {
			return err
		}
		if !*asJSON && l.Installation == nil {
			fmt.Fprintln(c.OutOrStdout(), "gateway: "+describeSources(l.Sources, nil))
		}
		cfg := l.Config
		findings := examine(&l, c.Context())
		if public != "" {
			proxy := doctor.Proxy{URL: public, Production: cfg.Server.Environment == config.Production, Slow: slow}
			findings = append(findings, doctor.In("proxy", proxy.Check(c.Context()))...)
		}
		if *asJSON {
			err = printJSON(c.OutOrStdout(), findings)
		} else {
			err = printFindings(c.OutOrStdout(), findings)
		}
		if err == nil {
			err = failures(findings)
		}
		return err
	}
	return command
}

// examine checks everything but the proxies.
func examine(l *config.Loaded, ctx context.Context) (findings []doctor.Finding) {
	cfg, processes := l.Config, runningHere(l)
	serious := cfg.Server.Environment == config.Production
	host := hostOf(cfg)
	host.Descriptors = descriptorLimit(l, processes, host.Descriptors)
	findings = append(findings, doctor.In("host", host.Check())...)
	findings = append(findings, compareProcesses(l, processes)...)
	findings = append(findings, doctor.In("settings", append(dangers(cfg).Check(), oddities(l)...))...)
	if cfg.Redis.Use {
		limited, cancel := context.WithTimeout(ctx, examinationTimeout)
		defer cancel()
		open := func() (rueidis.Client, error) {
			server, db, err := redisServer(cfg)
			if err != nil {
				return nil, err
			}
			return server.Open(db, nil)
		}
		findings = append(findings, doctor.In("redis", doctor.Redis(limited, open, cfg.Redis.KeyPrefix, cfg.EventLogKind() == config.LogRedis, serious))...)
		findings = append(findings, doctor.In("node servers", doctor.NodeServers(limited, open, cfg.Adapter.Key))...)
	}
	if cfg.RabbitMQ.Use {
		limited, cancel := context.WithTimeout(ctx, examinationTimeout)
		defer cancel()
		seen, err := inspectRabbitMQ(cfg, limited)
		findings = append(findings, doctor.In("rabbitmq", doctor.RabbitMQ(seen, err, serious))...)
	}
	services := []doctor.Finding{
		doctor.Service(ctx, "MESSAGE_SERVICE_URL", cfg.Services.Message),
		doctor.Service(ctx, "BOOKING_SERVICE_URL", cfg.Services.Booking),
		doctor.Service(ctx, "NOTIFICATION_SERVICE_URL", cfg.Services.Notification),
	}
	return append(findings, doctor.In("services", services)...)
}

// oddities returns what the gateway warns of at its start: unknown names of
// settings, and values that look mistaken.
func oddities(l *config.Loaded) (findings []doctor.Finding) {
	for _, warning := range l.Warnings {
		findings = append(findings, doctor.Finding{Check: "a name or value", Verdict: doctor.Warn, Found: warning})
	}
	return findings
}

func hostOf(cfg config.Config) doctor.Host {
	h := doctor.Host{Proc: "/proc", Sys: "/sys", Reserve: descriptorReserve, Connections: cfg.Limits.Connections}
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil {
		h.Descriptors = limit.Cur
	}
	return h
}

func dangers(cfg config.Config) doctor.Settings {
	return doctor.Settings{
		Production: cfg.Server.Environment == config.Production,
		Secret:     cfg.Auth.Secret, Ephemeral: cfg.Auth.EphemeralSecret,
		Origins: cfg.Server.CORSOrigins, OpenRooms: cfg.Rooms.Policy == authz.Open,
		Metrics: cfg.Metrics.Enabled && cfg.Server.AdminAddr == "", MetricsToken: cfg.Metrics.Token, PublishToken: cfg.Events.PublishToken,
	}
}

func inspectRabbitMQ(c config.Config, ctx context.Context) (*rabbitmq.Inspection, error) {
	table, err := loadRoutes(c)
	if err != nil {
		return nil, err
	}
	return rabbitmq.Inspect(ctx, streamConfig(c, table, slog.New(slog.DiscardHandler)))
}

// printFindings prints a line for each finding, and below it what to do.
func printFindings(out io.Writer, findings []doctor.Finding) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	group := ""
	for _, f := range findings {
		if f.Group != group {
			group = f.Group
			fmt.Fprintf(w, "%s\n", group)
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\n", f.Verdict, f.Check, f.Found)
		if f.Want != "" {
			fmt.Fprintf(w, "  \t\twant %s\n  \t\t-> %s\n", f.Want, f.Do)
		}
	}
	return w.Flush()
}

// failures returns an error if a check has failed.
func failures(findings []doctor.Finding) error {
	failed := 0
	for _, f := range findings {
		if f.Verdict == doctor.Fail {
			failed++
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d checks failed", failed)
	}
	return nil
}
