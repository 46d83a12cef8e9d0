package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/hometrip/gateway/upstream/rabbitmq"
)

const (
	bodyPreview = 60 // characters of a body in a list
	listLimit   = 100
)

func newDeadLetterCommand() *cobra.Command {
	return newGroup("dead-letter", "List, replay or delete events that could not be delivered", "  gateway dead-letter list",
		newLetterListCommand(), newLetterShowCommand(),
		newLetterAction("replay", "Append events to the log again", "replayed",
			func(ctx context.Context, l *rabbitmq.DeadLetters, letter rabbitmq.DeadLetter) error {
				return l.Replay(ctx, letter)
			}),
		newLetterAction("drop", "Delete dead letters", "dropped",
			func(_ context.Context, l *rabbitmq.DeadLetters, letter rabbitmq.DeadLetter) error {
				return l.Drop(letter)
			}))
}

func newLetterListCommand() *cobra.Command {
	var limit int
	command := &cobra.Command{
		Use: "list", Short: "List the oldest dead letters", Args: cobra.NoArgs,
		Example: `  gateway dead-letter list --limit 10
  gateway dead-letter list --json | jq -r '.letters[].id'`,
	}
	command.Flags().IntVar(&limit, "limit", listLimit, "how many to list")
	asJSON := jsonFlag(command)
	command.RunE = func(c *cobra.Command, _ []string) error {
		return withLetters(c, func(l *rabbitmq.DeadLetters) error {
			return listLetters(c.OutOrStdout(), l, limit, *asJSON)
		})
	}
	return command
}

func newLetterShowCommand() *cobra.Command {
	command := &cobra.Command{
		Use: "show ID...", Short: "Show dead letters with headers and body", Args: cobra.MinimumNArgs(1),
		Example: `  gateway dead-letter show 5f2a
  gateway dead-letter show 5f2a --json | jq .body`,
	}
	asJSON := jsonFlag(command)
	command.RunE = func(c *cobra.Command, ids []string) error {
		return withLetters(c, func(l *rabbitmq.DeadLetters) error {
			return eachLetter(l, ids, func(letter rabbitmq.DeadLetter) error {
				if *asJSON {
					return printJSON(c.OutOrStdout(), describe(letter))
				}
				return showLetter(c.OutOrStdout(), letter)
			})
		})
	}
	return command
}

// newLetterAction returns a command that does something with the given letters,
// or with all.
func newLetterAction(verb, short, done string, do func(context.Context, *rabbitmq.DeadLetters, rabbitmq.DeadLetter) error) *cobra.Command {
	var all bool
	command := &cobra.Command{
		Use: verb + " {ID... | --all}", Short: short,
		Example: fmt.Sprintf("  gateway dead-letter %s 5f2a\n  gateway dead-letter %s --all", verb, verb),
		Args: func(_ *cobra.Command, ids []string) error {
			if all == (len(ids) > 0) {
				return errors.New("want ids of dead letters, or --all")
			}
			return nil
		},
		RunE: func(c *cobra.Command, ids []string) error {
			n := 0
			err := withLetters(c, func(l *rabbitmq.DeadLetters) error {
				return eachLetter(l, ids, func(letter rabbitmq.DeadLetter) error {
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
	command.Flags().BoolVar(&all, "all", false, "all dead letters")
	return command
}

// withLetters opens the queue of the dead letters and calls do with it.
func withLetters(c *cobra.Command, do func(*rabbitmq.DeadLetters) error) error {
	cfg, err := readConfig(c)
	if err != nil {
		return err
	}
	letters, err := rabbitmq.OpenDeadLetters(c.Context(), cfg.RabbitMQAddresses(), cfg.RabbitMQ.QueuePrefix)
	if err != nil {
		return err
	}
	defer letters.Close()
	return do(letters)
}

// eachLetter calls do for the letters with these ids, or for all if there are
// none. It handles only letters that are there when it begins, because a
// replayed event may come back.
func eachLetter(l *rabbitmq.DeadLetters, ids []string, do func(rabbitmq.DeadLetter) error) error {
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

// listLetters prints the oldest letters, a line for each, or one object.
func listLetters(out io.Writer, l *rabbitmq.DeadLetters, limit int, asJSON bool) error {
	count, err := l.Count()
	if err != nil {
		return err
	}
	letters := []describedLetter{}
	for range min(count, limit) {
		letter, ok, err := l.Next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		letters = append(letters, describe(letter))
	}
	if asJSON {
		return printJSON(out, map[string]any{"count": count, "letters": letters})
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tTIME\tREASON\tEVENT\tBODY")
	for _, letter := range letters {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", letter.ID, letter.Time.Format(time.RFC3339), letter.Reason, letter.Event, preview(letter.raw))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%d dead letters\n", count)
	return err
}

// A describedLetter is a dead letter as JSON.
type describedLetter struct {
	ID       string         `json:"id"`
	Time     time.Time      `json:"time"`
	Reason   string         `json:"reason"`
	Detail   string         `json:"detail"`
	Event    string         `json:"event"`
	Exchange string         `json:"exchange"`
	Queue    string         `json:"queue"`
	Headers  map[string]any `json:"headers"`
	Body     any            `json:"body"` // as it is when it is JSON, else as a string

	raw []byte
}

func describe(letter rabbitmq.DeadLetter) describedLetter {
	d := describedLetter{
		ID: letter.ID, Time: letter.Time, Reason: letter.Reason, Detail: letter.Detail, Event: letter.Key,
		Exchange: letter.Exchange, Queue: letter.Queue, Headers: letter.Headers, Body: string(letter.Body), raw: letter.Body,
	}
	if json.Valid(letter.Body) {
		d.Body = json.RawMessage(letter.Body)
	}
	return d
}

// preview returns the beginning of a body in one line.
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

func showLetter(out io.Writer, letter rabbitmq.DeadLetter) error {
	fmt.Fprintf(out, "id        %s\nreason    %s %s\ntime      %s\nevent     %s\nexchange  %s\nread from %s\n",
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
