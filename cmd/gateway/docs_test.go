package main

import (
	goflag "flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hometrip/gateway/internal/config"
	"github.com/hometrip/gateway/internal/contract"
	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/upstream/routes"
)

var update = goflag.Bool("update", false, "write the generated parts of the docs; make docs does it")

const repository = "../.."

// generated returns for each page the text between the comments <!-- NAME:begin -->
// and <!-- NAME:end -->, by NAME.
func generated(t *testing.T) map[string]map[string]string {
	t.Helper()
	return map[string]map[string]string{
		"docs/settings.md": {"settings": config.Markdown()},
		"docs/metrics.md":  {"metrics": metricsTable(t)},
		"docs/commands.md": {"commands": commandsTable(), "flags": flagsText()},
		"docs/clients.md":  {"client-events": clientEventsTable(), "server-events": serverEventsTable(t)},
		"docs/services.md": {"routes": routesTable(t)},
	}
}

// The generated parts of the docs are up to date with the code. With -update they are
// written.
func TestGeneratedDocs(t *testing.T) {
	for page, parts := range generated(t) {
		path := filepath.Join(repository, page)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
			continue
		}
		want := string(text)
		for name, part := range parts {
			if want, err = replacePart(want, name, part); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
		upToDate(t, page, string(text), want)
	}
	example, err := os.ReadFile(filepath.Join(repository, ".env.example"))
	if err != nil {
		t.Fatal(err)
	}
	upToDate(t, ".env.example", string(example), config.Env())
	table, err := routes.NewTable(nil)
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string][]byte{
		"docs/events.d.ts":   []byte(contract.TypeScript(table)),
		"docs/asyncapi.json": contract.AsyncAPI(table, documentVersion), "docs/openapi.json": contract.OpenAPI(documentVersion),
	} {
		have, _ := os.ReadFile(filepath.Join(repository, file)) // a missing file is written
		upToDate(t, file, string(have), string(text))
	}
}

// documentVersion is the version in the documents of docs/. A gateway's own documents
// have its version.
const documentVersion = "1"

// replacePart replaces the text between the comments of name.
func replacePart(text, name, part string) (string, error) {
	begin, end := "<!-- "+name+":begin -->\n", "<!-- "+name+":end -->"
	head, rest, found := strings.Cut(text, begin)
	_, tail, closed := strings.Cut(rest, end)
	if !found || !closed {
		return text, fmt.Errorf("want the comments %q and %q", begin, end)
	}
	return head + begin + strings.TrimSpace(part) + "\n" + end + tail, nil
}

// upToDate fails if a file's generated parts are stale. With -update it writes the
// file instead.
func upToDate(t *testing.T, file, have, want string) {
	t.Helper()
	if have == want {
		return
	}
	if !*update {
		t.Errorf("%s\n%s is stale: run make docs", difference(have, want), file)
		return
	}
	if err := os.WriteFile(filepath.Join(repository, file), []byte(want), 0o644); err != nil {
		t.Error(err)
	}
}

func clientEventsTable() string {
	var b strings.Builder
	b.WriteString("| event | acknowledgement | the others in the room get |\n|---|---|---|\n")
	for _, e := range rooms.ClientEventDocs() {
		fmt.Fprintf(&b, "| `%s %s` | `%s` | %s |\n", e.Name, e.Body, e.Ack, e.Text)
	}
	return b.String()
}

func serverEventsTable(t *testing.T) string {
	var b strings.Builder
	b.WriteString("| event | when |\n|---|---|\n")
	for _, e := range rooms.ServerEventDocs() {
		fmt.Fprintf(&b, "| `%s %s` | %s |\n", e.Name, e.Body, e.Text)
	}
	for _, r := range builtInRoutes(t) {
		if r.OrderDoc() == "" {
			fmt.Fprintf(&b, "| `%s` | a service published `%s` |\n", emitted(r), r.Event)
		}
	}
	return b.String()
}

func routesTable(t *testing.T) string {
	var b strings.Builder
	b.WriteString("| event | for | becomes |\n|---|---|---|\n")
	var orders []string
	for _, r := range builtInRoutes(t) {
		if doc := r.OrderDoc(); doc != "" {
			orders = append(orders, fmt.Sprintf("| `%s` | all nodes | order %s |\n", r.Event, doc))
			continue
		}
		fmt.Fprintf(&b, "| `%s` | `%s` | `%s` |\n", r.Event, strings.Join(r.Rooms, "`, `"), emitted(r))
	}
	return b.String() + strings.Join(orders, "")
}

func builtInRoutes(t *testing.T) []*routes.Route {
	t.Helper()
	table, err := routes.NewTable(nil)
	if err != nil {
		t.Fatal(err)
	}
	return table.Routes()
}

// emitted describes the event that clients get from a route.
func emitted(r *routes.Route) string {
	var fields []string
	for _, f := range r.Fields {
		fields = append(fields, f.Name)
	}
	return r.Emit + " {" + strings.Join(fields, ", ") + "}"
}

// The client events that are handled are the ones that the docs are generated from.
func TestEveryClientEventIsDescribed(t *testing.T) {
	var handled, described []string
	for name := range rooms.ClientEvents() {
		handled = append(handled, name)
	}
	for _, e := range rooms.ClientEventDocs() {
		described = append(described, e.Name)
	}
	sort.Strings(handled)
	sort.Strings(described)
	if !slices.Equal(handled, described) {
		t.Errorf("rooms.ClientEvents handles %q, rooms.ClientEventDocs describes %q", handled, described)
	}
}

// description parses the text of a prometheus.Desc, whose fields cannot be read.
var description = regexp.MustCompile(`fqName: "([^"]*)", help: "(.*)", unit: "[^"]*", constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)

// metricsTable describes all metrics of the gateway, one line for each name.
func metricsTable(t *testing.T) string {
	t.Helper()
	descs := make(chan *prometheus.Desc)
	go func() {
		defer close(descs)
		for _, c := range []prometheus.Collector{
			&collector{}, &eventsCollector{}, recoveryCollector{}, outletCollector{}, &clusterCollector{}, &adapterCollector{},
			&gateCollector{}, &canaryClient{latency: newCanaryLatency()},
		} {
			c.Describe(descs)
		}
	}()
	type metric struct{ help, labels string }
	metrics := make(map[string]metric)
	values := make(map[string][]string) // of constant labels
	for d := range descs {
		parts := description.FindStringSubmatch(d.String())
		if parts == nil {
			t.Fatalf("cannot read %s", d)
		}
		name, labels := parts[1], parts[4]
		if label, value, fixed := strings.Cut(parts[3], "="); fixed {
			labels = label
			values[name] = append(values[name], strings.Trim(value, `"`))
		}
		metrics[name] = metric{parts[2], labels}
	}
	names := make([]string, 0, len(metrics))
	for name := range metrics {
		names = append(names, name)
	}
	sort.Strings(names)
	var b strings.Builder
	b.WriteString("| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for _, name := range names {
		m := metrics[name]
		if m.labels != "" {
			m.labels = "`" + m.labels + "`"
		}
		if v := values[name]; v != nil {
			m.labels += ": " + strings.Join(v, ", ")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", name, metricType(name), m.labels, config.EscapeCell(m.help))
	}
	return b.String()
}

// metricType derives the type from the name. TestMetricsAreDocumented of internal/e2e
// compares it with what a gateway exports.
func metricType(name string) string {
	switch {
	case strings.HasSuffix(name, "_total"):
		return "counter"
	case name == "gateway_broadcast_duration_seconds", name == "gateway_canary_latency_seconds":
		return "histogram"
	}
	return "gauge"
}

func commandsTable() string {
	var b strings.Builder
	b.WriteString("| command | what it does |\n|---|---|\n")
	eachCommand(func(c *cobra.Command) {
		if c.HasParent() && !c.HasSubCommands() {
			fmt.Fprintf(&b, "| `%s` | %s |\n", c.CommandPath(), config.EscapeCell(c.Short))
		}
	})
	return b.String()
}

// flagsText describes the flags of each command.
func flagsText() string {
	var b strings.Builder
	eachCommand(func(c *cobra.Command) {
		if !c.HasParent() || c.HasSubCommands() {
			return
		}
		fmt.Fprintf(&b, "### %s\n\n%s.\n\n```sh\n%s\n```\n\n", c.CommandPath(), c.Short, unindent(c.Example))
		rows := ""
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			def := ""
			if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" {
				def = "`" + f.DefValue + "`"
			}
			rows += fmt.Sprintf("| `--%s` | %s | %s |\n", f.Name, def, config.EscapeCell(f.Usage))
		})
		if rows != "" {
			b.WriteString("| flag | default | |\n|---|---|---|\n" + rows + "\n")
		}
	})
	return b.String()
}

// unindent removes the two spaces at the beginning of cobra's examples.
func unindent(example string) string {
	var b strings.Builder
	for line := range strings.Lines(example) {
		b.WriteString(strings.TrimPrefix(line, "  "))
	}
	return strings.TrimSpace(b.String())
}

// difference returns the lines that only one of two texts has.
func difference(have, want string) string {
	var b strings.Builder
	lines := func(text string) []string { return strings.Split(text, "\n") }
	for _, line := range lines(have) {
		if !slices.Contains(lines(want), line) {
			fmt.Fprintf(&b, "- %s\n", line)
		}
	}
	for _, line := range lines(want) {
		if !slices.Contains(lines(have), line) {
			fmt.Fprintf(&b, "+ %s\n", line)
		}
	}
	return b.String()
}
