package sioclient

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Connect opens a session at base (http://host:port) and joins the namespace
// "/". ctx bounds the connecting, not the connection. A refusal is a
// *ConnectError or a *HandshakeError.
func Connect(ctx context.Context, base string, opts Options) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	c := &Client{
		opts:    opts,
		url:     u,
		acks:    map[int64]chan json.RawMessage{},
		arrived: make(chan struct{}, 1),
		done:    make(chan struct{}),
	}
	stop := context.AfterFunc(ctx, func() { c.fail(context.Cause(ctx)) })
	defer stop()
	rest, err := c.handshake(ctx)
	if err == nil {
		rest, err = c.join(rest)
	}
	if err != nil {
		c.fail(err)
		return nil, c.err
	}
	go c.receive(rest)
	return c, nil
}

func (c *Client) query(transport, sid string) *url.URL {
	u := *c.url
	u.Path = "/socket.io/"
	q := url.Values{"EIO": {"4"}, "transport": {transport}}
	if sid != "" {
		q.Set("sid", sid)
	}
	u.RawQuery = q.Encode()
	return &u
}

// handshake opens the Engine.IO session and returns the packets that came with
// it.
func (c *Client) handshake(ctx context.Context) ([]string, error) {
	var packets []string
	if c.opts.Polling {
		p := newPolling(c.query("polling", ""), c.opts.Header)
		c.setTransport(p)
		answer, err := p.do(ctx, http.MethodGet, "")
		if err != nil {
			return nil, err
		}
		packets = strings.Split(answer, separator)
	} else {
		s, err := dialSocket(ctx, c.query("websocket", ""), c.opts.Header)
		if err != nil {
			return nil, err
		}
		c.setTransport(s)
		if packets, err = s.receive(); err != nil {
			return nil, err
		}
	}
	var err error
	if c.engine, err = parseOpen(packets[0]); err != nil {
		return nil, err
	}
	if p, ok := c.transport.(*polling); ok {
		p.url = c.query("polling", c.engine.SID).String()
	}
	return packets[1:], nil
}

func (c *Client) setTransport(t transport) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.transport = t
}

// join sends CONNECT and waits for the answer; it returns the packets behind
// that.
func (c *Client) join(packets []string) ([]string, error) {
	connect := string([]byte{engineMessage, socketConnect})
	auth := c.opts.Auth
	if auth == nil && c.opts.Token != "" {
		auth = map[string]string{"token": c.opts.Token}
	}
	if auth != nil {
		b, err := json.Marshal(auth)
		if err != nil {
			return nil, err
		}
		connect += string(b)
	}
	if err := c.transport.send(connect); err != nil {
		return nil, err
	}
	for {
		for i, packet := range packets {
			if packet == "" || packet[0] != engineMessage {
				c.handle(packet)
				continue
			}
			return packets[i+1:], c.joined(packet[1:])
		}
		var err error
		if packets, err = c.transport.receive(); err != nil {
			return nil, err
		}
	}
}

func (c *Client) joined(packet string) error {
	p, err := parseSocketPacket(packet)
	if err != nil {
		return err
	}
	var body struct{ SID, PID, Message string }
	if err := json.Unmarshal(p.data, &body); err != nil {
		return err
	}
	switch p.kind {
	case socketConnect:
		c.id, c.pid = body.SID, body.PID
		return nil
	case socketConnectError:
		return &ConnectError{body.Message}
	}
	return fmt.Errorf("packet %.80q, want the answer to CONNECT", packet)
}
