package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hometrip/gateway/internal/config"
)

// checkPorts returns an error if another process uses one of the gateway's
// ports.
func checkPorts(c config.Config) error {
	if c.Server.SharePort {
		return nil
	}
	err := checkPort(fmt.Sprintf("PORT=%d", c.Server.Port), c.Server.Host, c.Server.Port)
	if host, text, bad := net.SplitHostPort(c.Server.AdminAddr); bad == nil && err == nil {
		port, _ := strconv.Atoi(text)
		err = checkPort("ADMIN_ADDR="+c.Server.AdminAddr, host, port)
	}
	return err
}

// checkPort returns an error if another process listens on host:port. The
// listeners of a gateway set SO_REUSEPORT, one for each event loop, so the
// kernel would let two gateways share a port, and each client would reach
// either of them. Port 0 is always free.
func checkPort(setting, host string, port int) error {
	if port == 0 {
		return nil
	}
	network := "tcp"
	if address, err := netip.ParseAddr(host); err == nil && address.Is4() {
		network = "tcp4" // a wildcard would mean IPv6 too
	}
	address := net.JoinHostPort(host, strconv.Itoa(port))
	probe, err := (&net.ListenConfig{}).Listen(context.Background(), network, address)
	if err == nil {
		return probe.Close()
	}
	if !errors.Is(err, unix.EADDRINUSE) {
		return fmt.Errorf("%s: %w", setting, err)
	}
	return fmt.Errorf("%s: %s is taken by %s: stop it or choose another port; SHARE_PORT=true if both are to serve it",
		setting, address, listenerOn("/proc", port))
}

// listenerOn returns the process that listens on a TCP port, if proc, the
// directory /proc, shows it to this user.
func listenerOn(proc string, port int) string {
	sockets := make(map[string]bool)
	for _, table := range []string{"net/tcp", "net/tcp6"} {
		for _, inode := range listening(filepath.Join(proc, table), port) {
			sockets["socket:["+inode+"]"] = true
		}
	}
	descriptors, _ := filepath.Glob(filepath.Join(proc, "[0-9]*/fd/*"))
	for _, fd := range descriptors {
		if link, err := os.Readlink(fd); err != nil || !sockets[link] {
			continue
		}
		process := filepath.Dir(filepath.Dir(fd))
		name, _ := os.ReadFile(filepath.Join(process, "comm"))
		return fmt.Sprintf("process %s (%s)", filepath.Base(process), strings.TrimSpace(string(name)))
	}
	return fmt.Sprintf("a process that this user may not see (as root: ss -ltnp sport = :%d)", port)
}

// listening returns the inodes of the sockets in a table of the kernel, such as
// /proc/net/tcp, that listen on port.
func listening(table string, port int) (inodes []string) {
	file, err := os.Open(table)
	if err != nil {
		return nil
	}
	defer file.Close()
	const local, state, inode = 1, 3, 9
	suffix := fmt.Sprintf(":%04X", port)
	for lines := bufio.NewScanner(file); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) > inode && words[state] == "0A" && strings.HasSuffix(words[local], suffix) {
			inodes = append(inodes, words[inode])
		}
	}
	return inodes
}
