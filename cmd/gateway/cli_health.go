package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/hometrip/gateway/internal/config"
)

const (
	healthcheckTimeout = 3 * time.Second
	maxHealth          = 64 << 10 // bytes of an answer
)

func newHealthcheckCommand() *cobra.Command {
	var address string
	command := &cobra.Command{
		Use:   "healthcheck",
		Short: "Check that the gateway on this machine is healthy; exit 1 if not",
		Example: `  gateway healthcheck
  gateway healthcheck --json --url http://10.0.0.7:3002/ready`,
		Args: cobra.NoArgs,
	}
	command.Flags().StringVar(&address, "url", "", "address to ask (default: /health on PORT)")
	asJSON := jsonFlag(command)
	command.RunE = func(c *cobra.Command, _ []string) error {
		if address == "" {
			cfg, err := readConfig(c)
			if err != nil {
				return err
			}
			address = healthURL(cfg)
		}
		ctx, cancel := context.WithTimeout(c.Context(), healthcheckTimeout)
		defer cancel()
		found := checkHealth(ctx, address)
		if *asJSON {
			if err := printJSON(c.OutOrStdout(), found); err != nil {
				return err
			}
		}
		return found.err()
	}
	return command
}

// healthURL returns the URL of a gateway's health for programs on the same
// machine.
func healthURL(cfg config.Config) string {
	return "http://" + net.JoinHostPort(ownHost(cfg.Server.Host), strconv.Itoa(cfg.Server.Port)) + "/health"
}

// ownHost returns the address at which this machine reaches a server that
// listens on host.
func ownHost(host string) string {
	if ip, err := netip.ParseAddr(host); err != nil || !ip.IsUnspecified() {
		return host
	}
	return "127.0.0.1" // "::" listens on IPv4 too
}

// A healthReport is the result of asking a gateway for its health.
type healthReport struct {
	URL     string          `json:"url"`
	Healthy bool            `json:"healthy"`
	Status  int             `json:"status,omitempty"`
	Health  json.RawMessage `json:"health,omitempty"` // the answer, when it is JSON
	Error   string          `json:"error,omitempty"`
}

func (r *healthReport) err() error {
	switch {
	case r.Healthy:
		return nil
	case r.Error != "":
		return fmt.Errorf("%s", r.Error)
	}
	return fmt.Errorf("%s answers %d %s", r.URL, r.Status, http.StatusText(r.Status))
}

func checkHealth(ctx context.Context, address string) *healthReport {
	report := &healthReport{URL: address}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		report.Error = err.Error()
		return report
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		report.Error = err.Error()
		return report
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxHealth))
	if err == nil && json.Valid(body) {
		report.Health = body
	}
	report.Status = response.StatusCode
	report.Healthy = response.StatusCode == http.StatusOK
	return report
}
