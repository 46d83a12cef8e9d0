package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// cursorRoute declares a volatile event.
const cursorRoute = `routes:
  - {event: cursor.moved, rooms: ["conversation:{conversationId}"], emit: cursor, volatile: true, fields: [text]}
`

// Cases in which Socket.IO's own connection state recovery loses, repeats or leaks
// events. The gateway must pass all of them with the unmodified client. Against the
// reference server, over WebSocket, the cases that fail must be those listed in
// docs/recovery.md.
func TestRecoveryCasesThatSocketIOFails(t *testing.T) {
	t.Parallel()
	routes := filepath.Join(t.TempDir(), "routes.yaml")
	if err := os.WriteFile(routes, []byte(cursorRoute), 0o600); err != nil {
		t.Fatal(err)
	}
	g := start(t, "EVENT_LOOPS=2", "PUBLISH_TOKEN=publisher", "ROUTES_FILE="+routes, "ROOM_POLICY=claims",
		"RECOVERY=asked", "RECOVERY_WINDOW=20000") // on a busy machine it takes 5 s to publish 40 events
	known := casesSocketIOFails(t)
	for _, transport := range transportSettings {
		if reference && transport != "websocket" {
			continue // which cases fail there depends on the transport
		}
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			for _, v := range caseResults(t, script(t, g, transport, caseArgs("holes.mjs")...)) {
				fails, listed := known[v.Name]
				switch {
				case !listed:
					t.Errorf("docs/recovery.md does not list %q", v.Name)
				case !reference && v.Event == "fail":
					t.Errorf("%s: %s", v.Name, v.Error)
				case reference && fails != (v.Event == "fail"):
					t.Errorf("%s: %s, docs/recovery.md says fails: %v. %s", v.Name, v.Event, fails, v.Error)
				}
			}
		})
	}
}

var holeRow = regexp.MustCompile(`(?m)^\| ([^|]+) \| (fails|passes)`)

// casesSocketIOFails reads from docs/recovery.md which cases Socket.IO's own server fails.
func casesSocketIOFails(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("../../docs/recovery.md")
	if err != nil {
		t.Fatal(err)
	}
	holes := make(map[string]bool)
	for _, row := range holeRow.FindAllStringSubmatch(string(text), -1) {
		holes[strings.TrimSpace(row[1])] = row[2] == "fails"
	}
	return holes
}
