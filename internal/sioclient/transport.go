package sioclient

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/gobwas/ws"
)

// maxMessage limits what is read from the server at once, in bytes.
const maxMessage = 16 << 20

// writeTimeout is how long a write may wait for a server which does not read.
const writeTimeout = 5 * time.Second

// A transport carries Engine.IO text packets. send and receive may run at the
// same time; each of them by one goroutine at a time.
type transport interface {
	send(packet string) error
	receive() ([]string, error)
	close() error
}

// A HandshakeError is an unexpected HTTP answer.
type HandshakeError struct {
	Status int
	Body   string
}

// Error implements error.
func (e *HandshakeError) Error() string {
	return fmt.Sprintf("HTTP status %d: %.200s", e.Status, e.Body)
}

// A CloseError is the close frame that ended a WebSocket.
type CloseError struct {
	Code   int
	Reason string
}

// Error implements error.
func (e *CloseError) Error() string {
	return fmt.Sprintf("websocket closed with %d %q", e.Code, e.Reason)
}

// polling carries packets over HTTP requests: GET to receive, POST to send.
type polling struct {
	ctx    context.Context // ends the requests under way
	cancel context.CancelFunc
	client *http.Client
	url    string
	header http.Header
}

func newPolling(u *url.URL, header http.Header) *polling {
	ctx, cancel := context.WithCancel(context.Background())
	return &polling{ctx, cancel, &http.Client{Transport: &http.Transport{}}, u.String(), header}
}

func (p *polling) do(ctx context.Context, method, body string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, p.url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	for name, values := range p.header {
		req.Header[name] = values
	}
	if body != "" {
		req.Header.Set("Content-Type", "text/plain;charset=UTF-8")
	}
	res, err := p.client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxMessage))
	if err != nil {
		return "", err
	}
	if res.StatusCode != http.StatusOK {
		return "", &HandshakeError{res.StatusCode, string(answer)}
	}
	return string(answer), nil
}

func (p *polling) send(packet string) error {
	_, err := p.do(p.ctx, http.MethodPost, packet)
	return err
}

func (p *polling) receive() ([]string, error) {
	answer, err := p.do(p.ctx, http.MethodGet, "")
	return strings.Split(answer, separator), err
}

func (p *polling) close() error {
	p.cancel()
	p.client.CloseIdleConnections()
	return nil
}

// socket carries packets over a WebSocket.
type socket struct {
	conn net.Conn
	in   io.Reader

	mu sync.Mutex // guards writes: pongs come from the receiver
}

func dialSocket(ctx context.Context, u *url.URL, header http.Header) (*socket, error) {
	target := *u
	target.Scheme = strings.Replace(u.Scheme, "http", "ws", 1)
	dialer := ws.Dialer{Header: ws.HandshakeHeaderHTTP(header)}
	var refusal *http.Response
	dialer.OnStatusError = func(status int, _ []byte, resp io.Reader) {
		refusal, _ = http.ReadResponse(bufio.NewReader(resp), nil)
	}
	conn, early, _, err := dialer.Dial(ctx, target.String())
	if status, ok := err.(ws.StatusError); ok {
		body := ""
		if refusal != nil {
			b, _ := io.ReadAll(io.LimitReader(refusal.Body, refusal.ContentLength))
			body = string(b)
		}
		return nil, &HandshakeError{int(status), body}
	}
	if err != nil {
		return nil, err
	}
	s := &socket{conn: conn}
	if early != nil { // bytes which came together with the handshake's answer
		s.in = early
	} else {
		s.in = bufio.NewReaderSize(conn, 512)
	}
	return s, nil
}

func (s *socket) write(op ws.OpCode, payload []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	return ws.WriteFrame(s.conn, ws.MaskFrameInPlace(ws.NewFrame(op, true, payload)))
}

func (s *socket) send(packet string) error { return s.write(ws.OpText, []byte(packet)) }

// receive returns the next text message. Binary messages are skipped, because
// no server sends this client any.
func (s *socket) receive() ([]string, error) {
	var message []byte
	op := ws.OpText
	for {
		h, err := ws.ReadHeader(s.in)
		if err != nil {
			return nil, err
		}
		if h.Length > maxMessage {
			return nil, fmt.Errorf("frame of %d bytes, max %d", h.Length, maxMessage)
		}
		payload := make([]byte, h.Length)
		if _, err := io.ReadFull(s.in, payload); err != nil {
			return nil, err
		}
		switch {
		case h.OpCode == ws.OpClose:
			code, reason := ws.ParseCloseFrameData(payload)
			return nil, &CloseError{int(code), reason}
		case h.OpCode == ws.OpPing:
			err = s.write(ws.OpPong, payload)
		case h.OpCode.IsData():
			if h.OpCode != ws.OpContinuation {
				op, message = h.OpCode, nil
			}
			message = append(message, payload...)
			if h.Fin && op == ws.OpText {
				return []string{string(message)}, nil
			}
		}
		if err != nil {
			return nil, err
		}
	}
}

func (s *socket) close() error {
	_ = s.write(ws.OpClose, ws.NewCloseFrameBody(ws.StatusNormalClosure, ""))
	return s.conn.Close()
}
