package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hometrip/gateway/internal/config"
	"github.com/hometrip/gateway/internal/doctor"
)

// A running is a running gateway process, as /proc shows it.
type running struct {
	pid         int
	settings    map[string]string // in effect
	descriptors uint64            // RLIMIT_NOFILE; 0: cannot be read
}

// findRunning returns the running gateways of the same program, or of the one
// that an upgrade has replaced, whose memory this user may read. If directory
// is not "", only those that work in it.
func findRunning(proc, program, directory string) (found []running) {
	entries, _ := filepath.Glob(filepath.Join(proc, "[0-9]*"))
	for _, process := range entries {
		pid, _ := strconv.Atoi(filepath.Base(process))
		exe, err := os.Readlink(filepath.Join(process, "exe"))
		if err != nil || pid == os.Getpid() || strings.TrimSuffix(exe, " (deleted)") != program {
			continue
		}
		if cwd, err := os.Readlink(filepath.Join(process, "cwd")); directory != "" && (err != nil || cwd != directory) {
			continue
		}
		if settings := settingsOf(process); settings != nil {
			found = append(found, running{pid: pid, settings: settings, descriptors: descriptorsOf(process)})
		}
	}
	return found
}

// settingsOf reads the settings that a process has published, nil if it has
// none.
func settingsOf(process string) map[string]string {
	links, _ := filepath.Glob(filepath.Join(process, "fd", "*"))
	for _, fd := range links {
		if link, err := os.Readlink(fd); err != nil || !strings.HasPrefix(link, "/memfd:"+settingsMemfdName) {
			continue
		}
		text, err := os.ReadFile(fd)
		if err != nil || len(text) == 0 {
			return nil
		}
		values := make(map[string]string)
		for line := range bytes.SplitSeq(text, []byte{0}) {
			name, value, _ := strings.Cut(string(line), "=")
			values[name] = value
		}
		return values
	}
	return nil
}

func descriptorsOf(process string) uint64 {
	text, _ := os.ReadFile(filepath.Join(process, "limits"))
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "Max open files"); ok && len(strings.Fields(rest)) > 0 {
			n, _ := strconv.ParseUint(strings.Fields(rest)[0], 10, 64)
			return n
		}
	}
	return 0
}

// runningHere returns the running gateways that use the settings of l.
func runningHere(l *config.Loaded) []running {
	program, err := os.Executable()
	if err != nil {
		return nil
	}
	directory := ""
	if l.Installation == nil {
		directory, _ = os.Getwd()
	}
	return findRunning("/proc", program, directory)
}

// compareSettings reports how the settings of a process differ from those on
// disk.
func compareSettings(l *config.Loaded, r running) []doctor.Finding {
	var findings []doctor.Finding
	for _, s := range config.Settings() {
		disk, process := s.Text(&l.Config), r.settings[s.Name]
		if disk == process || s.Name == "JWT_SECRET" && l.Auth.EphemeralSecret {
			continue
		}
		found := fmt.Sprintf("%q in effect, %q on disk", s.Show(process), s.Show(disk))
		if s.Secret {
			found = "another value in effect than on disk"
		}
		findings = append(findings, doctor.Finding{Check: s.Name, Verdict: doctor.Warn, Found: found,
			Want: "the same in both", Do: applies(&s, r.pid)})
	}
	if findings == nil {
		findings = []doctor.Finding{{Check: "settings", Verdict: doctor.OK, Found: "as on disk"}}
	}
	return doctor.In(fmt.Sprintf("process %d", r.pid), findings)
}

// applies says how a process gets the value that a setting has on disk.
func applies(s *config.Setting, pid int) string {
	switch {
	case s.Name == "PORT" || s.Name == "SERVICE_HOST": // a hand-over is refused
		return "systemctl restart applies it; clients are disconnected"
	case s.Reload:
		return fmt.Sprintf("systemctl reload, or gateway handover, applies it; kill -HUP %d too", pid)
	}
	return "systemctl reload, or gateway handover, applies it"
}

// compareProcesses compares the settings of all running gateways.
func compareProcesses(l *config.Loaded, found []running) (findings []doctor.Finding) {
	for _, r := range found {
		findings = append(findings, compareSettings(l, r)...)
	}
	if len(found) == 0 {
		findings = doctor.In("process", []doctor.Finding{{Check: "settings", Verdict: doctor.Skip,
			Found: "no gateway runs here that this user may look into"}})
	}
	return findings
}

// descriptorLimit returns RLIMIT_NOFILE of the gateway: of the running process,
// otherwise of the unit, otherwise of this process.
func descriptorLimit(l *config.Loaded, found []running, own uint64) uint64 {
	for _, r := range found {
		if r.descriptors > 0 {
			return r.descriptors
		}
	}
	if l.Installation != nil && l.Installation.Descriptors > 0 {
		return l.Installation.Descriptors
	}
	return own
}
