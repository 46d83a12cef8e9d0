package e2e

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// docsPage returns a page of the documentation.
func docsPage(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What a gateway exports stands in docs/metrics.md, with its type.
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it exports something else")
	page := docsPage(t, "docs/metrics.md")
	g := start(t, slices.Concat(everyPart, []string{"SOCKETIO_ADAPTER_KEY=socket.io"})...)
	_, text, err := request(http.MethodGet, g.URL+"/metrics", http.Header{"Accept": {"text/plain"}}, "")
	if err != nil {
		t.Fatal(err)
	}
	exported := 0
	for _, found := range regexp.MustCompile(`(?m)^# TYPE (gateway_\w+) (\w+)$`).FindAllStringSubmatch(string(text), -1) {
		exported++
		if row := fmt.Sprintf("| `%s` | %s |", found[1], found[2]); !strings.Contains(page, row) {
			t.Errorf("docs/metrics.md has no row %s: is its collector in metricsTable of cmd/gateway/docs_test.go?", row)
		}
	}
	if rows := strings.Count(page, "| `gateway_"); exported < 50 || exported > rows {
		t.Errorf("%d metrics are exported, docs/metrics.md has %d", exported, rows)
	}
}
