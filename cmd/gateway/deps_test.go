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

// rule says which packages of this module a package may import, and which other
// packages it must not import, with the reason.
type rule struct {
	ours   []string
	banned map[string]string
}

const noIO = "it has no I/O, so that it can be tested without any"

const stepped = "it is a state machine, so that a simulation can step it"

// pure lists what the state machines must not import.
var pure = map[string]string{
	"net": noIO, "net/http": noIO, "os": noIO, "log/slog": noIO, "context": stepped, "sync": stepped, "math/rand/v2": stepped,
	"github.com/redis/rueidis": "the driver speaks to Redis",
}

const oneThread = "a simulation is one thread, and the same each time"

// simulated lists what simulations must not import.
var simulated = map[string]string{
	"net": oneThread, "net/http": oneThread, "os": oneThread, "sync": oneThread, "crypto/rand": oneThread,
	"github.com/redis/rueidis": "there is a model of Redis", "github.com/rabbitmq/amqp091-go": "there is a model of RabbitMQ",
}

// importRules is the table of packages and what they may import. Tests may import anything.
var importRules = map[string]rule{
	"codec": {banned: map[string]string{
		"net": noIO, "net/http": noIO, "os": noIO, "log/slog": noIO,
		"time": "bytes have no clock", "sync": "it has no state to guard",
	}},
	"rooms": {ours: []string{"codec", "internal/handover/form", "internal/shrink"}, banned: map[string]string{
		"net": noIO, "net/http": noIO, "os": noIO, "log/slog": noIO,
		"github.com/panjf2000/gnet/v2":        "rooms do not know how bytes travel",
		"github.com/redis/rueidis":            "the other nodes are behind a port",
		"github.com/rabbitmq/amqp091-go":      "services are behind upstream",
		"github.com/golang-jwt/jwt/v5":        "tokens are behind a port",
		"github.com/prometheus/client_golang": "counters are read by whoever exports them",
	}},
	"rooms/cluster/wire":      {ours: []string{"codec", "rooms"}, banned: pure},
	"rooms/cluster/directory": {ours: []string{"internal/shrink", "rooms/cluster/pace", "rooms/cluster/wire"}, banned: pure},
	"rooms/cluster/lease":     {ours: []string{"rooms/cluster/wire"}, banned: pure},
	"rooms/cluster/pace":      {banned: pure},
	"rooms/cluster/members":   {ours: []string{"internal/shrink", "rooms/cluster/wire"}, banned: pure},
	"rooms/cluster/orders":    {ours: []string{"rooms", "rooms/cluster/wire"}, banned: pure},
	"rooms/cluster/outbox":    {ours: []string{"codec", "internal/shrink", "rooms/cluster/wire"}, banned: pure},
	"rooms/cluster/core": {ours: []string{"codec", "rooms", "rooms/cluster/directory", "rooms/cluster/lease",
		"rooms/cluster/members", "rooms/cluster/orders", "rooms/cluster/outbox", "rooms/cluster/wire"}, banned: pure},
	"rooms/cluster/cut": {banned: map[string]string{
		"net": noIO, "os": noIO, "log/slog": noIO, "context": stepped, "github.com/redis/rueidis": "the driver speaks to Redis",
	}},
	"rooms/cluster/sessions": {ours: []string{"rooms", "rooms/cluster/wire"}, banned: pure},
	"rooms/cluster/presence": {ours: []string{"internal/backoff", "internal/shrink", "rooms", "rooms/cluster/pace", "rooms/cluster/wire"}, banned: pure},
	"rooms/cluster": {ours: []string{"codec", "internal/backoff", "internal/handover/form", "internal/loglimit", "rooms", "rooms/cluster/core", "rooms/cluster/cut", "rooms/cluster/directory", "rooms/cluster/members", "rooms/cluster/presence", "rooms/cluster/sessions", "rooms/cluster/wire"}, banned: map[string]string{
		"github.com/panjf2000/gnet/v2":        "the event loops are behind rooms",
		"github.com/rabbitmq/amqp091-go":      "services are behind upstream",
		"github.com/prometheus/client_golang": "counters are read by whoever exports them",
	}},
	"rooms/adapter": {ours: []string{"codec", "internal/backoff", "internal/loglimit", "rooms", "rooms/adapter/notepack"}, banned: map[string]string{
		"github.com/panjf2000/gnet/v2":        "the event loops are behind rooms",
		"github.com/rabbitmq/amqp091-go":      "services are behind upstream",
		"github.com/prometheus/client_golang": "counters are read by whoever exports them",
	}},
	"rooms/adapter/notepack": {ours: []string{"codec"}, banned: map[string]string{
		"net": noIO, "os": noIO, "log/slog": noIO, "sync": "it has no state to guard",
	}},
	"rooms/cluster/clustertest": {},
	"loop": {ours: []string{"codec", "internal/bearer", "internal/handover/form", "internal/loglimit", "loop/httpread", "loop/limits", "loop/wheel", "rooms"}, banned: map[string]string{
		"github.com/redis/rueidis":       "a Redis round trip would block an event loop",
		"github.com/rabbitmq/amqp091-go": "loop and upstream do not know each other",
	}},
	"loop/limits": {ours: []string{"codec", "internal/handover/form", "rooms"}, banned: map[string]string{
		"os": noIO, "log/slog": noIO, "github.com/panjf2000/gnet/v2": noIO,
	}},
	"loop/wheel": {banned: map[string]string{
		"net": noIO, "os": noIO, "sync": "it has one owner", "github.com/panjf2000/gnet/v2": noIO,
	}},
	"loop/httpread": {ours: []string{"codec"}, banned: map[string]string{
		"net": noIO, "os": noIO, "time": "bytes have no clock", "sync": "it has one owner", "github.com/panjf2000/gnet/v2": noIO,
	}},
	"upstream": {ours: []string{"internal/backoff", "internal/loglimit", "rooms", "upstream/eventlog", "upstream/routes"}, banned: map[string]string{
		"github.com/panjf2000/gnet/v2":   "loop and upstream do not know each other",
		"github.com/redis/rueidis":       "logs are behind a port",
		"github.com/rabbitmq/amqp091-go": "logs are behind a port",
	}},
	"upstream/routes": {ours: []string{"codec", "rooms"}, banned: map[string]string{
		"net": noIO, "net/http": noIO, "log/slog": noIO,
		"github.com/panjf2000/gnet/v2":   "loop and upstream do not know each other",
		"github.com/redis/rueidis":       "logs are behind a port",
		"github.com/rabbitmq/amqp091-go": "logs are behind a port",
	}},
	"upstream/publish": {ours: []string{"internal/bearer", "upstream/eventlog", "upstream/routes"}, banned: map[string]string{
		"github.com/panjf2000/gnet/v2":   "loop and upstream do not know each other",
		"github.com/redis/rueidis":       "logs are behind a port",
		"github.com/rabbitmq/amqp091-go": "logs are behind a port",
	}},
	"upstream/eventlog": {ours: []string{"internal/backoff"}, banned: map[string]string{
		"net": noIO, "net/http": noIO, "os": noIO, "log/slog": noIO,
		"github.com/panjf2000/gnet/v2":   "loop and upstream do not know each other",
		"github.com/redis/rueidis":       "logs are behind a port",
		"github.com/rabbitmq/amqp091-go": "logs are behind a port",
	}},
	"upstream/rabbitmq": {ours: []string{"internal/backoff", "upstream/eventlog"}, banned: map[string]string{
		"github.com/panjf2000/gnet/v2": "loop and upstream do not know each other",
		"github.com/redis/rueidis":     "it is another log",
	}},
	"upstream/redislog": {ours: []string{"upstream/eventlog", "upstream/redislog/core"}, banned: map[string]string{
		"github.com/panjf2000/gnet/v2":   "loop and upstream do not know each other",
		"github.com/rabbitmq/amqp091-go": "it is another log",
	}},
	"upstream/redislog/core": {ours: []string{"upstream/eventlog"}, banned: pure},
	"internal/auth":          {ours: []string{"codec", "internal/fairpool", "internal/handover/form", "internal/secret", "rooms"}},
	"internal/secret":        {},
	"internal/bearer":        {},
	"internal/loglimit":      {},
	"internal/backoff":       {banned: pure},
	"internal/config":        {ours: []string{"internal/authz", "internal/secret", "rooms", "rooms/cluster", "upstream/rabbitmq"}},
	"internal/handover":      {ours: []string{"internal/handover/form"}},
	"internal/handover/form": {banned: map[string]string{
		"net": noIO, "os": noIO, "sync": "it has no state to guard",
	}},
	"internal/authz":     {ours: []string{"codec", "internal/fairpool", "internal/loglimit", "rooms"}},
	"internal/fairpool":  {},
	"internal/shrink":    {},
	"internal/console":   {ours: []string{"internal/bearer"}},
	"internal/contract":  {ours: []string{"rooms", "rooms/cluster/presence", "upstream/publish", "upstream/routes"}},
	"internal/explain":   {ours: []string{"rooms"}, banned: map[string]string{"net": noIO, "net/http": noIO, "os": noIO, "sync": "it has no state to guard"}},
	"internal/doctor":    {ours: []string{"upstream/rabbitmq"}},
	"internal/canary":    {ours: []string{"internal/sioclient"}},
	"internal/sioclient": {ours: []string{"codec"}},
	"internal/clocktest": {},
	"internal/simulation": {ours: []string{"codec", "internal/backoff", "internal/handover", "internal/handover/form", "internal/simulation/rabbitmodel", "internal/simulation/redismodel", "rooms",
		"rooms/cluster/core", "rooms/cluster/cut", "rooms/cluster/presence", "rooms/cluster/sessions", "rooms/cluster/wire", "upstream", "upstream/eventlog", "upstream/redislog/core", "upstream/routes"}, banned: simulated},
	"internal/simulation/redismodel":  {banned: simulated},
	"internal/simulation/rabbitmodel": {banned: simulated},
	"internal/gatewaytest":            {ours: []string{"internal/testkit/freeport", "internal/testkit"}},
	"internal/testkit":                {},
	"internal/testkit/brokertest":     {ours: []string{"internal/testkit/freeport", "internal/testkit"}},
	"internal/testkit/freeport":       {},
	"internal/testkit/redistest":      {ours: []string{"internal/testkit/freeport", "internal/testkit"}},
}

// free are the directories whose packages may import anything: the program that
// combines all packages, and those that only test it from outside.
var free = []string{"cmd", "bench", "internal/e2e", "internal/simulation/crowd", "internal/simulation/mutants", "rooms/cluster/fleet"}

// packages returns the directories of the module with Go files, tests included.
func packages(t *testing.T) (folders []string) {
	t.Helper()
	const top = "../.."
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == "testdata" || len(d.Name()) > 2 && d.Name()[0] == '.'):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".go"):
			folder, err := filepath.Rel(top, filepath.Dir(path))
			if err != nil {
				return err
			}
			if folder = filepath.ToSlash(folder); !slices.Contains(folders, folder) {
				folders = append(folders, folder)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return folders
}

func TestEveryPackageIsInTheImportTable(t *testing.T) {
	for _, folder := range packages(t) {
		_, known := importRules[folder]
		if !known && !slices.ContainsFunc(free, func(f string) bool { return folder == f || strings.HasPrefix(folder, f+"/") }) {
			t.Errorf("%s is not in the table importRules: add what it may import", folder)
		}
	}
}

func TestImportsFollowTheImportTable(t *testing.T) {
	for folder, rule := range importRules {
		files, err := filepath.Glob(filepath.Join("../..", folder, "*.go"))
		if err != nil || len(files) == 0 {
			t.Errorf("%s: no Go files (%v): the table importRules is out of date", folder, err)
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
					t.Errorf("%s imports %s: the table importRules does not allow it for %s", file, ours, folder)
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

// readsClock are the directories of rooms that may read the clock: drivers and test
// kits.
var readsClock = []string{"rooms/adapter", "rooms/cluster", "rooms/cluster/clustertest", "rooms/cluster/fleet"}

// The packages of rooms get the time as an argument, so that tests do not depend on
// the clock. The only exception is the origin of monotonic times, of which only
// differences are used.
func TestRoomsDoNotReadTheClock(t *testing.T) {
	var files []string
	for _, folder := range packages(t) {
		if folder != "rooms" && !strings.HasPrefix(folder, "rooms/") || slices.Contains(readsClock, folder) {
			continue
		}
		more, err := filepath.Glob(filepath.Join("../..", folder, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, more...)
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
