package main

import (
	"strings"
	"testing"
)

func TestFleetIsRefusedWithTheLimitThatIsTooLow(t *testing.T) {
	enough := fleetLimits{descriptors: 20000, ports: 28232, tcpPages: 383868, free: 16 << 30}
	if reason := enough.refuse(fleetProcesses); reason != "" {
		t.Errorf("refused although there is enough of everything: %q", reason)
	}
	for want, change := range map[string]func(*fleetLimits){
		"RLIMIT_NOFILE": func(l *fleetLimits) { l.descriptors = 1024 },
		"ports":         func(l *fleetLimits) { l.ports = 100 },
		"tcp_mem":       func(l *fleetLimits) { l.tcpPages = 50000 },
		"MiB":           func(l *fleetLimits) { l.free = 1 << 30 },
	} {
		little := enough
		change(&little)
		if reason := little.refuse(fleetProcesses); !strings.Contains(reason, want) {
			t.Errorf("%q, want it to name %s", reason, want)
		}
	}
}
