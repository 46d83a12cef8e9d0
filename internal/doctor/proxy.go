package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gobwas/ws"
)

const (
	visits    = 8 // two nodes in turn are found out with 255 in 256
	parkPause = time.Second / 2
	heldBack  = time.Second      // for an answer that is there to be let through
	pingSlack = 10 * time.Second // a ping may come later than its interval
)

// A Proxy is the public address of gateways, and what is known of the gateways
// behind it.
type Proxy struct {
	URL        string // https://chat.example.com
	Production bool
	Slow       bool        // wait for as long as a connection may be idle
	TLS        *tls.Config // nil: the system's roots
}

// Check connects as clients do.
func (p *Proxy) Check(ctx context.Context) []Finding {
	asked := time.Now()
	first, err := p.visit(ctx)
	if err != nil {
		_, host, _ := strings.Cut(p.URL, "://")
		return []Finding{unreachable(host, err)}
	}
	defer first.end(ctx)
	return []Finding{
		ok("handshake", "a session by long-polling"),
		p.encryption(), p.clock(first, asked, time.Now()),
		p.upgrade(ctx), p.stickiness(ctx), p.buffering(ctx), p.bodySize(ctx, first.open.MaxPayload), p.idle(ctx, first.interval()),
	}
}

func (p *Proxy) encryption() Finding {
	if strings.HasPrefix(p.URL, "https:") {
		return ok("TLS", "https")
	}
	return bad(severe(p.Production), "TLS", "http", "https: without TLS tokens can be read on their way", "enable TLS on the proxy")
}

func (p *Proxy) clock(v *visit, asked, heard time.Time) Finding {
	const check = "clock of the proxy"
	date, err := http.ParseTime(v.first.header.Get("Date"))
	if err != nil {
		return skip(check, "the answer has no Date header")
	}
	return clock(check, date.Add(time.Second/2), asked, heard) // Date has no fractions
}

// upgrade opens a WebSocket.
func (p *Proxy) upgrade(ctx context.Context) Finding {
	const check = "WebSocket"
	conn, err := p.dial(ctx)
	if err != nil {
		return bad(Fail, check, err.Error(), "101 Switching Protocols",
			"pass Upgrade and Connection on, with HTTP/1.1 (nginx: proxy_http_version 1.1; see deploy/nginx.conf)")
	}
	conn.Close()
	return ok(check, "opens")
}

// dial opens a WebSocket and reads the open packet.
func (p *Proxy) dial(ctx context.Context) (*socket, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	dialer := ws.Dialer{TLSConfig: p.TLS}
	conn, early, _, err := dialer.Dial(ctx, strings.Replace(p.target("websocket", ""), "http", "ws", 1))
	if err != nil {
		return nil, err
	}
	s := newSocket(conn, early)
	packet, err := s.next(answerTimeout)
	if err == nil && !strings.HasPrefix(packet, "0{") {
		err = fmt.Errorf("the first frame is %.80q", packet)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return s, nil
}

// stickiness checks whether later requests of a session reach its node.
func (p *Proxy) stickiness(ctx context.Context) Finding {
	const check = "stickiness"
	requests, lost := 0, 0
	for range visits {
		v, err := p.visit(ctx)
		if err != nil {
			return bad(Fail, check, err.Error(), "a session", "check the logs of the proxy and the gateway")
		}
		a, err := v.post(ctx, connect)
		if err == nil && a.status == http.StatusOK {
			requests++
			limited, cancel := context.WithTimeout(ctx, answerTimeout)
			a, err = v.poll(limited)
			cancel()
		}
		requests++
		switch {
		case err != nil:
			return bad(Fail, check, err.Error(), "an answer", "check the logs of the proxy and the gateway")
		case a.lost():
			lost++
			continue
		case a.status != http.StatusOK:
			return bad(Fail, check, fmt.Sprintf("a request of a session is answered with %v", a), "200", "check the logs of the proxy and the gateway")
		}
		v.end(ctx)
	}
	if lost > 0 {
		return bad(Fail, check, fmt.Sprintf("%d of %d sessions were unknown to the node that their next request reached", lost, visits),
			"all requests of a session on one node", "use deploy/nginx.conf or deploy/haproxy.cfg, or give clients transports: [\"websocket\"]")
	}
	return ok(check, "%d requests of %d sessions reached their node", requests, visits)
}

// buffering checks whether a waiting poll is answered as soon as there is a
// packet.
func (p *Proxy) buffering(ctx context.Context) Finding {
	const check = "waiting polls"
	v, err := p.visit(ctx)
	if err != nil {
		return skip(check, "%v", err)
	}
	defer v.end(ctx)
	limited, cancel := context.WithTimeout(ctx, 2*answerTimeout)
	defer cancel()
	type result struct {
		*answer
		error
		at time.Time
	}
	polled := make(chan result, 1)
	go func() {
		a, err := v.poll(limited)
		for err == nil && a.status == http.StatusOK && a.body == pingPacket { // not what is waited for
			a, err = v.poll(limited)
		}
		polled <- result{a, err, time.Now()}
	}()
	select {
	case <-time.After(parkPause):
	case r := <-polled:
		return skip(check, "a poll did not wait: %v %v", r.answer, r.error)
	}
	a, err := v.post(ctx, connect)
	if err != nil || a.status != http.StatusOK {
		return skip(check, "a packet did not arrive: %v %v", a, err)
	}
	sent := time.Now()
	r := <-polled
	switch took := max(r.at.Sub(sent), 0).Round(time.Millisecond); {
	case r.error != nil:
		return bad(Fail, check, r.error.Error(), "an answer", "set the proxy's timeouts above PING_INTERVAL, and switch its buffering off")
	case r.status != http.StatusOK:
		return bad(Fail, check, r.answer.String(), "200", "check the proxy's log")
	case took > heldBack:
		return bad(Fail, check, fmt.Sprintf("an answer was held back for %v", took), "at once", "switch the proxy's buffering off")
	default:
		return ok(check, "answered after %v", took)
	}
}

// bodySize sends the largest body that a client may send. The session that it
// names does not exist, which the gateway says when it has read everything.
func (p *Proxy) bodySize(ctx context.Context, size int) Finding {
	const check = "body limit"
	ctx, cancel := context.WithTimeout(ctx, 3*answerTimeout)
	defer cancel()
	a, err := p.ask(ctx, http.MethodPost, p.target("polling", "doctor"), strings.Repeat("x", size))
	want := fmt.Sprintf("%d bytes, MAX_HTTP_BUFFER_SIZE, are let through", size)
	do := fmt.Sprintf("raise the proxy's limit (nginx: client_max_body_size %d)", size)
	switch {
	case err != nil:
		return bad(Fail, check, err.Error(), want, do)
	case !a.lost():
		return bad(Fail, check, fmt.Sprintf("%d bytes are answered with %v", size, a), want, do)
	}
	return ok(check, "%d bytes arrive", size)
}

// idle waits, with both transports, until the gateway sends a ping.
func (p *Proxy) idle(ctx context.Context, interval time.Duration) Finding {
	const check = "idle timeout"
	if !p.Slow {
		return skip(check, "takes %v: use --slow to test it", interval)
	}
	v, err := p.visit(ctx)
	if err != nil {
		return skip(check, "%v", err)
	}
	defer v.end(ctx)
	s, err := p.dial(ctx)
	if err != nil {
		return skip(check, "no WebSocket for the test")
	}
	defer s.Close()
	start := time.Now()
	polled := make(chan error, 1)
	go func() { polled <- v.awaitPing(ctx) }()
	err = s.awaitPing(interval)
	if err == nil {
		err = <-polled
	}
	switch {
	case errors.Is(err, errLost):
		return skip(check, "the poll for the test lost its session")
	case err != nil:
		return bad(Fail, check, fmt.Sprintf("%v, after %v", err, time.Since(start).Round(time.Second)),
			fmt.Sprintf("longer than PING_INTERVAL (%v)", interval),
			"raise the proxy's timeouts (nginx: proxy_read_timeout; HAProxy: timeout server, timeout tunnel) above PING_INTERVAL + PING_TIMEOUT")
	}
	return ok(check, "longer than PING_INTERVAL (%v)", interval)
}

var errLost = errors.New("unknown session")

// awaitPing makes one poll wait for the ping.
func (v *visit) awaitPing(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, v.interval()+pingSlack)
	defer cancel()
	a, err := v.poll(ctx)
	switch {
	case err != nil:
		return err
	case a.lost():
		return errLost
	case a.status != http.StatusOK || !strings.HasPrefix(a.body, pingPacket):
		return fmt.Errorf("a waiting poll is answered with %v", a)
	}
	return nil
}

func (s *socket) awaitPing(interval time.Duration) error {
	packet, err := s.next(interval + pingSlack)
	if err == nil && packet != pingPacket {
		err = errors.New("a WebSocket gets " + packet)
	}
	return err
}
