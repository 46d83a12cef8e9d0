package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hometrip/gateway/internal/config"
	"github.com/hometrip/gateway/internal/explain"
)

const maxExplanation = 64 << 20 // bytes of an answer

func newUserExplainCommand() *cobra.Command {
	var address string
	command := &cobra.Command{
		Use:   "explain USER [POSITION]",
		Short: "Show where a user's connections are or were, and whether they were given an event; exit 1 if none was",
		Example: `  gateway explain 42
  gateway explain 42 1z            # as in "position" of the answer to POST /events
  gateway explain 42 k3f9a.1z      # or as a client has it: the last argument of an event
  gateway explain 42 1z --json | jq '.connections[] | {socket, got, why}'`,
		Args: cobra.RangeArgs(1, 2),
	}
	command.Flags().StringVar(&address, "url", "", "a gateway to ask (default: ADMIN_ADDR)")
	asJSON := jsonFlag(command)
	command.RunE = func(c *cobra.Command, args []string) error {
		cfg, err := readConfig(c)
		if err != nil {
			return err
		}
		if address == "" {
			if address, err = adminURL(cfg); err != nil {
				return err
			}
		}
		position := ""
		if len(args) == 2 {
			position = args[1]
			if _, _, err := parsePosition(position); err != nil {
				return err
			}
		}
		text, err := askToExplain(c.Context(), address, cfg.Metrics.Token, args[0], position)
		if err != nil {
			return err
		}
		return printExplanation(c.OutOrStdout(), text, *asJSON)
	}
	return command
}

// adminURL returns the URL of ADMIN_ADDR.
func adminURL(cfg config.Config) (string, error) {
	host, port, err := net.SplitHostPort(cfg.Server.AdminAddr)
	if err != nil {
		return "", errors.New("ADMIN_ADDR is not set: the gateway is asked there; set it, or give --url")
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(ownHost(host), port), nil
}

// askToExplain returns the answer of a gateway.
func askToExplain(ctx context.Context, address, token, user, position string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, explainWithin+time.Second)
	defer cancel()
	target := strings.TrimSuffix(address, "/") + "/explain/" + url.PathEscape(user)
	if position != "" {
		target += "?position=" + url.QueryEscape(position)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxExplanation))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %d %s", target, response.StatusCode, strings.TrimSpace(string(text)))
	}
	return text, err
}

// printExplanation prints an answer. The error says that the answer is no.
func printExplanation(out io.Writer, text []byte, asJSON bool) error {
	var a explain.Answer
	err := json.Unmarshal(text, &a)
	switch {
	case err != nil:
		return fmt.Errorf("the gateway's answer: %w", err)
	case asJSON:
		_, err = fmt.Fprintln(out, strings.TrimSpace(string(text)))
	default:
		_, err = io.WriteString(out, a.Text())
	}
	switch {
	case err != nil:
		return err
	case a.Event != nil && !a.Got():
		return fmt.Errorf("user %s was not given the event at %s", a.User, a.Event.Offset)
	case a.Event == nil && len(a.Connections) == 0:
		return fmt.Errorf("nothing is known of user %s", a.User)
	}
	return nil
}
