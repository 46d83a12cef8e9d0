package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestErrorOfAPortInUseNamesTheProcess(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	err = checkPort("PORT", "127.0.0.1", port)
	if want := fmt.Sprintf("process %d (", os.Getpid()); err == nil ||
		!strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "SHARE_PORT=true") {
		t.Errorf("got %v, want it to name %s", err, want)
	}
	if err := checkPort("PORT", "0.0.0.0", port); err == nil {
		t.Error("0.0.0.0 is not reported as in use")
	}
	l.Close()
	if err := checkPort("PORT", "127.0.0.1", port); err != nil {
		t.Errorf("a port that is free again: %v", err)
	}
	if err := checkPort("PORT", "127.0.0.1", 0); err != nil {
		t.Errorf("port 0: %v", err)
	}
}

func TestProcessOfAnotherUserIsNotNamed(t *testing.T) {
	proc := t.TempDir()
	if err := os.MkdirAll(filepath.Join(proc, "net"), 0o755); err != nil {
		t.Fatal(err)
	}
	table := "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n" +
		"   0: 0100007F:0BBA 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1\n"
	if err := os.WriteFile(filepath.Join(proc, "net/tcp"), []byte(table), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := listening(filepath.Join(proc, "net/tcp"), 3002); len(got) != 1 || got[0] != "4711" {
		t.Errorf("inodes %v", got)
	}
	if got := listenerOn(proc, 3002); !strings.Contains(got, "may not see") || !strings.Contains(got, "3002") {
		t.Errorf("got %s", got)
	}
}
