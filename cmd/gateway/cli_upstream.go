package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/hometrip/gateway/internal/config"
	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/upstream/rabbitmq"
	"github.com/hometrip/gateway/upstream/routes"
)

const publishTimeout = 15 * time.Second

func newRoutesCommand() *cobra.Command {
	return newGroup("routes", "Check routes, and show what an event becomes", "  gateway routes check routes.yaml",
		newRoutesCheckCommand(), newRoutesTryCommand())
}

func newRoutesCheckCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Check a routes file and list all routes and client events (default: ROUTES_FILE)",
		Example: `  gateway routes check routes.yaml
  gateway routes check --json | jq -r '.[].emits'`,
		Args: cobra.MaximumNArgs(1),
	}
	asJSON := jsonFlag(command)
	command.RunE = func(c *cobra.Command, args []string) error {
		_, table, err := routesOf(c, args, 0)
		if err != nil {
			return err
		}
		return listRoutes(c.OutOrStdout(), table, *asJSON)
	}
	return command
}

func newRoutesTryCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "try [FILE] KEY BODY",
		Short: "Show what an event of services or clients becomes; BODY - reads it from the input",
		Example: `  gateway routes try message.sent '{"conversationId": 42, "message": "hi"}'
  gateway routes try routes.yaml review.posted - < review.json
  gateway routes try routes.yaml mark_read '{"conversationId": 42, "messageId": 7}'`,
		Args: cobra.RangeArgs(2, 3),
	}
	asJSON := jsonFlag(command)
	command.RunE = func(c *cobra.Command, args []string) error {
		cfg, table, err := routesOf(c, args, 2)
		if err != nil {
			return err
		}
		args = args[len(args)-2:]
		body, err := bodyOf(c, args[1])
		if err != nil {
			return err
		}
		return tryRoute(c.OutOrStdout(), cfg, table, args[0], body, *asJSON)
	}
	return command
}

// routesOf loads the routes of a file: that of the first argument if there are
// more than others arguments, otherwise ROUTES_FILE.
func routesOf(c *cobra.Command, args []string, others int) (config.Config, *routes.Table, error) {
	cfg, err := readConfig(c)
	if err != nil {
		return cfg, nil, err
	}
	if len(args) > others {
		cfg.Events.RoutesFile = args[0]
	}
	table, err := loadRoutes(cfg)
	return cfg, table, err
}

// A listedRoute is a route or a client event in the output of `gateway routes`.
type listedRoute struct {
	Event  string   `json:"event"`
	Rooms  []string `json:"rooms"`
	Emits  string   `json:"emits"`
	Fields []string `json:"fields"` // null: all

	Client *listedClientEvent `json:"client,omitempty"` // of an event of clients
}

// A listedClientEvent has the additional properties of a client event.
type listedClientEvent struct {
	Senders   string `json:"senders"`
	Publishes string `json:"publishes,omitempty"`
	Ack       string `json:"ack"`
	MaxBytes  int    `json:"maxBytes"`
	Rate      int    `json:"rate"`
	Burst     int    `json:"burst"`
}

func listOf(table *routes.Table) (list []listedRoute) {
	for _, r := range table.Routes() {
		route := listedRoute{Event: r.Event, Rooms: r.Rooms, Emits: r.Emit}
		if !r.All {
			route.Fields = make([]string, len(r.Fields))
			for i, f := range r.Fields {
				route.Fields[i] = f.Name
			}
		}
		list = append(list, route)
	}
	for _, e := range table.ClientEvents() {
		c := &listedClientEvent{
			Senders: "members", Publishes: e.Key, Ack: "at_once", MaxBytes: e.MaxBytes, Rate: e.Rate.PerSecond, Burst: e.Rate.Burst,
		}
		if e.Anyone {
			c.Senders = "anyone"
		}
		if e.Confirm {
			c.Ack = "confirmed"
		}
		route := listedRoute{Event: e.Name, Rooms: []string{}, Emits: e.Emit, Fields: e.Fields, Client: c}
		if e.Room != nil {
			route.Rooms = append(route.Rooms, e.RoomText())
		}
		list = append(list, route)
	}
	return list
}

func listRoutes(out io.Writer, table *routes.Table, asJSON bool) error {
	list := listOf(table)
	if asJSON {
		return printJSON(out, list)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "EVENT\tROOMS\tEMITS\tFIELDS")
	for _, r := range list {
		if r.Client == nil {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.Event, strings.Join(r.Rooms, ","), r.Emits, r.fields())
		}
	}
	if len(table.ClientEvents()) > 0 {
		fmt.Fprintln(w, "\nCLIENT EVENT\tROOM\tEMITS\tFIELDS\tPUBLISHES\tSENDERS\tACK\tBYTES\tRATE\tBURST")
	}
	for _, r := range list {
		if c := r.Client; c != nil {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\n", r.Event, strings.Join(r.Rooms, ","), r.Emits, r.fields(),
				c.Publishes, c.Senders, c.Ack, c.MaxBytes, c.Rate, c.Burst)
		}
	}
	return w.Flush()
}

func (r *listedRoute) fields() string {
	if r.Fields == nil && r.Emits != "" {
		return "all"
	}
	return strings.Join(r.Fields, ",")
}

// tryUser is the user who emits a client event that is tried.
const tryUser = "42"

// tryClientEvent prints what becomes of a client event.
func tryClientEvent(out io.Writer, e *rooms.ClientEvent, argument []byte, asJSON bool) error {
	if !json.Valid(argument) {
		return errors.New(routes.Fault(argument))
	}
	t, err := e.Try(argument, tryUser, time.Now())
	if err != nil {
		return fmt.Errorf("the client is answered: {error: %q}", err)
	}
	result := map[string]any{"room": t.Room}
	if t.Others != nil {
		result["packet"] = json.RawMessage(bytes.TrimPrefix(t.Others.AppendPayload(nil), []byte("42")))
	}
	if t.Body != nil {
		result["publish"] = map[string]any{"key": e.Key, "body": json.RawMessage(t.Body)}
	}
	if asJSON {
		return printJSON(out, result)
	}
	if t.Others != nil {
		fmt.Fprintf(out, "to the others in %s\n%s\n", t.Room, result["packet"])
	}
	if t.Body != nil {
		fmt.Fprintf(out, "to services as %s\n%s\n", e.Key, t.Body)
	}
	return nil
}

func tryRoute(out io.Writer, cfg config.Config, table *routes.Table, key string, body []byte, asJSON bool) error {
	for _, e := range table.ClientEvents() {
		if e.Name == key {
			return tryClientEvent(out, &e, body, asJSON)
		}
	}
	event, err := routes.NewEncoder(table, cfg.Events.MaxSize).Encode(key, body, time.Now())
	if err != nil {
		return err
	}
	if event.Order != nil {
		return printOrder(out, event.Order, asJSON)
	}
	packet := bytes.TrimPrefix(event.Message.AppendPayload(nil), []byte("42"))
	if asJSON {
		rooms := append([]string{}, event.Rooms...) // [] rather than null
		return printJSON(out, map[string]any{"rooms": rooms, "packet": json.RawMessage(packet)})
	}
	for _, room := range event.Rooms {
		fmt.Fprintln(out, "to", room)
	}
	if len(event.Rooms) == 0 {
		fmt.Fprintln(out, "to no room")
	}
	_, err = fmt.Fprintf(out, "%s\n", packet)
	return err
}

func printOrder(out io.Writer, o *rooms.Order, asJSON bool) error {
	if asJSON {
		return printJSON(out, map[string]any{"order": map[string]any{
			"user": o.User, "tokenId": o.TokenID, "issued": o.Issued, "until": o.Until, "reason": o.Reason,
		}})
	}
	_, err := fmt.Fprintf(out, "order: user %q, token %q, issued up to %v, refused until %v, reason %q\n",
		o.User, o.TokenID, o.Issued, o.Until, o.Reason)
	return err
}

// bodyOf returns the argument, or the standard input if it is "-".
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
		Short: "Publish an event as a service does; BODY - reads standard input",
		Example: `  gateway publish message.sent '{"conversationId": 42, "message": "hi"}'
  gateway publish --http http://localhost:3002 message.sent - < message.json`,
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := readConfig(c)
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
				return publishHTTP(ctx, c.OutOrStdout(), cfg, address, args[0], body, id)
			}
			if exchange == "" {
				exchange = cfg.RabbitMQ.Exchanges[0]
			}
			sender := rabbitmq.NewSender(cfg.RabbitMQAddresses(), exchange)
			defer sender.Close()
			if err := sender.Send(ctx, args[0], body, id); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "published %s to %s\n", args[0], exchange)
			return err
		},
	}
	command.Flags().StringVar(&address, "http", "", "publish over HTTP to this gateway, such as http://localhost:3002, with PUBLISH_TOKEN")
	command.Flags().StringVar(&exchange, "exchange", "", "exchange to publish to (default: the first of RABBITMQ_EXCHANGE)")
	command.Flags().StringVar(&id, "id", "", "message id; an event with the same id, key and body is delivered once")
	return command
}

func publishHTTP(ctx context.Context, out io.Writer, cfg config.Config, address, key string, body []byte, id string) error {
	address = strings.TrimSuffix(address, "/") + "/events/" + url.PathEscape(key)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	if id != "" {
		request.Header.Set("Idempotency-Key", id)
	}
	if cfg.Events.PublishToken != "" {
		request.Header.Set("Authorization", "Bearer "+cfg.Events.PublishToken)
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
