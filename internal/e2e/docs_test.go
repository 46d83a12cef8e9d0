package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/internal/testkit/brokertest"
)

// pages returns the documentation pages whose commands and programs are run.
func pages(t *testing.T) []string {
	t.Helper()
	list, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(list) < 5 {
		t.Fatalf("%v: %d pages in docs/", err, len(list))
	}
	return append(list, "../../README.md", "../../SECURITY.md", "../../CONTRIBUTING.md", "../../ARCHITECTURE.md")
}

// block is a fenced block of a page, or an HTML comment that is run together with
// the blocks around it and is invisible to readers: <!-- js … --> or <!-- python …
// -->. <!-- js new --> begins a new program.
type block struct {
	language, text string
	line           int
	generated      bool // between NAME:begin and NAME:end; tests of the generating code cover it
}

var fence = regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$|^<!-- (js|python)\\b(.*?)-->$|^<!-- \\w[-\\w]*:(begin|end) -->$")

func blocks(page string) (list []block) {
	generated := false
	for _, at := range fence.FindAllStringSubmatchIndex(page, -1) {
		part := func(i int) string {
			if at[2*i] < 0 {
				return ""
			}
			return page[at[2*i]:at[2*i+1]]
		}
		if edge := part(5); edge != "" {
			generated = edge == "begin"
			continue
		}
		list = append(list, block{
			part(1) + part(3), part(2) + part(4), strings.Count(page[:at[0]], "\n") + 1, generated,
		})
	}
	return list
}

// eachBlock calls run once for each page, with its blocks of this language.
func eachBlock(t *testing.T, language string, run func(t *testing.T, page string, list []block)) {
	t.Helper()
	for _, path := range pages(t) {
		list := slices.DeleteFunc(blocks(read(t, path)), func(b block) bool { return b.language != language || b.generated })
		if len(list) > 0 {
			t.Run(filepath.Base(path), func(t *testing.T) { run(t, path, list) })
		}
	}
}

// Every block of the docs has a language that one of these tests runs or checks.
func TestDocsUseOnlyTestedBlockLanguages(t *testing.T) {
	for _, path := range pages(t) {
		for _, b := range blocks(read(t, path)) {
			if !slices.Contains([]string{"sh", "js", "ts", "python", "yaml", "env", "json", "text"}, b.language) {
				t.Errorf("%s:%d: a block of language %q, which no test runs", path, b.line, b.language)
			}
		}
	}
}

// programs joins blocks into programs. <!-- js new --> begins another one.
func programs(list []block) (texts []string) {
	text := ""
	for _, b := range list {
		if strings.TrimSpace(b.text) == "new" {
			if text != "" {
				texts = append(texts, text)
			}
			text = ""
			continue
		}
		text += b.text + "\n"
	}
	return append(texts, text)
}

func TestJavaScriptInTheDocs(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it has no POST /events")
	g := start(t)
	eachBlock(t, "js", func(t *testing.T, _ string, list []block) {
		for _, program := range programs(list) {
			if !strings.Contains(program, "import {") {
				program = "import { io } from \"socket.io-client\";\nconst url = process.env.GATEWAY_URL;\n" + program
			}
			cmd := script(t, g, "default", "--input-type=module")
			cmd.Env = append(cmd.Env, "PUBLISH_TOKEN="+gatewaytest.PublishToken)
			cmd.Stdin = strings.NewReader("import \"./docs.mjs\";\n" + g.here(program) + "\nprocess.exit(0);\n")
			finish(t, cmd, program)
		}
	})
}

func TestPythonInTheDocs(t *testing.T) {
	t.Parallel()
	g := start(t)
	eachBlock(t, "python", func(t *testing.T, _ string, list []block) {
		for _, program := range programs(list) {
			needPython(t)
			cmd := exec.Command(debianPython, "-")
			cmd.Stdin = strings.NewReader(fmt.Sprintf("token = %q\n", gatewaytest.Token(t, "42")) + g.here(program) + "\nprint('ran to its end')\n")
			finish(t, cmd, program)
		}
	})
}

// here replaces the address used in the docs with the address of the gateway.
func (g *gateway) here(text string) string { return strings.ReplaceAll(text, "localhost:3002", g.Addr) }

// finish runs a program, which must reach its last line.
func finish(t *testing.T, cmd *exec.Cmd, program string) {
	t.Helper()
	timer := time.AfterFunc(casesTimeout, func() { cmd.Process.Kill() })
	defer timer.Stop()
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "ran to its end") {
		t.Errorf("%v\n%s\n%s", err, out, program)
	}
}

// The TypeScript examples compile with the types of socket.io-client.
func TestTypeScriptInTheDocs(t *testing.T) {
	t.Parallel()
	compiler := absolute(t, "js/node_modules/typescript/bin/tsc")
	testkit.NeedFile(t, compiler, "typescript of npm")
	eachBlock(t, "ts", func(t *testing.T, _ string, list []block) {
		dir := t.TempDir()
		if err := os.Symlink(absolute(t, "js/node_modules"), filepath.Join(dir, "node_modules")); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "snippet.ts")
		writeFile(t, file, programs(list)[0])
		run(t, "node", compiler, "--noEmit", "--strict", "--skipLibCheck", "--target", "es2022", "--module", "nodenext", file)
	})
}

// The protocol examples are played against a gateway: it must answer as they show.
func TestProtocolInTheDocs(t *testing.T) {
	t.Parallel()
	g := start(t, "PING_INTERVAL=1s")
	shown := 0
	eachBlock(t, "text", func(t *testing.T, _ string, list []block) {
		for _, b := range list {
			if lines := strings.Split(strings.TrimSpace(b.text), "\n"); strings.HasPrefix(lines[0], "> open ws://") {
				shown++
				g.converse(t, lines)
			}
		}
	})
	if shown == 0 {
		t.Error("no block of text begins with > open ws://")
	}
}

// converse sends the lines that begin with > and expects those that begin with <.
func (g *gateway) converse(t *testing.T, lines []string) {
	t.Helper()
	query := strings.TrimPrefix(lines[0], "> open ws://localhost:3002/socket.io/?EIO=4&transport=websocket")
	r := g.webSocket(t, query)
	for _, line := range lines[1:] {
		text := strings.ReplaceAll(line[2:], "TOKEN", gatewaytest.Token(t, "42"))
		if line[0] == '>' {
			r.text(text)
			continue
		}
		prefix, _, _ := strings.Cut(text, "…")
		want := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(text), "…", ".*") + "$")
		if got := r.wantPrefix(prefix); !want.MatchString(got) {
			t.Errorf("got %s, want %s as in the docs", got, text)
		}
	}
}

// Prometheus accepts the scrape configurations in the docs.
func TestScrapeConfigurationsInTheDocs(t *testing.T) {
	t.Parallel()
	eachBlock(t, "yaml", func(t *testing.T, _ string, list []block) {
		for _, b := range list {
			if strings.Contains(b.text, "scrape_configs:") {
				file := filepath.Join(t.TempDir(), "prometheus.yaml")
				writeFile(t, file, b.text)
				run(t, "promtool", "check", "config", file)
			}
		}
	})
}

// Blocks marked as JSON are valid JSON.
func TestJSONInTheDocs(t *testing.T) {
	eachBlock(t, "json", func(t *testing.T, path string, list []block) {
		for _, b := range list {
			if !json.Valid([]byte(b.text)) {
				t.Errorf("%s:%d: not JSON:\n%s", path, b.line, b.text)
			}
		}
	})
}

// Settings shown in the docs exist, their values are valid, and they cause no warning
// in production.
func TestSettingsInTheDocs(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it has other settings")
	eachBlock(t, "env", func(t *testing.T, path string, list []block) {
		for _, b := range list {
			file := filepath.Join(t.TempDir(), "env")
			writeFile(t, file, strings.ReplaceAll(b.text, "…", "a-secret-of-thirty-two-characters"))
			cmd := exec.Command(gatewaytest.Program(t), "config", "--env-file", file)
			cmd.Env = []string{"NODE_ENV=production", "LOG_DIR="}
			if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "# warning") {
				t.Errorf("%s:%d: %v\n%s", path, b.line, err, out)
			}
		}
	})
}

// The commands in the docs are run by bash, block after block, in a directory with
// links to the repository's files. Commands that would change the machine are replaced
// by stubs, which check that the files and make targets in their arguments exist.
func TestCommandsInTheDocs(t *testing.T) {
	t.Parallel()
	h := newFixture(t, "docs", "routes: []\n")
	started := start(t, "PUBLISH_TOKEN=") // as make run starts it
	bin := stubCommands(t)
	eachBlock(t, "sh", func(t *testing.T, path string, list []block) {
		dir, g := linkRepository(t), h.gateway
		if filepath.Base(path) == "README.md" {
			g = started
		}
		for _, b := range list {
			cmd := exec.Command("bash", "-euo", "pipefail", "-c", g.here(b.text))
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "LOG_DIR=", "GATEWAY="+gatewaytest.Program(t),
				"JWT_SECRET="+gatewaytest.Secret, "PUBLISH_TOKEN="+gatewaytest.PublishToken, "USE_REDIS=false",
				"RABBITMQ_URL="+brokertest.Shared(t).URL, "RABBITMQ_EXCHANGE="+h.name, "RABBITMQ_QUEUE_PREFIX="+h.name)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s:%d: %v\n%s\n%s", path, b.line, err, b.text, out)
			} else {
				t.Logf("%s:%d:\n%s", path, b.line, out)
			}
		}
	})
}

// linkRepository returns a directory with links to the repository's files.
func linkRepository(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	entries, err := os.ReadDir("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if name := e.Name(); name != ".git" && name != ".env" {
			if err := os.Symlink(absolute(t, "../../"+name), filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// stubCommands returns a directory of stub commands, to be put before the machine's in
// PATH.
func stubCommands(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	check := `#!/bin/bash
# Files of the repository that are named must exist.
for word in "$@"; do
	case $word in deploy/* | docs/* | *.yaml) [ -e "$word" ] || { echo "$0: there is no $word" >&2; exit 1; } ;; esac
done
`
	for name, rest := range map[string]string{
		// What the doctor reports depends on the machine, so its exit code 1 is
		// accepted. handover and explain have tests of their own; explain needs a
		// gateway with ADMIN_ADDR.
		"gateway": `case $1 in handover | explain) set -- "$@" --help ;; esac
"$GATEWAY" "$@" || [ $? = 1 -a "$1" = doctor ]`,
		"make": `exec /usr/bin/make -n "$@" >/dev/null`,
		"curl": `exec /usr/bin/curl --fail-with-body "$@"`,
		"sudo": `case $1 in
apt | apt-get | dpkg | systemctl | sysctl | cp | install | websocket-gateway-handover) ;;
gateway) exec "$@" ;;
*) echo "sudo: what is $1?" >&2; exit 1 ;;
esac`,
		"sudoedit": "", "systemctl": "", "journalctl": "", "kubectl": "", "rabbitmqctl": "", "npm": "", "go": "",
		"docker": `[ "$1" != compose ] || grep -q websocket-gateway: compose.yaml`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(check+rest+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Each metric that a gateway exports is in docs/metrics.md with its type.
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it exports something else")
	page := read(t, "../../docs/metrics.md")
	g := start(t, slices.Concat(allMetricsSettings, []string{"SOCKETIO_ADAPTER_KEY=socket.io"})...)
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
		t.Errorf("%d metrics are exported, want 50 or more and at most the %d of docs/metrics.md", exported, rows)
	}
}
