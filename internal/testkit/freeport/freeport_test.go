package freeport

import (
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
)

func TestPortsAreFreeAndDistinct(t *testing.T) {
	seen := make(map[int]bool)
	for range 50 {
		port, err := Find()
		if err != nil {
			t.Fatal(err)
		}
		if seen[port] {
			t.Errorf("port %d was returned twice", port)
		}
		seen[port] = true
		for _, p := range []int{port, port + bus} {
			l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p)))
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
		}
	}
}

func TestPortsAreOutsideTheEphemeralRange(t *testing.T) {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		t.Fatal(err)
	}
	least, err := strconv.Atoi(strings.Fields(string(b))[0])
	if err != nil || last+bus > least {
		t.Errorf("outgoing connections use ports from %d on, want servers to get only lower ones; they get up to %d (%v)", least, last+bus, err)
	}
}
