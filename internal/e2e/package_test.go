package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/testkit"
)

// run runs a program to its end and returns its output.
func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	testkit.NeedProgram(t, program)
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", program, args, err, out)
	}
	return string(out)
}

// The Debian package has the right metadata, file modes, scripts and files. It is
// unpacked, not installed.
func TestDebianPackage(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it is not packaged")
	dir := t.TempDir()
	arch := strings.TrimSpace(run(t, "dpkg", "--print-architecture"))
	run(t, "../../deploy/deb/build", "1.2.3", arch, gatewaytest.Program(t), dir)
	file := filepath.Join(dir, "websocket-gateway_1.2.3_"+arch+".deb")
	for field, want := range map[string]string{"Package": "websocket-gateway", "Version": "1.2.3", "Architecture": arch} {
		if got := strings.TrimSpace(run(t, "dpkg-deb", "-f", file, field)); got != want {
			t.Errorf("%s: %s, want %s", field, got, want)
		}
	}
	root, control := filepath.Join(dir, "root"), filepath.Join(dir, "control")
	run(t, "dpkg-deb", "-x", file, root)
	run(t, "dpkg-deb", "-e", file, control)
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		run(t, "sh", "-n", filepath.Join(control, script))
	}
	if out := run(t, filepath.Join(root, "usr/bin/gateway"), "version"); !strings.HasPrefix(out, "gateway ") {
		t.Errorf("gateway version printed %s", out)
	}
	settings := filepath.Join(root, "etc/default/websocket-gateway")
	if info, err := os.Stat(settings); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the file for secrets: %v, %v, want mode 0640", info, err)
	}
	if files := run(t, "cat", filepath.Join(control, "conffiles")); files != "/etc/default/websocket-gateway\n" {
		t.Errorf("conffiles: %s, want the settings file", files)
	}
	for _, gone := range []string{"usr/sbin/websocket-gateway-handover", "usr/lib/systemd/system/websocket-gateway@.service"} {
		if _, err := os.Stat(filepath.Join(root, gone)); err == nil {
			t.Errorf("%s is in the package, want one unit only", gone)
		}
	}
	// The paths in the unit exist in the package.
	unit := run(t, "cat", filepath.Join(root, "usr/lib/systemd/system/websocket-gateway.service"))
	for _, path := range regexp.MustCompile(`(?:ExecStart=|ExecReload=|--env-file )(\S+)`).FindAllStringSubmatch(unit, -1) {
		if _, err := os.Stat(filepath.Join(root, path[1])); err != nil {
			t.Errorf("the unit names %s: %v", path[1], err)
		}
	}
	doc := filepath.Join(root, "usr/share/doc/websocket-gateway")
	wantLinks(t, doc, "README.md", "SECURITY.md", "docs/operations.md")
	for _, path := range []string{
		"usr/lib/systemd/system/websocket-gateway.service",
		"usr/share/doc/websocket-gateway/copyright", "usr/share/doc/websocket-gateway/licences.gz",
		"usr/share/bash-completion/completions/gateway",
	} {
		if info, err := os.Stat(filepath.Join(root, path)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
}

// wantLinks checks that these pages, and all files that they link to, exist below a
// directory.
func wantLinks(t *testing.T, folder string, pages ...string) {
	t.Helper()
	link := regexp.MustCompile(`\]\(([^)#:]+)[)#]`)
	seen := make(map[string]bool)
	for len(pages) > 0 {
		page := pages[0]
		pages = pages[1:]
		if seen[page] {
			continue
		}
		seen[page] = true
		for _, to := range link.FindAllStringSubmatch(read(t, filepath.Join(folder, page)), -1) {
			target := filepath.Join(filepath.Dir(page), to[1])
			if _, err := os.Stat(filepath.Join(folder, target)); err != nil {
				t.Errorf("%s of the package links %s: %v", page, to[1], err)
			} else if filepath.Ext(target) == ".md" {
				pages = append(pages, target)
			}
		}
	}
}
