package loop

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hometrip/gateway/loop/wheel"
)

// acceptTail is how long a node that hands over its port keeps its listeners
// open after the kernel stops giving them new connections. It is for
// connections whose handshake is under way, also if the client's last packet of
// it is lost once (the kernel asks for it again after 1 s).
const acceptTail = 1500 * time.Millisecond

// A listenerGroup is this process's part of the group of listeners on the port.
// The kernel numbers them in the order in which they began to listen, and
// spreads new connections among them by a hash. Closing one resets the
// connections in its queue and those in the middle of their handshake, unless
// the sysctl net.ipv4.tcp_migrate_req is 1.
type listenerGroup struct {
	mine   []int // descriptors, at least one
	others int   // listeners of a successor
}

// close closes the listeners. If a successor listens on the port, it first
// makes the kernel choose only the successor's, and waits until our queues are
// empty.
func (d *listenerGroup) close(ctx context.Context) error {
	var err error
	// The successor's numbers follow ours. They are predictable while ours
	// close only if there are as many.
	if n := len(d.mine); d.others > 0 && d.others == n {
		if err = d.chooseFrom(n, n); err == nil {
			select {
			case <-time.After(acceptTail):
			case <-ctx.Done():
			}
			// When a listener closes, the last one gets its number. So this
			// number is a successor's until all of ours are closed. Then it is
			// nobody's, and the kernel uses the hash again.
			err = d.chooseFrom(n, 1)
		}
	}
	return errors.Join(err, standIn(d.mine))
}

// chooseFrom makes the kernel give new connections to the listeners with the
// numbers first to first+n-1.
func (d *listenerGroup) chooseFrom(first, n int) error {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: skfRandom},
		{Code: unix.BPF_ALU | unix.BPF_MOD | unix.BPF_K, K: uint32(n)},
		{Code: unix.BPF_ALU | unix.BPF_ADD | unix.BPF_K, K: uint32(first)},
		{Code: unix.BPF_RET | unix.BPF_A},
	}
	err := unix.SetsockoptSockFprog(d.mine[0], unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF,
		&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	if err != nil {
		return fmt.Errorf("choose among the listeners of the port: %w", err)
	}
	return nil
}

// skfRandom is SKF_AD_OFF + SKF_AD_RANDOM of <linux/filter.h>: the address at
// which a filter reads a random number.
const skfRandom = uint32(0xffff_f000 + 56)

// chooseFromAll removes the filter that a predecessor has left on the port,
// whose numbers mean other listeners now. If there is none, the error does not
// matter.
func (d *listenerGroup) chooseFromAll() {
	_ = unix.SetsockoptInt(d.mine[0], unix.SOL_SOCKET, unix.SO_DETACH_REUSEPORT_BPF, 0)
}

// HoldPort makes the kernel give new connections to this process while another
// one begins to listen on the port.
func (s *Server) HoldPort() error {
	group, err := findListenerGroup(s.port)
	if err == nil {
		s.held = group
		err = group.chooseFrom(0, len(group.mine))
	}
	return err
}

// SharePort reverses HoldPort and PassPort.
func (s *Server) SharePort() {
	if group, err := findListenerGroup(s.port); err == nil {
		group.chooseFromAll()
	}
}

// PassPort makes the kernel give new connections to the listeners of the
// process that has begun to listen since HoldPort; listeners is their number.
// It does not look for this process's listeners again: among 18,000 descriptors
// that takes 22 ms, while the other process needs the processor.
func (s *Server) PassPort(listeners int) error {
	return s.held.chooseFrom(len(s.held.mine), listeners)
}

// LeavePort closes the listeners after PassPort, once their queues are empty.
func (s *Server) LeavePort() error {
	group, err := findListenerGroup(s.port)
	if err != nil {
		return err
	}
	return errors.Join(group.chooseFrom(len(group.mine), 1), standIn(group.mine)) // see close
}

// AwaitSuccessor returns when another process listens on the port.
func (s *Server) AwaitSuccessor(ctx context.Context) error {
	look := time.NewTicker(wheel.Tick)
	defer look.Stop()
	for {
		group, err := findListenerGroup(s.port)
		if err != nil || group.others > 0 {
			return err
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
