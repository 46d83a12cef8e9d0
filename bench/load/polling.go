package load

import (
	"bytes"
	"strconv"

	"golang.org/x/sys/unix"
)

// pollers are the sessions that began with long-polling and are on their way
// to WebSocket. Owned by the Loop's thread; empty between phases.
type pollers struct {
	byFD    map[int32]*poller
	byIndex map[int32]*poller
}

// poller is one such session, with the two TCP connections a browser would
// use: one waits in a GET, the other POSTs.
type poller struct {
	index     int32
	get, post httpConn
	sid       []byte
	welcomed  bool // the connected event has come
	paused    bool // no GET is to follow
	waiting   bool // a GET is out
}

// httpConn is a keep-alive connection with at most one request out.
type httpConn struct {
	fd   int32
	part []byte
}

const pollingPath = "/socket.io/?EIO=4&transport=polling"

func (ps *pollers) has(index int32) bool { return ps.byIndex[index] != nil }

// query is what the WebSocket's path needs to name the session.
func (ps *pollers) query(index int32) []byte {
	if p := ps.byIndex[index]; p != nil {
		return append([]byte("&sid="), p.sid...)
	}
	return nil
}

func (ps *pollers) begin(l *Loop, i int32) error {
	p := &poller{index: i, post: httpConn{fd: -1}}
	c := &l.conns[i]
	c.at = clock()
	if ps.byIndex == nil {
		ps.byIndex = make(map[int32]*poller)
	}
	ps.byIndex[i] = p
	return ps.open(l, p, &p.get, ps.getRequest(l, p))
}

func (ps *pollers) open(l *Loop, p *poller, h *httpConn, request []byte) error {
	fd, err := l.socket(p.index)
	if err != nil {
		return err
	}
	h.fd = int32(fd)
	ps.byFD[h.fd] = p
	target := l.conns[p.index].target
	if err := unix.Connect(fd, &l.targets[target]); err != nil && err != unix.EINPROGRESS {
		return err
	}
	if _, errno := rawWrite(h.fd, request); errno != 0 {
		// The backlog is full: blocking here is what a browser would see.
		_ = unix.SetNonblock(fd, false)
		poll := []unix.PollFd{{Fd: h.fd, Events: unix.POLLOUT}}
		_, _ = unix.Poll(poll, int(giveUpAfter.Milliseconds()))
		_ = unix.SetNonblock(fd, true)
		if _, errno = rawWrite(h.fd, request); errno != 0 {
			return errno
		}
	}
	return l.watch(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN|unix.EPOLLRDHUP, kindPoller, h.fd)
}

func (ps *pollers) getRequest(l *Loop, p *poller) []byte {
	p.waiting = true
	b := append([]byte("GET "), pollingPath...)
	if len(p.sid) > 0 {
		b = append(append(b, "&sid="...), p.sid...)
	}
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, l.hosts[l.conns[p.index].target]...)
	return append(b, headEnd...)
}

func (ps *pollers) connectRequest(l *Loop, p *poller) []byte {
	packet := append([]byte(nil), `40{"token":"`...)
	packet = append(l.minter.appendToken(packet, l.conns[p.index].user), `"}`...)
	b := append([]byte("POST "), pollingPath...)
	b = append(append(b, "&sid="...), p.sid...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, l.hosts[l.conns[p.index].target]...)
	b = append(b, "\r\nContent-Type: text/plain;charset=UTF-8\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(packet)), 10)
	return append(append(b, headEnd...), packet...)
}

func (ps *pollers) ready(l *Loop, fd int32) {
	p := ps.byFD[fd]
	if p == nil {
		return
	}
	h := &p.get
	if fd == p.post.fd {
		h = &p.post
	}
	n, errno := rawRead(fd, l.buf)
	if errno == unix.EAGAIN {
		return
	}
	if errno != 0 || n == 0 {
		ps.fail(l, p, "polling connection closed")
		return
	}
	l.now = clock()
	h.part = append(h.part, l.buf[:n]...)
	status, body, used := nextResponse(h.part)
	if used == 0 {
		return
	}
	body = append([]byte(nil), body...)
	h.part = h.part[:copy(h.part, h.part[used:])]
	if status != 200 {
		ps.fail(l, p, "polling answered "+strconv.Itoa(status)+" "+string(body[:min(len(body), 80)]))
		return
	}
	if h == &p.get {
		ps.polled(l, p, body)
	}
}

// polled takes the payload of one GET.
func (ps *pollers) polled(l *Loop, p *poller, payload []byte) {
	p.waiting = false
	for _, packet := range bytes.Split(payload, []byte{0x1e}) {
		switch {
		case bytes.HasPrefix(packet, []byte("0{")):
			if err := ps.opened(l, p, packet); err != nil {
				ps.fail(l, p, err.Error())
				return
			}
		case eventOf(packet) == connectedEvent:
			p.welcomed = true
		case bytes.HasPrefix(packet, []byte("44")):
			ps.fail(l, p, string(packet))
			return
		}
	}
	if p.paused {
		ps.finish(l, p)
		return
	}
	if _, errno := rawWrite(p.get.fd, ps.getRequest(l, p)); errno != 0 {
		ps.fail(l, p, errno.Error())
	}
}

// opened does what the JavaScript client does next: CONNECT and upgrade at
// the same time.
func (ps *pollers) opened(l *Loop, p *poller, packet []byte) error {
	p.sid = append(p.sid, between(packet, []byte(`"sid":"`))...)
	if err := ps.open(l, p, &p.post, ps.connectRequest(l, p)); err != nil {
		return err
	}
	at := l.conns[p.index].at
	err := l.dial(p.index)
	l.conns[p.index].at = at
	return err
}

// probed follows "3probe": no GET any more, and when the last has come back,
// the upgrade.
func (ps *pollers) probed(l *Loop, index int32) {
	p := ps.byIndex[index]
	p.paused = true
	if !p.waiting {
		ps.finish(l, p)
	}
}

func (ps *pollers) finish(l *Loop, p *poller) {
	c := &l.conns[p.index]
	l.emit(c, []byte("5"))
	ps.remove(p)
	if !p.welcomed {
		c.step = stepWelcome // the connected event comes over the WebSocket
		return
	}
	c.step = stepReady
	l.phase.connected(c)
}

func (ps *pollers) fail(l *Loop, p *poller, why string) {
	l.problem("%s", why)
	ps.remove(p)
	c := &l.conns[p.index]
	l.drop(c)
	l.phase.closed(c, stepProbe)
}

func (ps *pollers) remove(p *poller) {
	delete(ps.byIndex, p.index)
	for _, h := range []*httpConn{&p.get, &p.post} {
		if h.fd >= 0 {
			delete(ps.byFD, h.fd)
			_ = unix.Close(int(h.fd))
			h.fd = -1
		}
	}
}

// between returns what stands after name up to the next quote.
func between(b, name []byte) []byte {
	_, b, found := bytes.Cut(b, name)
	if !found {
		return nil
	}
	value, _, _ := bytes.Cut(b, []byte{'"'})
	return value
}
