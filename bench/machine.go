package main

import (
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hometrip/gateway/bench/report"
)

func describeMachine(pinned bool) report.Machine {
	m := report.Machine{Cores: runtime.NumCPU(), Go: runtime.Version(), Pinned: pinned}
	m.CPU = lineAfter("/proc/cpuinfo", "model name")
	m.OS = strings.Trim(lineAfter("/etc/os-release", "PRETTY_NAME"), `"`)
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		m.MemoryMiB = memInfo(string(b), "MemTotal:") >> 20
	}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.LoadAvg = strings.Join(strings.Fields(string(b))[:3], " ")
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil {
		m.NoFile = limit.Cur
	}
	return m
}

// lineAfter returns the value of the first "name : value" or "name=value".
func lineAfter(path, name string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, name) {
			return strings.Trim(strings.TrimPrefix(line, name), " \t\n:=")
		}
	}
	return ""
}
