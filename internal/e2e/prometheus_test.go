package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/testkit"
)

// prometheus is a running server of Debian's package.
type prometheus struct{ url string }

// startPrometheus runs Prometheus with the package's example configuration, after
// edit.
func (i *installed) startPrometheus(t *testing.T, edit *strings.Replacer) prometheus {
	t.Helper()
	examples, dir := filepath.Join(i.root, "usr/share/doc/websocket-gateway/examples/prometheus"), t.TempDir()
	writeFile(t, filepath.Join(dir, "rules.yaml"), read(t, filepath.Join(examples, "rules.yaml")))
	writeFile(t, filepath.Join(dir, "metrics-token"), "a token for metrics")
	config := filepath.Join(dir, "prometheus.yaml")
	writeFile(t, config, edit.Replace(read(t, filepath.Join(examples, "prometheus.yaml"))))
	run(t, "promtool", "check", "config", config)
	address := fmt.Sprint("127.0.0.1:", gatewaytest.FreePort(t))
	cmd := exec.Command("prometheus", "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out gatewaytest.Output
	cmd.Stdout, cmd.Stderr = &out, &out
	testkit.NeedProgram(t, "prometheus")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(out.String())
		}
	})
	return prometheus{"http://" + address}
}

// value returns the first value of an expression, "" if there is none.
func (p prometheus) value(expression string) string {
	_, body, err := get(p.url + "/api/v1/query?query=" + url.QueryEscape(expression))
	var answer struct {
		Data struct{ Result []struct{ Value [2]any } }
	}
	if err != nil || json.Unmarshal(body, &answer) != nil || len(answer.Data.Result) == 0 {
		return ""
	}
	return fmt.Sprint(answer.Data.Result[0].Value[1])
}

func (p prometheus) await(t *testing.T, expression, want string) {
	t.Helper()
	gatewaytest.Await(t, expression+" to be "+want, func() bool { return p.value(expression) == want })
}

const bothTargets = `"gateway-1.internal:9100", "gateway-2.internal:9100"`

func TestPrometheusScrapesTheInstalledGateway(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it is not packaged")
	admin := fmt.Sprint("127.0.0.1:", gatewaytest.FreePort(t))
	i := install(t, "ADMIN_ADDR="+admin, "METRICS_TOKEN=a token for metrics")
	i.Launch()
	i.dial(t, "ann", false)
	p := i.startPrometheus(t, strings.NewReplacer(bothTargets, `"`+admin+`"`, ": 15s", ": 200ms"))
	p.await(t, `up{job="websocket-gateway"}`, "1")
	p.await(t, `gateway_sockets{job="websocket-gateway"}`, "1")
	if got := p.value(`ALERTS{alertname="GatewayDown"}`); got != "" {
		t.Error("GatewayDown is pending or firing although the gateway is up")
	}
	i.Stop()
	p.await(t, `up{job="websocket-gateway"}`, "0")
	p.await(t, `ALERTS{alertname="GatewayDown"}`, "1")
}

func TestPrometheusScrapesThePublicPortWithTheToken(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it is not packaged")
	i := install(t, "METRICS_TOKEN=a token for metrics")
	i.Launch()
	text := read(t, filepath.Join(i.root, "usr/share/doc/websocket-gateway/examples/prometheus/prometheus.yaml"))
	_, rest, _ := strings.Cut(text, "scrape_configs:")
	_, block, _ := strings.Cut(rest, "METRICS_TOKEN guards it.\n")
	block, _, _ = strings.Cut(block, "\n\n")
	used := strings.ReplaceAll(block, "  #", "  ")
	p := i.startPrometheus(t, strings.NewReplacer(rest, "\n"+used+"\n", ": 15s", ": 200ms"))
	if !strings.Contains(used, "credentials_file") {
		t.Fatalf("the example of the public port is not found: %q", used)
	}
	p.await(t, `up{job="websocket-gateway"}`, "0") // no server has that name
	q := i.startPrometheus(t, strings.NewReplacer(rest, "\n"+strings.Replace(used, "gateway-1.internal:3002", i.Addr, 1)+"\n", ": 15s", ": 200ms"))
	q.await(t, `up{job="websocket-gateway"}`, "1")
}

// The settings of the Kubernetes manifest let Prometheus scrape the admin port without
// a token: scrapers that follow the annotations have none.
func TestKubernetesPodIsScrapedWithoutAToken(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it is not deployed")
	var settings []string
	policy := ""
	for _, e := range manifests(t)["Deployment"].Spec.Template.Spec.Containers[0].Env {
		switch e.Name {
		case "ROOM_POLICY":
			policy = e.Value
			settings = append(settings, e.Name+"="+e.Value)
		case "METRICS_TOKEN":
			settings = append(settings, "METRICS_TOKEN=a token for metrics")
		case "NODE_ENV", "CORS_ORIGIN", "EVENT_LOOPS", "DRAIN_PERIOD", "SHUTDOWN_TIMEOUT", "NOTIFICATION_ROOMS":
			settings = append(settings, e.Name+"="+e.Value)
		}
	}
	if policy == "" || policy == "open" {
		t.Errorf("ROOM_POLICY=%s: every user may join every room", policy)
	}
	admin := fmt.Sprint("127.0.0.1:", gatewaytest.FreePort(t))
	g := start(t, append(settings, "DRAIN_PERIOD=100", "ADMIN_ADDR="+admin, "JWT_SECRET=b3Jh7Vq1XzPzYk0u9mQ2sT4wE6rLcNaD5fGhJkMx")...)
	status, body, err := request(http.MethodGet, "http://"+admin+"/metrics", http.Header{"Accept": {"text/plain"}}, "")
	if status != http.StatusOK || !strings.Contains(string(body), "gateway_connections") {
		t.Errorf("scrape without a token: %d %.200s %v, want 200 with metrics", status, body, err)
	}
	if strings.Contains(g.Out.String(), "not safe") {
		t.Errorf("the gateway warns about the manifest's settings: %s", g.Out)
	}
}

// deploy/version makes versions of commits and tags that Debian sorts in the order of
// the commits.
func TestVersionsSortInDebianOrder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "deploy"), 0o755); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(dir, "deploy/version")
	writeFile(t, script, read(t, "../../deploy/version"))
	day := 0
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@t"}, args...)...)
		day++
		date := fmt.Sprintf("2026-01-%02dT12:00:00Z", day)
		cmd.Env = append(os.Environ(), "GIT_COMMITTER_DATE="+date, "GIT_AUTHOR_DATE="+date)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v %s", args, err, out)
		}
	}
	version := func() string { t.Helper(); return strings.TrimSpace(run(t, "sh", script)) }
	git("init", "-q")
	git("add", ".")
	var order []string
	for _, step := range [][]string{
		{"commit", "-q", "-m", "one"}, {"commit", "-q", "--allow-empty", "-m", "two"}, {"tag", "v1.0.0"},
		{"commit", "-q", "--allow-empty", "-m", "three"}, {"commit", "-q", "--allow-empty", "-m", "four"}, {"tag", "v1.0.1"},
	} {
		git(step...)
		order = append(order, version())
	}
	for n, want := range []string{"0+git20260103120000.", "0+git20260104120000.", "1.0.0", "1.0.0+git20260106", "1.0.0+git20260107", "1.0.1"} {
		if !strings.HasPrefix(order[n], want) {
			t.Errorf("version %s, want %s…", order[n], want)
		}
		if n > 0 {
			run(t, "dpkg", "--compare-versions", order[n-1], "lt", order[n])
		}
	}
	if order[2] != "1.0.0" || order[5] != "1.0.1" {
		t.Errorf("versions of the commits: %q, want 1.0.0 and 1.0.1 for the tags", order)
	}
	writeFile(t, script, read(t, script)+"\n# changed\n")
	if got := version(); got != "1.0.1+dirty" {
		t.Errorf("version of a changed work tree: %s, want 1.0.1+dirty", got)
	}
}

// make passes the version to the builds of the program, the image and the package,
// which do not see the repository.
func TestBuildsGetTheirVersionFromMake(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]string{"build": "-X main.release=1.0.0'", "image": "--build-arg VERSION=1.0.0 ", "package": `build "1.0.0"`} {
		wantIn(t, "make "+target, run(t, "make", "-C", "../..", "-n", target, "VERSION=1.0.0"), want)
	}
	version := strings.TrimSpace(run(t, "../../deploy/version"))
	wantIn(t, "make build", run(t, "make", "-C", "../..", "-n", "build"), "-X main.release="+version+"'")
	wantIn(t, "Dockerfile", read(t, "../../Dockerfile"), "ARG VERSION=0+", "main.release=${VERSION}")
}
