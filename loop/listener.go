package loop

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// listenAddress returns the address for gnet to listen on. For "::" that is
// every address of both families, as in Node: gnet takes "[::]" for IPv6 alone,
// and an empty host for both.
func listenAddress(host string, port int) string {
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is6() && ip.IsUnspecified() {
		if host = ""; !hasIPv6() {
			host = "0.0.0.0"
		}
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// hasIPv6 reports whether this machine can listen on IPv6.
func hasIPv6() bool {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false // the kernel came up without it
	}
	defer unix.Close(fd)
	return unix.Bind(fd, &unix.SockaddrInet6{}) == nil
}

// findListenerGroup finds the listeners on a TCP port: the process's own, and those of
// other processes at the same address.
func findListenerGroup(port int) (d listenerGroup, err error) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return d, fmt.Errorf("list own descriptors: %w", err)
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || listening == 0 {
			continue
		}
		if addr, err := unix.Getsockname(fd); err == nil && portOf(addr) == port {
			d.mine = append(d.mine, fd)
		}
	}
	if len(d.mine) == 0 {
		return d, fmt.Errorf("nothing of ours listens on port %d", port)
	}
	all, err := listenersLike(d.mine[0])
	d.others = max(all-len(d.mine), 0)
	return d, err
}

// listenersLike counts the listeners on this machine that are at the same
// address as fd, itself included. The kernel lists them before connections.
func listenersLike(fd int) (int, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return 0, err
	}
	file, err := os.Open(socketTable(fd))
	if err != nil {
		return 0, err
	}
	defer file.Close()
	own, counts := "", make(map[string]int)
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		const local, state, inode = 1, 3, 9
		const listening = "0A"
		words := strings.Fields(lines.Text())
		if len(words) <= inode || words[state] != listening && words[state] != "st" {
			break
		}
		counts[words[local]]++
		if words[inode] == strconv.FormatUint(stat.Ino, 10) {
			own = words[local]
		}
	}
	return counts[own], lines.Err()
}

// socketTable returns the file of /proc that lists sockets like fd.
func socketTable(fd int) string {
	if addr, err := unix.Getsockname(fd); err == nil {
		if _, v6 := addr.(*unix.SockaddrInet6); v6 {
			return "/proc/self/net/tcp6"
		}
	}
	return "/proc/self/net/tcp"
}

func portOf(addr unix.Sockaddr) int {
	switch a := addr.(type) {
	case *unix.SockaddrInet4:
		return a.Port
	case *unix.SockaddrInet6:
		return a.Port
	}
	return 0
}

// standIn stops accepting while the loops continue. gnet has no call for it,
// and shutting a listener down ends the engine. So each listening descriptor is
// replaced, in place, by a listening socket whose address nobody knows. It is
// non-blocking, because a loop that was just notified of a connection accepts
// from it: any error but EAGAIN would end the engine.
func standIn(fds []int) error {
	dummy, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket to stand in for a listener: %w", err)
	}
	defer unix.Close(dummy)
	if err := unix.Bind(dummy, &unix.SockaddrUnix{}); err != nil { // the kernel finds a name
		return fmt.Errorf("socket to stand in for a listener: %w", err)
	}
	if err := unix.Listen(dummy, 0); err != nil {
		return fmt.Errorf("socket to stand in for a listener: %w", err)
	}
	for _, fd := range fds {
		err = errors.Join(err, unix.Dup3(dummy, fd, unix.O_CLOEXEC))
	}
	return err
}
