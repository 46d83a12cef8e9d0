package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/hometrip/gateway/upstream"
)

const (
	publishTimeout = 15 * time.Second
	bodyPreview    = 60 // characters of a body in a list
	listLimit      = 100
)

func newRoutesCommand() *cobra.Command {
	command := &cobra.Command{Use: "routes", Short: "Check routes of events, and try them out"}
	command.AddCommand(
		&cobra.Command{
			Use:   "check [FILE]",
			Short: "Check a routes file and list all routes (default: ROUTES_FILE)",
			Args:  cobra.MaximumNArgs(1),
			RunE: func(c *cobra.Command, args []string) error {
				cfg, table, err := routesOf(args, 0)
				if err != nil {
					return err
				}
				return listRoutes(c.OutOrStdout(), cfg, table)
			},
		},
		&cobra.Command{
			Use:   "try [FILE] KEY BODY",
			Short: "Show what an event becomes; BODY - reads it from the input",
			Args:  cobra.RangeArgs(2, 3),
			RunE: func(c *cobra.Command, args []string) error {
				cfg, table, err := routesOf(args, 2)
				if err != nil {
					return err
				}
				args = args[len(args)-2:]
				body, err := bodyOf(c, args[1])
				if err != nil {
					return err
				}
				return tryRoute(c.OutOrStdout(), cfg, table, args[0], body)
			},
		},
	)
	return command
}

// routesOf loads the routes of the file that args begin with when there are
// more than others of them, else of ROUTES_FILE.
func routesOf(args []string, others int) (Config, *upstream.Table, error) {
	cfg, err := readConfig()
	if err != nil {
		return cfg, nil, err
	}
	if len(args) > others {
		cfg.RoutesFile = args[0]
	}
	table, err := upstream.LoadTable(cfg.RoutesFile)
	return cfg, table, err
}

func listRoutes(out io.Writer, cfg Config, table *upstream.Table) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "EVENT\tROOMS\tEMITS\tFIELDS\tQUEUE")
	for _, r := range table.Routes() {
		fields := "all"
		if !r.All {
			names := make([]string, len(r.Fields))
			for i, f := range r.Fields {
				names[i] = f.Name
			}
			fields = strings.Join(names, ",")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s.%s\n", r.Event, strings.Join(r.Rooms, ","), r.Emit, fields, cfg.RabbitMQQueuePrefix, r.Carrier().Event)
	}
	return w.Flush()
}

func tryRoute(out io.Writer, cfg Config, table *upstream.Table, key string, body []byte) error {
	event, err := upstream.NewEncoder(table, cfg.MaxEventSize).Encode(key, body, time.Now())
	if err != nil {
		return err
	}
	for _, room := range event.Rooms {
		fmt.Fprintln(out, "to", room)
	}
	if len(event.Rooms) == 0 {
		fmt.Fprintln(out, "to nobody")
	}
	if o := event.Order; o != nil {
		_, err = fmt.Fprintf(out, "order: user %q, token %q, issued up to %v, refused until %v, reason %q\n",
			o.User, o.TokenID, o.Issued, o.Until, o.Reason)
		return err
	}
	_, err = fmt.Fprintf(out, "%s\n", bytes.TrimPrefix(event.Message.AppendPayload(nil), []byte("42")))
	return err
}

// bodyOf returns the argument, or the input when it is "-".
func bodyOf(c *cobra.Command, arg string) ([]byte, error) {
	if arg == "-" {
		return io.ReadAll(c.InOrStdin())
	}
	return []byte(arg), nil
}

func newPublishCommand() *cobra.Command {
	var address, exchange, id string
	command := &cobra.Command{
		Use:   "publish KEY BODY",
		Short: "Publish an event as a service does; BODY - reads it from the input",
		Args:  cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := readConfig()
			if err != nil {
				return err
			}
			body, err := bodyOf(c, args[1])
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(c.Context(), publishTimeout)
			defer cancel()
			if address != "" {
				return publishHTTP(ctx, c.OutOrStdout(), cfg, address, args[0], body)
			}
			if exchange == "" {
				exchange = cfg.RabbitMQExchanges[0]
			}
			sender := upstream.NewSender(cfg.rabbitMQ(), exchange)
			defer sender.Close()
			if err := sender.Send(ctx, args[0], body, id); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "published %s to %s\n", args[0], exchange)
			return err
		},
	}
	command.Flags().StringVar(&address, "http", "", "send it to a gateway over HTTP, such as http://localhost:3002, with PUBLISH_TOKEN")
	command.Flags().StringVar(&exchange, "exchange", "", "exchange of RabbitMQ (default: the first of RABBITMQ_EXCHANGE)")
	command.Flags().StringVar(&id, "id", "", "messageId: with it an event that RabbitMQ repeats is known")
	return command
}

func publishHTTP(ctx context.Context, out io.Writer, cfg Config, address, key string, body []byte) error {
	address = strings.TrimSuffix(address, "/") + "/events/" + url.PathEscape(key)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	if cfg.PublishToken != "" {
		request.Header.Set("Authorization", "Bearer "+cfg.PublishToken)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusAccepted {
		return fmt.Errorf("%s answers %s: %s", address, response.Status, bytes.TrimSpace(answer))
	}
	_, err = out.Write(answer)
	return err
}

func newDeadLetterCommand() *cobra.Command {
	command := &cobra.Command{Use: "dead-letter", Short: "Look after events that could not be delivered"}
	var limit int
	list := &cobra.Command{
		Use: "list", Short: "List the oldest dead letters", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return withLetters(c, func(l *upstream.DeadLetters) error { return listLetters(c.OutOrStdout(), l, limit) })
		},
	}
	list.Flags().IntVar(&limit, "limit", listLimit, "how many")
	command.AddCommand(list, &cobra.Command{
		Use: "show ID...", Short: "Show dead letters with headers and body", Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, ids []string) error {
			return withLetters(c, func(l *upstream.DeadLetters) error {
				return eachLetter(l, ids, func(letter upstream.DeadLetter) error { return showLetter(c.OutOrStdout(), letter) })
			})
		},
	},
		newLetterAction("replay", "Put events back into the queues they came from", "replayed",
			func(ctx context.Context, l *upstream.DeadLetters, letter upstream.DeadLetter) error {
				return l.Replay(ctx, letter)
			}),
		newLetterAction("drop", "Delete dead letters for good", "dropped",
			func(_ context.Context, l *upstream.DeadLetters, letter upstream.DeadLetter) error {
				return l.Drop(letter)
			}),
	)
	return command
}

// newLetterAction returns a command that does something with the letters it is
// given, or with all.
func newLetterAction(verb, short, done string, do func(context.Context, *upstream.DeadLetters, upstream.DeadLetter) error) *cobra.Command {
	var all bool
	command := &cobra.Command{
		Use: verb + " {ID... | --all}", Short: short,
		RunE: func(c *cobra.Command, ids []string) error {
			if all == (len(ids) > 0) {
				return errors.New("want ids of dead letters, or --all")
			}
			n := 0
			err := withLetters(c, func(l *upstream.DeadLetters) error {
				return eachLetter(l, ids, func(letter upstream.DeadLetter) error {
					err := do(c.Context(), l, letter)
					if err == nil {
						n++
					}
					return err
				})
			})
			fmt.Fprintln(c.OutOrStdout(), done, n)
			return err
		},
	}
	command.Flags().BoolVar(&all, "all", false, "all that are there now")
	return command
}

// withLetters opens the queue of the dead letters for do.
func withLetters(c *cobra.Command, do func(*upstream.DeadLetters) error) error {
	cfg, err := readConfig()
	if err != nil {
		return err
	}
	letters, err := upstream.OpenDeadLetters(c.Context(), cfg.rabbitMQ(), cfg.RabbitMQQueuePrefix)
	if err != nil {
		return err
	}
	defer letters.Close()
	return do(letters)
}

// eachLetter calls do for the letters with these ids, all when there are none.
// It looks at those only that are there when it begins: a replayed event may
// come back.
func eachLetter(l *upstream.DeadLetters, ids []string, do func(upstream.DeadLetter) error) error {
	count, err := l.Count()
	if err != nil {
		return err
	}
	missing := slices.Clone(ids)
	for range count {
		letter, ok, err := l.Next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if len(ids) > 0 && !slices.Contains(ids, letter.ID) {
			continue
		}
		missing = slices.DeleteFunc(missing, func(id string) bool { return id == letter.ID })
		if err := do(letter); err != nil {
			return err
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("no dead letter %s", strings.Join(missing, ", "))
	}
	return nil
}

func listLetters(out io.Writer, l *upstream.DeadLetters, limit int) error {
	count, err := l.Count()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tTIME\tREASON\tEVENT\tBODY")
	for range min(count, limit) {
		letter, ok, err := l.Next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", letter.ID, letter.Time.Format(time.RFC3339), letter.Reason, letter.Key, preview(letter.Body))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%d dead letters\n", count)
	return err
}

// preview is the beginning of a body in one line.
func preview(body []byte) string {
	text := fmt.Sprintf("%q", body[:min(len(body), bodyPreview)])
	if utf8.Valid(body) && !bytes.ContainsFunc(body, func(r rune) bool { return r < ' ' }) {
		text = string(body[:min(len(body), bodyPreview)])
	}
	if len(body) > bodyPreview {
		text += "…"
	}
	return text
}

func showLetter(out io.Writer, letter upstream.DeadLetter) error {
	fmt.Fprintf(out, "id        %s\nreason    %s %s\ntime      %s\nevent     %s\nexchange  %s\nqueue     %s\n",
		letter.ID, letter.Reason, letter.Detail, letter.Time.Format(time.RFC3339), letter.Key, letter.Exchange, letter.Queue)
	names := make([]string, 0, len(letter.Headers))
	for name := range letter.Headers {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(out, "header    %s: %v\n", name, letter.Headers[name])
	}
	_, err := fmt.Fprintf(out, "\n%s\n\n", letter.Body)
	return err
}
