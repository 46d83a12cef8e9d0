package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	minBacklog     = 4096 // connections waiting to be accepted: everybody comes back after a restart
	fewDescriptors = 4096
	conntrackShare = 80 // percent of the table in use that is too much
)

// A Host is the machine as the gateway's process sees it.
type Host struct {
	Proc, Sys   string // where /proc and /sys are
	Descriptors uint64 // RLIMIT_NOFILE
	Reserve     int    // descriptors kept for other things than connections
	Connections int    // MAX_CONNECTIONS; 0: what the descriptors allow
}

// Check checks the host.
func (h Host) Check() []Finding {
	return []Finding{
		h.descriptors(), h.backlog(), h.ports(), h.socketMemory(), h.conntrack(), h.memory(),
	}
}

// capacity returns how many connections there may be.
func (h Host) capacity() int {
	room := int(min(h.Descriptors, 1<<30)) - h.Reserve
	if h.Connections > 0 {
		return h.Connections
	}
	return max(room, 0)
}

func (h Host) descriptors() Finding {
	const check, do = "descriptors", "raise LimitNOFILE of the service (ulimits in compose)"
	need := h.capacity() + h.Reserve
	found := fmt.Sprintf("RLIMIT_NOFILE %d", h.Descriptors)
	switch {
	case h.Descriptors < uint64(need):
		return bad(Fail, check, found, fmt.Sprintf("%d for MAX_CONNECTIONS=%d and a reserve of %d", need, h.Connections, h.Reserve), do)
	case h.Descriptors < fewDescriptors:
		return bad(Warn, check, found, fmt.Sprintf("%d or more: this is enough for %d connections", fewDescriptors, h.capacity()), do)
	}
	return ok(check, "%s, for %d connections", found, h.capacity())
}

func (h Host) backlog() Finding {
	const name = "net.core.somaxconn"
	n, err := h.sysctl(name)
	switch {
	case err != nil:
		return skip(name, "%v", err)
	case n[0] < minBacklog:
		return bad(Warn, name, strconv.Itoa(n[0]), fmt.Sprintf("%d or more, for many clients that reconnect at once", minBacklog), setSysctl(name, minBacklog))
	}
	return ok(name, "%d", n[0])
}

// ports checks the load balancer's side: if it runs on this host, it needs a
// local port for each connection.
func (h Host) ports() Finding {
	const name = "net.ipv4.ip_local_port_range"
	n, err := h.sysctl(name)
	if err != nil || len(n) < 2 {
		return skip(name, "%v", err)
	}
	count := n[1] - n[0] + 1
	if count < h.capacity() {
		return bad(Warn, name, fmt.Sprintf("%d ports", count),
			fmt.Sprintf("%d for a load balancer on this host with one address", h.capacity()),
			"give the load balancer more source addresses, or "+setSysctl(name, "10240 65535"))
	}
	return ok(name, "%d ports", count)
}

// socketMemory checks that a page for each connection is below the limit from
// which on the kernel reduces socket buffers.
func (h Host) socketMemory() Finding {
	const name = "net.ipv4.tcp_mem"
	n, err := h.sysctl(name)
	if err != nil || len(n) < 3 {
		return skip(name, "%v", err)
	}
	if want := h.capacity(); n[1] < want {
		return bad(Warn, name, fmt.Sprintf("pressure begins at %d pages", n[1]), fmt.Sprintf("%d, one for each connection", want),
			setSysctl(name, fmt.Sprint(want, 2*want, 3*want)))
	}
	return ok(name, "pressure begins at %d pages", n[1])
}

func (h Host) conntrack() Finding {
	const name = "net.netfilter.nf_conntrack_max"
	most, err := h.sysctl(name)
	if err != nil {
		return skip(name, "connections are not tracked")
	}
	used, err := h.sysctl("net.netfilter.nf_conntrack_count")
	if err != nil {
		used = []int{0}
	}
	want := 2 * h.capacity()
	found := fmt.Sprintf("%d, of which %d are in use", most[0], used[0])
	if most[0] < h.capacity() || used[0] > most[0]*conntrackShare/100 {
		return bad(Warn, name, found, fmt.Sprintf("%d, or no tracking of this port", want), setSysctl(name, want))
	}
	return ok(name, "%s", found)
}

func setSysctl(name string, value any) string {
	return fmt.Sprintf("sysctl -w %s=%q", name, fmt.Sprint(value))
}

// sysctl returns the numbers of a kernel setting.
func (h Host) sysctl(name string) (numbers []int, err error) {
	text, err := os.ReadFile(filepath.Join(h.Proc, "sys", strings.ReplaceAll(name, ".", "/")))
	if err != nil {
		return nil, err
	}
	for _, word := range strings.Fields(string(text)) {
		n, err := strconv.Atoi(word)
		if err != nil {
			return nil, fmt.Errorf("%s: %q is no number", name, word)
		}
		numbers = append(numbers, n)
	}
	if len(numbers) == 0 {
		return nil, fmt.Errorf("%s is empty", name)
	}
	return numbers, nil
}
