package loop

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// closeListeners stops accepting while the loops go on serving. gnet has no
// call for it, and shutting a listener down ends the engine; so each listening
// descriptor is replaced, in place, by a socket that nobody can connect to.
func (s *Server) closeListeners() error {
	dummy, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket to stand in for a listener: %w", err)
	}
	defer unix.Close(dummy)
	fds, err := listenersOn(s.port)
	for _, fd := range fds {
		err = errors.Join(err, unix.Dup3(dummy, fd, unix.O_CLOEXEC))
	}
	return err
}

// listenersOn finds the process's descriptors that listen on a TCP port.
func listenersOn(port int) ([]int, error) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, fmt.Errorf("list own descriptors: %w", err)
	}
	var found []int
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || listening == 0 {
			continue
		}
		if addr, err := unix.Getsockname(fd); err == nil && portOf(addr) == port {
			found = append(found, fd)
		}
	}
	return found, nil
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
