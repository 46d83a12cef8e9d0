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
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/testkit"
)

// deployFile returns a file of deploy/.
func deployFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// settingsOf returns the names of the settings and their defaults.
func settingsOf(t *testing.T) map[string]string {
	t.Helper()
	out, err := exec.Command(gatewaytest.Program(t), "config", "--json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var list []struct{ Name, Default string }
	if err := json.Unmarshal(out, &list); err != nil {
		t.Fatal(err)
	}
	defaults := make(map[string]string)
	for _, s := range list {
		defaults[s.Name] = s.Default
	}
	return defaults
}

// allMetricsSettings has the settings of a gateway that exports all metrics. No Redis and no
// RabbitMQ run at these addresses; the metrics are exported all the same.
var allMetricsSettings = []string{
	"ROOM_POLICY=claims", "CANARY=true", "USE_REDIS=true", "REDIS_HOST=127.0.0.1", "REDIS_PORT=1",
	"USE_RABBITMQ=true", "RABBITMQ_HOST=127.0.0.1", "RABBITMQ_PORT=1",
}

// series returns the metrics that a gateway with all its parts exports, each with the
// values of its labels.
func series(t *testing.T) map[string]map[string][]string {
	t.Helper()
	g := start(t, allMetricsSettings...)
	_, text, err := request(http.MethodGet, g.URL+"/metrics", http.Header{"Accept": {"text/plain"}}, "")
	if err != nil {
		t.Fatal(err)
	}
	metrics := make(map[string]map[string][]string)
	for line := range strings.Lines(string(text)) {
		if found := sample.FindStringSubmatch(line); found != nil {
			if metrics[found[1]] == nil {
				metrics[found[1]] = make(map[string][]string)
			}
			for _, label := range matcher.FindAllStringSubmatch(found[2], -1) {
				metrics[found[1]][label[1]] = append(metrics[found[1]][label[1]], label[3])
			}
		}
	}
	return metrics
}

var (
	sample   = regexp.MustCompile(`^(gateway_\w+)(?:\{(.*)\})? `)
	selector = regexp.MustCompile(`(gateway_\w+)(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`(\w+)(=~|!~|!=|=)"([^"]*)"`)
)

// wantSeries checks that a PromQL expression uses only metrics and label values that
// are exported.
func wantSeries(t *testing.T, metrics map[string]map[string][]string, where, expression string) {
	t.Helper()
	found := selector.FindAllStringSubmatch(expression, -1)
	if len(found) == 0 && !strings.HasPrefix(expression, "up{") {
		t.Errorf("%s: no metric of the gateway in %s", where, expression)
	}
	for _, s := range found {
		labels, exported := metrics[s[1]]
		if !exported {
			t.Errorf("%s: nothing exports %s", where, s[1])
			continue
		}
		for _, m := range matcher.FindAllStringSubmatch(s[2], -1) {
			if m[1] == "instance" {
				continue // Prometheus adds this label
			}
			for _, value := range strings.Split(m[3], "|") {
				if !slices.Contains(labels[m[1]], value) {
					t.Errorf("%s: %s has no label %s=%q, only %v", where, s[1], m[1], value, labels)
				}
			}
		}
	}
}

// Every alert and every panel of deploy/ uses metrics and label values that a gateway
// exports.
func TestAlertsAndDashboardUseExportedMetrics(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it exports something else")
	metrics := series(t)

	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Labels      map[string]string
				Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal([]byte(deployFile(t, "prometheus/rules.yaml")), &rules); err != nil {
		t.Fatal(err)
	}
	alerts := 0
	for _, group := range rules.Groups {
		for _, r := range group.Rules {
			alerts++
			wantSeries(t, metrics, r.Alert, r.Expr)
			if r.Alert == "" || r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["action"] == "" {
				t.Errorf("alert %+v: want a name, a severity, a summary and an action", r)
			}
		}
	}

	var dashboard struct {
		Panels []struct {
			ID      int
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(deployFile(t, "grafana/websocket-gateway.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	expressions := 0
	for i, p := range dashboard.Panels {
		if p.ID != i+1 || p.Title == "" {
			t.Errorf("panel %d has id %d and title %q, want its number as id and a title", i+1, p.ID, p.Title)
		}
		for _, target := range p.Targets {
			expressions++
			wantSeries(t, metrics, p.Title, target.Expr)
		}
	}
	if alerts < 10 || expressions < 20 {
		t.Errorf("found %d alerts and %d expressions, want at least 10 and 20", alerts, expressions)
	}
}

// manifest has the fields of a Kubernetes object that are checked.
type manifest struct {
	Kind string
	Spec struct {
		Ports    []struct{ TargetPort string }
		Selector map[string]any
		Template struct {
			Metadata struct{ Labels map[string]string }
			Spec     struct {
				TerminationGracePeriodSeconds int
				Containers                    []container
			}
		}
		MaxUnavailable int
	}
}

type container struct {
	Ports []struct {
		Name          string
		ContainerPort int
	}
	Env []struct {
		Name, Value string
		ValueFrom   map[string]any
	}
	Resources                                   struct{ Limits struct{ Memory string } }
	StartupProbe, ReadinessProbe, LivenessProbe struct{ HTTPGet struct{ Path, Port string } }
	Lifecycle                                   struct {
		PreStop struct{ Sleep struct{ Seconds int } }
	}
}

func manifests(t *testing.T) map[string]manifest {
	t.Helper()
	objects := make(map[string]manifest)
	for document := range strings.SplitSeq(deployFile(t, "kubernetes/websocket-gateway.yaml"), "\n---\n") {
		text, err := yaml.YAMLToJSON([]byte(document)) // JSON, because encoding/json matches field names in any case
		var m manifest
		if err == nil {
			err = json.Unmarshal(text, &m)
		}
		if err != nil {
			t.Fatal(err)
		}
		objects[m.Kind] = m
	}
	return objects
}

// The manifests agree with the gateway: setting names, ports, probes, the time to stop
// and the memory for MAX_CONNECTIONS.
func TestKubernetesManifests(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it is not deployed")
	objects := manifests(t)
	pod := objects["Deployment"].Spec.Template
	if len(pod.Spec.Containers) != 1 || objects["PodDisruptionBudget"].Spec.MaxUnavailable != 1 {
		t.Fatalf("want one container and MaxUnavailable 1: %+v", objects)
	}
	c := pod.Spec.Containers[0]
	env := settingsOf(t)
	for _, e := range c.Env {
		if _, known := env[e.Name]; !known {
			t.Errorf("there is no setting %s", e.Name)
		}
		env[e.Name] = e.Value
	}
	number := func(name string) int {
		n, err := strconv.Atoi(env[name])
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return n
	}
	ports := make(map[string]int)
	for _, p := range c.Ports {
		ports[p.Name] = p.ContainerPort
	}
	if ports["http"] != number("PORT") || fmt.Sprint(":", ports["admin"]) != env["ADMIN_ADDR"] {
		t.Errorf("container ports %v, but PORT=%s and ADMIN_ADDR=%s", ports, env["PORT"], env["ADMIN_ADDR"])
	}
	for probe, want := range map[string][2]string{"/health": {c.StartupProbe.HTTPGet.Path, c.LivenessProbe.HTTPGet.Path}, "/ready": {c.ReadinessProbe.HTTPGet.Path, c.ReadinessProbe.HTTPGet.Path}} {
		if want != [2]string{probe, probe} {
			t.Errorf("probes request %v, want %s", want, probe)
		}
	}
	stop := 1000*c.Lifecycle.PreStop.Sleep.Seconds + number("SHUTDOWN_TIMEOUT")
	if grace := 1000 * pod.Spec.TerminationGracePeriodSeconds; grace <= stop || c.Lifecycle.PreStop.Sleep.Seconds == 0 {
		t.Errorf("grace period of %d ms, want more than the %d ms that stopping takes", grace, stop)
	}
	if service := objects["Service"].Spec; service.Ports[0].TargetPort != "http" || service.Selector["app"] != pod.Metadata.Labels["app"] {
		t.Errorf("service %+v does not find pods %v", service, pod.Metadata.Labels)
	}
	mib, err := strconv.Atoi(strings.TrimSuffix(c.Resources.Limits.Memory, "Mi"))
	if need := 64<<20 + number("MAX_CONNECTIONS")*5546; err != nil || mib<<20 < need {
		t.Errorf("memory limit %s, but %d connections need %d bytes", c.Resources.Limits.Memory, number("MAX_CONNECTIONS"), need)
	}
}

// The unit is valid, as restricted as the docs say, and agrees with the gateway's
// settings.
func TestSystemdUnit(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it has none")
	text := deployFile(t, "systemd/websocket-gateway.service")
	file := filepath.Join(t.TempDir(), "websocket-gateway.service")
	writeFile(t, file, strings.Replace(text, "/usr/bin/gateway", gatewaytest.Program(t), 2))
	if out := run(t, "systemd-analyze", "verify", file); out != "" {
		t.Error(out)
	}
	run(t, "systemd-analyze", "security", "--offline=true", "--threshold=14", file) // docs/operations.md says 1.4
	unit := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(line, "#") {
			unit[name] = value
		}
	}
	defaults := settingsOf(t)
	stop, _ := strconv.Atoi(unit["TimeoutStopSec"])
	if shutdown, _ := strconv.Atoi(defaults["SHUTDOWN_TIMEOUT"]); stop*1000 <= shutdown {
		t.Errorf("TimeoutStopSec=%d, want more than SHUTDOWN_TIMEOUT, %d ms", stop, shutdown)
	}
	for name, want := range map[string]string{"Type": "notify", "NotifyAccess": "all", "RuntimeDirectory": "websocket-gateway", "RuntimeDirectoryMode": "0700", "Restart": "always", "RestartPreventExitStatus": "2", "NoNewPrivileges": "yes"} {
		if unit[name] != want {
			t.Errorf("%s=%q, want %s", name, unit[name], want)
		}
	}
	if !strings.Contains(deployFile(t, "systemd/service.env"), "\nHANDOVER_SOCKET=/run/websocket-gateway/") {
		t.Error("HANDOVER_SOCKET is not in the RuntimeDirectory of the unit")
	}
	for line := range strings.Lines(deployFile(t, "systemd/service.env")) {
		if name, _, found := strings.Cut(line, "="); found && !strings.HasPrefix(line, "#") && !hasKey(defaults, name) {
			t.Errorf("there is no setting %s", name)
		}
	}
	if n, err := strconv.Atoi(unit["WatchdogSec"]); err != nil || n < 2 {
		t.Errorf("WatchdogSec=%q, want 2 or more", unit["WatchdogSec"])
	}
}

func hasKey(m map[string]string, key string) bool { _, ok := m[key]; return ok }

// HAProxy parses the configuration that compose.yaml uses. It is not started: its
// server names resolve only inside Docker.
func TestHAProxyAcceptsTheConfigurationOfCompose(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it is not in compose.yaml")
	testkit.NeedProgram(t, "/usr/sbin/haproxy")
	out, err := exec.Command("/usr/sbin/haproxy", "-c", "-f", "../../deploy/haproxy.cfg").CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
