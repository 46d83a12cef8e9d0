package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/hometrip/gateway"

// rule says which packages of the house a folder may import, and which others
// it must not, with the reason.
type rule struct {
	ours   []string
	banned map[string]string
}

const noIO = "it has no I/O, so that it can be tested without any"

// arrows is the table of the house. Tests may import what they like.
var arrows = map[string]rule{
	"codec": {banned: map[string]string{
		"net": noIO, "net/http": noIO, "os": noIO, "log/slog": noIO,
		"time": "bytes have no clock", "sync": "it has no state to guard",
	}},
	"rooms": {ours: []string{"codec", "internal/handover/form"}, banned: map[string]string{
		"net": noIO, "net/http": noIO, "os": noIO, "log/slog": noIO,
		"github.com/panjf2000/gnet/v2":        "rooms do not know how bytes travel",
		"github.com/redis/rueidis":            "the other nodes are behind a port",
		"github.com/rabbitmq/amqp091-go":      "services are behind the back door",
		"github.com/golang-jwt/jwt/v5":        "tokens are behind a port",
		"github.com/prometheus/client_golang": "counters are read by whoever exports them",
	}},
	"rooms/cluster": {ours: []string{"codec", "rooms"}, banned: map[string]string{
		"github.com/panjf2000/gnet/v2":        "the event loops are behind rooms",
		"github.com/rabbitmq/amqp091-go":      "services are behind the back door",
		"github.com/prometheus/client_golang": "counters are read by whoever exports them",
	}},
	"rooms/cluster/redistest":   {ours: []string{"internal/freeport"}},
	"rooms/cluster/clustertest": {},
	"loop": {ours: []string{"codec", "internal/handover/form", "rooms"}, banned: map[string]string{
		"github.com/redis/rueidis":       "a Redis round trip would block an event loop",
		"github.com/rabbitmq/amqp091-go": "the two doors are strangers",
	}},
	"upstream": {ours: []string{"codec", "rooms"}, banned: map[string]string{
		"github.com/panjf2000/gnet/v2": "the two doors are strangers",
		"github.com/redis/rueidis":     "the other nodes are behind rooms",
	}},
	"upstream/brokertest": {ours: []string{"internal/freeport"}},
	"internal/auth":       {ours: []string{"codec", "internal/fairpool", "internal/handover/form", "internal/secret", "rooms"}},
	"internal/secret":     {},
	"internal/handover":   {ours: []string{"internal/handover/form"}},
	"internal/handover/form": {banned: map[string]string{
		"net": noIO, "os": noIO, "sync": "it has no state to guard",
	}},
	"internal/authz":       {ours: []string{"codec", "internal/fairpool", "rooms"}},
	"internal/fairpool":    {},
	"internal/console":     {},
	"internal/doctor":      {ours: []string{"upstream"}},
	"internal/canary":      {ours: []string{"internal/sioclient"}},
	"internal/sioclient":   {ours: []string{"codec"}},
	"internal/freeport":    {},
	"internal/gatewaytest": {ours: []string{"internal/freeport"}},
}

func TestImportsFollowTheArrows(t *testing.T) {
	for folder, rule := range arrows {
		files, err := filepath.Glob(filepath.Join("../..", folder, "*.go"))
		if err != nil || len(files) == 0 {
			t.Errorf("%s: no Go files (%v): the table of arrows is out of date", folder, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			for _, path := range importsOf(t, file) {
				if why, banned := rule.banned[path]; banned {
					t.Errorf("%s imports %s: %s", file, path, why)
				}
				ours, internal := strings.CutPrefix(path, module+"/")
				if internal && !slices.Contains(rule.ours, ours) {
					t.Errorf("%s imports %s: not one of the arrows of %s", file, ours, folder)
				}
			}
		}
	}
}

func importsOf(t *testing.T, file string) (paths []string) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range parsed.Imports {
		paths = append(paths, strings.Trim(spec.Path.Value, `"`))
	}
	return paths
}

func TestEveryPackageHasOneDoc(t *testing.T) {
	docs := make(map[string]int)
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		docs[filepath.Dir(path)] += 0
		if parsed.Doc != nil {
			docs[filepath.Dir(path)]++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir, n := range docs {
		if n != 1 {
			t.Errorf("%s has %d package comments, want 1", dir, n)
		}
	}
}

// rooms gets the time as an argument; reading the clock there would make its
// tests depend on it. The one exception is the origin of monotonic spans, which
// only differences are taken from.
func TestRoomsDoNotReadTheClock(t *testing.T) {
	files, err := filepath.Glob("../../rooms/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Replace(string(body), "\nvar epoch = time.Now()\n", "\n", 1)
		if strings.Contains(text, "time.Now(") {
			t.Errorf("%s calls time.Now", file)
		}
	}
}
