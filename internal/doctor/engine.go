package doctor

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gobwas/ws/wsutil"
)

const (
	answerTimeout = 10 * time.Second
	maxAnswer     = 1 << 20 // bytes
	connect       = "40"    // Socket.IO CONNECT without a token: also the refusal is an answer
	goodbye       = "1"     // Engine.IO close
	pingPacket    = "2"
)

// An answer is the result of an HTTP request.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a *answer) String() string { return fmt.Sprintf("%d %.80q", a.status, a.body) }

// lost reports whether the answer comes from a node that does not know the
// session.
func (a *answer) lost() bool {
	return a.status == http.StatusBadRequest && strings.Contains(a.body, "Session ID unknown")
}

// target is the URL of Engine.IO for a transport, and for a session if sid is
// not "".
func (p *Proxy) target(transport, sid string) string {
	q := url.Values{"EIO": {"4"}, "transport": {transport}}
	if sid != "" {
		q.Set("sid", sid)
	}
	return strings.TrimSuffix(p.URL, "/") + "/socket.io/?" + q.Encode()
}

// ask makes a request over a new connection, as clients other than browsers do.
// That is the hard case for a proxy.
func (p *Proxy) ask(ctx context.Context, method, address, body string) (*answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "text/plain;charset=UTF-8")
	}
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: p.TLS, Proxy: http.ProxyFromEnvironment,
	}}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	return &answer{response.StatusCode, response.Header, string(text)}, err
}

// A visit is a session over long-polling.
type visit struct {
	p     *Proxy
	open  openPacket
	first *answer // the handshake's
}

// An openPacket is the content of Engine.IO's open packet.
type openPacket struct {
	SID          string `json:"sid"`
	PingInterval int    `json:"pingInterval"` // ms
	MaxPayload   int    `json:"maxPayload"`   // bytes
}

// visit opens a session. The error quotes an unexpected answer.
func (p *Proxy) visit(ctx context.Context) (*visit, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	first, err := p.ask(ctx, http.MethodGet, p.target("polling", ""), "")
	if err != nil {
		return nil, err
	}
	v := &visit{p: p, first: first}
	packet, isOpen := strings.CutPrefix(first.body, "0")
	if first.status != http.StatusOK || !isOpen || json.Unmarshal([]byte(packet), &v.open) != nil {
		return nil, fmt.Errorf("the handshake is answered with %v", first)
	}
	return v, nil
}

func (v *visit) post(ctx context.Context, packet string) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return v.p.ask(ctx, http.MethodPost, v.p.target("polling", v.open.SID), packet)
}

// poll waits for packets until ctx is over.
func (v *visit) poll(ctx context.Context) (*answer, error) {
	return v.p.ask(ctx, http.MethodGet, v.p.target("polling", v.open.SID), "")
}

// end closes the session. If that fails, the session ends by itself.
func (v *visit) end(ctx context.Context) { _, _ = v.post(ctx, goodbye) }

// interval is the time between two pings.
func (v *visit) interval() time.Duration {
	return time.Duration(v.open.PingInterval) * time.Millisecond
}

// A socket is a WebSocket to the gateway.
type socket struct {
	net.Conn
	in io.Reader
}

// newSocket takes over a connection, and the bytes that arrived with the
// handshake's answer.
func newSocket(conn net.Conn, early *bufio.Reader) *socket {
	if early != nil {
		return &socket{conn, early}
	}
	return &socket{conn, conn}
}

// next returns the next packet.
func (s *socket) next(within time.Duration) (string, error) {
	_ = s.SetReadDeadline(time.Now().Add(within))
	packet, err := wsutil.ReadServerText(struct {
		io.Reader
		io.Writer
	}{s.in, s.Conn})
	return string(packet), err
}
