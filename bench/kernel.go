package main

import (
	"bytes"
	"os"
	"strconv"
	"strings"
)

// kernelMemory is what the kernel holds for sockets: bytes queued in TCP
// buffers (of all processes), and slab memory (sockets, inodes, epoll items).
func kernelMemory() (tcp, slab int64) {
	if b, err := os.ReadFile("/proc/net/sockstat"); err == nil {
		if _, rest, ok := bytes.Cut(b, []byte("TCP: ")); ok {
			line, _, _ := bytes.Cut(rest, []byte("\n"))
			if f := bytes.Fields(line); len(f) > 0 {
				pages, _ := strconv.ParseInt(string(f[len(f)-1]), 10, 64)
				tcp = pages * int64(os.Getpagesize())
			}
		}
	}
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		slab = memInfo(string(b), "SUnreclaim:")
	}
	return tcp, slab
}

// memInfo reads one line of /proc/meminfo, in bytes.
func memInfo(text, name string) int64 {
	_, rest, _ := strings.Cut(text, name)
	f := strings.Fields(rest)
	if len(f) == 0 {
		return 0
	}
	kb, _ := strconv.ParseInt(f[0], 10, 64)
	return kb << 10
}
