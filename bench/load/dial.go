package load

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// SourcesPerWorker is over how many loopback addresses a worker spreads its
// connections: each gives one range of ephemeral ports (28,000 here) towards
// one server, and a server's limit per address is met later.
const SourcesPerWorker = 16

// dial begins connection i towards its target and sends the request at once
// if the kernel has the connection already, as it does on loopback.
func (l *Loop) dial(i int32) error {
	c := &l.conns[i]
	fd, err := l.socket(i)
	if err != nil {
		return err
	}
	c.fd, c.at, c.step = int32(fd), clock(), stepDialing
	err = unix.Connect(fd, &l.targets[c.target])
	if err != nil && err != unix.EINPROGRESS {
		l.drop(c)
		return fmt.Errorf("connect to %s: %w", l.hosts[c.target], err)
	}
	if l.upgradeRequest(c) {
		c.step = stepHead
		return l.watch(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN|unix.EPOLLRDHUP, kindConn, i)
	}
	return l.watch(unix.EPOLL_CTL_ADD, fd, unix.EPOLLOUT, kindConn, i)
}

// socket returns a non-blocking socket bound to connection i's source address.
func (l *Loop) socket(i int32) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("socket: %w", err)
	}
	// The port is chosen at connect, by the whole 4-tuple.
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	source := unix.SockaddrInet4{Addr: [4]byte{127, 1, l.source, byte(1 + i%SourcesPerWorker)}}
	if err := unix.Bind(fd, &source); err != nil {
		_ = unix.Close(fd)
		return 0, fmt.Errorf("bind %v: %w", source.Addr, err)
	}
	return fd, nil
}

// upgradeRequest reports whether the request is out.
func (l *Loop) upgradeRequest(c *conn) bool {
	b := append(l.scratch[:0], "GET "...)
	b = append(b, l.dialect.path()...)
	b = append(b, l.polls.query(l.indexOf(c))...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, l.hosts[c.target]...)
	b = append(b, "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"...)
	l.scratch = b
	n, errno := rawWrite(c.fd, b)
	if errno == unix.EAGAIN || errno == unix.ENOTCONN {
		return false
	}
	if errno != 0 || n < len(b) {
		l.problem("upgrade request: %d of %d bytes, errno %v", n, len(b), errno)
	}
	return true
}

// request sends the upgrade request of a connection that has become writable.
func (l *Loop) request(c *conn) {
	if code, err := unix.GetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_ERROR); err != nil || code != 0 {
		l.hungUp(c, unix.Errno(code))
		return
	}
	if !l.upgradeRequest(c) {
		return
	}
	c.step = stepHead
	index := l.indexOf(c)
	if err := l.watch(unix.EPOLL_CTL_MOD, int(c.fd), unix.EPOLLIN|unix.EPOLLRDHUP, kindConn, index); err != nil {
		l.problem("%v", err)
	}
}

// dialer is the phase that opens connections, a window of them at a time.
type dialer struct {
	l             *Loop
	args          DialArgs
	next, open    int32
	last          int32
	inflight, bad int32
	due           int64 // ns; when the next paced dial is due
	times         recorder
}

func (d *dialer) tick(now int64) (int64, bool) {
	if d.args.Rate > 0 && d.due > now && d.next < d.last {
		return d.due, false
	}
	for d.inflight < int32(d.args.Window) && d.next < d.last {
		i := d.next
		d.next++
		d.inflight++
		if err := d.begin(i); err != nil {
			d.l.problem("%v", err)
			d.inflight--
			d.bad++
		}
		if d.args.Rate > 0 {
			d.due = max(d.due, now-int64(time.Second)) + int64(1e9/d.args.Rate)
			return d.due, false
		}
	}
	if d.inflight > 0 && now-d.l.now > int64(giveUpAfter) {
		d.l.problem("%d handshakes without an answer for %v", d.inflight, giveUpAfter)
		return 0, true
	}
	return never, d.inflight == 0 && d.next == d.last
}

func (d *dialer) begin(i int32) error {
	if d.args.Polling {
		return d.l.polls.begin(d.l, i)
	}
	return d.l.dial(i)
}

func (d *dialer) connected(c *conn) {
	d.inflight--
	d.open++
	d.times.add(d.l.now - c.at)
}

func (d *dialer) closed(c *conn, was step) {
	if was < stepReady {
		d.inflight--
		d.bad++
	}
}

func (d *dialer) event(*conn, eventName, []byte) {}
func (d *dialer) ack(*conn, []byte)              {}
