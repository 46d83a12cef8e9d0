package loop

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hometrip/gateway/loop/wheel"
)

// acceptTail is how long the listeners of a node that hands its port over stay
// open when the kernel gives them nothing new: for connections whose handshake
// is under way, also if the client's last packet of it is lost once (the
// kernel asks for it again after 1 s).
const acceptTail = 1500 * time.Millisecond

// A listenerGroup is this process's part of the group of listeners on the port, which
// the kernel numbers in the order they began to listen, and among which it
// spreads new connections by a hash. Closing one resets the connections that
// wait in its queue, and those in the middle of their handshake, unless the
// sysctl net.ipv4.tcp_migrate_req is 1.
type listenerGroup struct {
	mine   []int // descriptors, at least one
	others int   // listeners of a successor
}

// close closes the listeners. Where there is a successor on the port it has the
// kernel choose that one's only, and waits until nobody is in our queues.
func (d *listenerGroup) close(ctx context.Context) error {
	var err error
	// The successor's numbers come behind ours. They stay certain while ours
	// go only when there are as many.
	if n := len(d.mine); d.others > 0 && d.others == n {
		if err = d.chooseFrom(n, n); err == nil {
			select {
			case <-time.After(acceptTail):
			case <-ctx.Done():
			}
			// When a listener goes, the last one takes its number. So this
			// number is a successor's until all of ours are gone; then it is
			// nobody's, and the kernel goes back to the hash.
			err = d.chooseFrom(n, 1)
		}
	}
	return errors.Join(err, standIn(d.mine))
}

// chooseFrom has the kernel give new connections to the listeners with the
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

// skfRandom is SKF_AD_OFF + SKF_AD_RANDOM of <linux/filter.h>: where a filter
// finds a random number.
const skfRandom = uint32(0xffff_f000 + 56)

// chooseFromAll takes back what a predecessor has left on the port, whose
// numbers mean others now. That there is nothing is an error of no interest.
func (d *listenerGroup) chooseFromAll() {
	_ = unix.SetsockoptInt(d.mine[0], unix.SOL_SOCKET, unix.SO_DETACH_REUSEPORT_BPF, 0)
}

// HoldPort has the kernel give new connections to this process while another
// one begins to listen on the port.
func (s *Server) HoldPort() error {
	group, err := findListenerGroup(s.port)
	if err == nil {
		s.held = group
		err = group.chooseFrom(0, len(group.mine))
	}
	return err
}

// SharePort takes HoldPort and PassPort back.
func (s *Server) SharePort() {
	if group, err := findListenerGroup(s.port); err == nil {
		group.chooseFromAll()
	}
}

// PassPort has the kernel give new connections to the listeners, so many, of
// the process that has begun to listen since HoldPort. It does not look for this
// process's listeners again: among 18,000 descriptors that takes 22 ms, while
// the other process needs the processor.
func (s *Server) PassPort(listeners int) error {
	return s.held.chooseFrom(len(s.held.mine), listeners)
}

// LeavePort closes the listeners after PassPort, when nobody is in their queues
// any more.
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
