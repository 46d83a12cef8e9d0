package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/upstream"
)

// documented returns the lines between <!-- name:begin --> and <!-- name:end -->
// in the README or a page of docs/, and the file they are in.
func documented(t *testing.T, name string) (lines []string, file string) {
	t.Helper()
	pages, _ := filepath.Glob("../../docs/*.md")
	for _, page := range append(pages, "../../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, found := strings.Cut(string(text), "<!-- "+name+":begin -->\n")
		if table, _, closed := strings.Cut(rest, "<!-- "+name+":end -->"); found && closed {
			return strings.Split(strings.TrimSpace(table), "\n"), page
		}
	}
	t.Fatalf("neither README.md nor docs/*.md has a table between <!-- %s:begin --> and <!-- %s:end -->", name, name)
	return nil, ""
}

// firstNames returns the first words in backquotes of a table's first column.
func firstNames(lines []string) (names []string) {
	cell := regexp.MustCompile("`([a-z_.*]+)")
	for _, line := range lines {
		first, _, _ := strings.Cut(strings.TrimPrefix(line, "|"), "|")
		for _, found := range cell.FindAllStringSubmatch(first, -1) {
			names = append(names, found[1])
		}
	}
	sort.Strings(names)
	return names
}

func TestRoutesAreDocumented(t *testing.T) {
	table, err := upstream.NewTable(nil)
	if err != nil {
		t.Fatal(err)
	}
	lines, file := documented(t, "routes")
	var events []string
	for _, r := range table.Routes() {
		events = append(events, r.Event)
		if r.Emit == "" {
			continue // an order
		}
		var fields []string
		for _, f := range r.Fields {
			fields = append(fields, f.Name)
		}
		row := fmt.Sprintf("| `%s` | `%s` | `%s {%s}` |", r.Event, strings.Join(r.Rooms, ", "), r.Emit, strings.Join(fields, ", "))
		if !slices.Contains(lines, row) {
			t.Errorf("%s, between routes:begin and routes:end: the built-in route of %s wants this line:\n%s", file, r.Event, row)
		}
	}
	sort.Strings(events)
	if got := firstNames(lines); !slices.Equal(got, events) {
		t.Errorf("%s, between routes:begin and routes:end, has the events\n%q, upstream/routes.go and orders.go have\n%q", file, got, events)
	}
}

func TestEventsAreDocumented(t *testing.T) {
	lines, file := documented(t, "client-events")
	var want []string
	for name := range rooms.ClientEvents() {
		want = append(want, name)
	}
	sort.Strings(want)
	if got := firstNames(lines); !slices.Equal(got, want) {
		t.Errorf("%s, between client-events:begin and client-events:end, has the events\n%q, rooms/handlers.go has\n%q", file, got, want)
	}
	table, err := upstream.NewTable(nil)
	if err != nil {
		t.Fatal(err)
	}
	want = rooms.ServerEvents()
	for _, r := range table.Routes() {
		if r.Emit != "" {
			want = append(want, r.Emit)
		}
	}
	sort.Strings(want)
	lines, file = documented(t, "server-events")
	if got := firstNames(lines); !slices.Equal(got, want) {
		t.Errorf("%s, between server-events:begin and server-events:end, has the events\n%q, rooms/events.go and the built-in routes have\n%q", file, got, want)
	}
}
