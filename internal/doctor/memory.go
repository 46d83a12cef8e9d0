package doctor

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// bytesPerConnection is the memory of an idle, authenticated connection, as
// bench/results has measured: 1,448 bytes of the process, and about a page of
// the kernel.
const bytesPerConnection = 1450 + 4096

// baseMemory is the memory of a gateway without connections, including events
// under way.
const baseMemory = 64 << 20

func (h Host) memory() Finding {
	const check = "memory"
	limit, where := h.memoryLimit()
	if limit == 0 {
		return skip(check, "the memory limit cannot be read")
	}
	need := baseMemory + int64(h.capacity())*bytesPerConnection
	found := fmt.Sprintf("%s of %s", mebibytes(limit), where)
	if need > limit {
		fit := max((limit-baseMemory)/bytesPerConnection, 1)
		return bad(Warn, check, found,
			fmt.Sprintf("%s for %d connections of %d bytes each", mebibytes(need), h.capacity(), bytesPerConnection),
			fmt.Sprintf("give it more, or set MAX_CONNECTIONS=%d", fit))
	}
	return ok(check, "%s; %d connections need %s", found, h.capacity(), mebibytes(need))
}

func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }

// memoryLimit returns the lowest limit, and what sets it: a cgroup around the
// process, or the machine. 0: unknown.
func (h Host) memoryLimit() (limit int64, where string) {
	limit, where = h.machineMemory(), "the machine"
	text, _ := os.ReadFile(filepath.Join(h.Proc, "self/cgroup"))
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		root, file := "", ""
		switch {
		case parts[0] == "0" && parts[1] == "": // version 2
			root, file = filepath.Join(h.Sys, "fs/cgroup"), "memory.max"
		case strings.Contains(","+parts[1]+",", ",memory,"): // version 1
			root, file = filepath.Join(h.Sys, "fs/cgroup/memory"), "memory.limit_in_bytes"
		default:
			continue
		}
		if n := tightest(root, parts[2], file); n < limit || limit == 0 && n < math.MaxInt64 {
			limit, where = n, "the cgroup"
		}
	}
	return limit, where
}

// tightest returns the lowest limit between a cgroup and the root. In a
// container the path is the host's, and only the root exists.
func tightest(root, path, file string) int64 {
	least := int64(math.MaxInt64)
	for dir := filepath.Clean("/" + path); ; dir = filepath.Dir(dir) {
		text, _ := os.ReadFile(filepath.Join(root, dir, file))
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
			least = min(least, n)
		}
		if dir == "/" {
			return least
		}
	}
}

// machineMemory returns the memory of the machine, 0 if it cannot be read.
func (h Host) machineMemory() int64 {
	text, _ := os.ReadFile(filepath.Join(h.Proc, "meminfo"))
	var kib int64
	if _, err := fmt.Sscanf(string(text), "MemTotal: %d kB", &kib); err != nil {
		return 0
	}
	return kib << 10
}
