package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tree writes files below a new directory and returns the directory.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// goodHost returns files of a host without any problem.
func goodHost() (proc, sys map[string]string) {
	return map[string]string{
			"sys/net/core/somaxconn":               "4096\n",
			"sys/net/ipv4/ip_local_port_range":     "1024\t65535\n",
			"sys/net/ipv4/tcp_mem":                 "100000\t200000\t300000\n",
			"sys/net/netfilter/nf_conntrack_max":   "262144\n",
			"sys/net/netfilter/nf_conntrack_count": "12\n",
			"meminfo":                              "MemTotal:       16000000 kB\nMemFree: 1 kB\n",
			"self/cgroup":                          "0::/system.slice/gateway.service\n",
		}, map[string]string{
			"fs/cgroup/system.slice/memory.max":                 "4294967296\n",
			"fs/cgroup/system.slice/gateway.service/memory.max": "max\n",
		}
}

// The doctor reads limits of the kernel, the process and the cgroup. Each value that
// is too small for the configured connections must be reported.
func TestHost(t *testing.T) {
	for _, c := range []struct {
		name   string
		file   string // in proc, or in sys if it begins with fs/
		text   string
		change func(*Host)
		check  string
		want   Verdict
		says   string
	}{
		{name: "descriptors for the setting", check: "descriptors", want: OK, says: "50000 connections"},
		{name: "too few descriptors", change: func(h *Host) { h.Descriptors = 50_000 }, check: "descriptors", want: Fail, says: "50512"},
		{name: "descriptors without a configured limit", change: func(h *Host) { h.Connections = 0 }, check: "descriptors", want: OK, says: "for 99488 connections"},
		{name: "the usual limit", change: func(h *Host) { h.Connections, h.Descriptors = 0, 1024 }, check: "descriptors", want: Warn, says: "for 512 connections"},
		{name: "a queue", check: "net.core.somaxconn", want: OK},
		{name: "a short queue", file: "sys/net/core/somaxconn", text: "128", check: "net.core.somaxconn", want: Warn, says: `sysctl -w net.core.somaxconn="4096"`},
		{name: "no such setting", file: "sys/net/core/somaxconn", text: "", check: "net.core.somaxconn", want: Skip},
		{name: "ports", check: "net.ipv4.ip_local_port_range", want: OK, says: "64512 ports"},
		{name: "few ports", file: "sys/net/ipv4/ip_local_port_range", text: "32768 60999", check: "net.ipv4.ip_local_port_range", want: Warn, says: "28232 ports"},
		{name: "socket memory", check: "net.ipv4.tcp_mem", want: OK, says: "200000"},
		{name: "little socket memory", file: "sys/net/ipv4/tcp_mem", text: "10000 20000 30000", check: "net.ipv4.tcp_mem", want: Warn, says: `"50000 100000 150000"`},
		{name: "conntrack", check: "net.netfilter.nf_conntrack_max", want: OK},
		{name: "a small table", file: "sys/net/netfilter/nf_conntrack_max", text: "10000", check: "net.netfilter.nf_conntrack_max", want: Warn, says: "100000"},
		{name: "a full table", file: "sys/net/netfilter/nf_conntrack_count", text: "250000", check: "net.netfilter.nf_conntrack_max", want: Warn, says: "250000 are in use"},
		{name: "memory of the cgroup above", check: "memory", want: OK, says: "4096 MiB of the cgroup"},
		{name: "a tight cgroup", file: "fs/cgroup/system.slice/gateway.service/memory.max", text: "134217728", check: "memory", want: Warn, says: "MAX_CONNECTIONS=12100"},
		{name: "a container", file: "self/cgroup", text: "0::/../elsewhere", check: "memory", want: OK, says: "of the machine"},
		{name: "a small machine", file: "meminfo", text: "MemTotal: 200000 kB", check: "memory", want: Warn, says: "195 MiB of the machine"},
		{name: "cgroup v1", file: "self/cgroup", text: "5:cpu,memory:/docker/abc\n1:name=systemd:/\n", check: "memory", want: Warn, says: "256 MiB of the cgroup"},
	} {
		t.Run(c.name, func(t *testing.T) {
			proc, sys := goodHost()
			sys["fs/cgroup/memory/docker/abc/memory.limit_in_bytes"] = "268435456"
			if strings.HasPrefix(c.file, "fs/") {
				sys[c.file] = c.text
			} else if c.file != "" {
				proc[c.file] = c.text
			}
			h := Host{Proc: tree(t, proc), Sys: tree(t, sys), Descriptors: 100_000, Reserve: 512, Connections: 50_000}
			if c.change != nil {
				c.change(&h)
			}
			wantFinding(t, h.Check(), c.check, c.want, c.says)
		})
	}
}

// wantFinding checks a finding's verdict and that it contains these words. A warning
// or failure must say what to do.
func wantFinding(t *testing.T, findings []Finding, check string, want Verdict, says string) {
	t.Helper()
	for _, f := range findings {
		if f.Check != check {
			continue
		}
		if f.Verdict != want || !strings.Contains(f.Found+" "+f.Want+" "+f.Do, says) {
			t.Errorf("%+v: want %s and the words %q", f, want, says)
		}
		if advice := f.Verdict == Warn || f.Verdict == Fail; f.Found == "" || advice != (f.Want != "" && f.Do != "") {
			t.Errorf("%+v: want what was found, and what to do exactly when something is wrong", f)
		}
		return
	}
	t.Errorf("no finding %s in %+v", check, findings)
}
