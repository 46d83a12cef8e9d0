package load

import (
	"bytes"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// publisher is a service that posts events over one keep-alive connection,
// pipelined, so that their order is the order of the bytes. Owned by the
// Loop's thread.
type publisher struct {
	fd          int32
	host, token string
	out         []byte // requests not yet written
	in          []byte // an incomplete answer
	unanswered  int    // requests without an answer yet
}

// openPublisher connects to target; the connection stays until close.
func (l *Loop) openPublisher(target int, token string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	if err := unix.Connect(fd, &l.targets[target]); err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("connect to %s: %w", l.hosts[target], err)
	}
	_ = unix.SetNonblock(fd, true)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	l.closePublisher()
	l.pub = &publisher{fd: int32(fd), host: l.hosts[target], token: token}
	return l.watch(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN|unix.EPOLLRDHUP, kindPublisher, 0)
}

func (l *Loop) closePublisher() {
	if l.pub != nil {
		_ = unix.Close(int(l.pub.fd))
		l.pub = nil
	}
}

// post queues one event; flush writes all that is queued at once.
func (p *publisher) post(key string, body []byte) {
	p.out = append(p.out, "POST /events/"...)
	p.out = append(p.out, key...)
	p.out = append(p.out, " HTTP/1.1\r\nHost: "...)
	p.out = append(p.out, p.host...)
	p.out = append(p.out, "\r\nAuthorization: Bearer "...)
	p.out = append(p.out, p.token...)
	p.out = append(p.out, "\r\nContent-Type: application/json\r\nContent-Length: "...)
	p.out = strconv.AppendInt(p.out, int64(len(body)), 10)
	p.out = append(p.out, headEnd...)
	p.out = append(p.out, body...)
	p.unanswered++
}

func (p *publisher) flush(l *Loop) {
	if len(p.out) == 0 {
		return
	}
	n, errno := rawWrite(p.fd, p.out)
	if errno != 0 && errno != unix.EAGAIN {
		l.problem("publisher: write: %v", errno)
		p.out = p.out[:0]
		return
	}
	p.out = p.out[:copy(p.out, p.out[max(n, 0):])]
}

func (p *publisher) ready(l *Loop) {
	n, errno := rawRead(p.fd, l.buf)
	if errno == unix.EAGAIN {
		return
	}
	if errno != 0 || n == 0 {
		l.problem("publisher: connection closed with %d requests unanswered", p.unanswered)
		_ = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, int(p.fd), nil)
		p.unanswered = 0
		return
	}
	l.now = clock()
	p.in = append(p.in, l.buf[:n]...)
	for {
		status, body, used := nextResponse(p.in)
		if used == 0 {
			return
		}
		if status != 202 {
			l.problem("publisher: status %d: %s", status, body[:min(len(body), 120)])
		}
		p.in = p.in[:copy(p.in, p.in[used:])]
		p.unanswered--
	}
}

// nextResponse returns the first HTTP response in b and its length; 0 means
// more bytes are needed. The body must come with a Content-Length.
func nextResponse(b []byte) (status int, body []byte, used int) {
	end := bytes.Index(b, headEnd)
	if end < 0 || end < 12 {
		return 0, nil, 0
	}
	head := b[:end+2]
	status, _ = strconv.Atoi(string(head[9:12]))
	length := 0
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte("Content-Length")) {
			length, _ = strconv.Atoi(string(bytes.TrimSpace(value)))
		}
	}
	body = b[end+len(headEnd):]
	if len(body) < length {
		return 0, nil, 0
	}
	return status, body[:length], end + len(headEnd) + length
}
