// Package sioclient is a small Socket.IO client for tests, the bench and the
// gateway's own canary: one socket in the namespace "/", over WebSocket or HTTP
// long-polling, without reconnection, without attachments. It shares no code
// with the server.
package sioclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// goodbyeTimeout limits the last request that Close makes.
const goodbyeTimeout = time.Second

// Options are the options of Connect.
type Options struct {
	Polling bool        // start with HTTP long-polling; otherwise WebSocket
	Token   string      // sent as auth.token in CONNECT; "": no auth
	Auth    any         // sent as CONNECT's payload instead of Token
	Header  http.Header // of every request, may be nil
}

// ErrClosed is what Next returns after Close.
var ErrClosed = errors.New("sioclient: closed")

// ErrDisconnected is what Next returns when the server sent DISCONNECT.
var ErrDisconnected = errors.New("sioclient: disconnected by the server")

// A ConnectError is the server's refusal of CONNECT.
type ConnectError struct {
	Message string
}

// Error implements error.
func (e *ConnectError) Error() string { return e.Message }

// A Client is one connected socket. All methods may be called by any
// goroutine; one goroutine of its own receives.
type Client struct {
	opts   Options
	url    *url.URL // with sid
	engine open
	id     string
	pid    string

	sending sync.Mutex // guards sends, and with mu the change of transport

	mu        sync.Mutex // guards the following
	transport transport
	upgrade   *upgrade // asked for, not yet done
	events    []Event
	acks      map[int64]chan json.RawMessage
	nextAck   int64
	err       error

	arrived chan struct{} // one slot: events or err changed
	done    chan struct{} // closed when receiving has ended
}

// ID returns the socket's public id.
func (c *Client) ID() string { return c.id }

// PID returns the secret by which the client can come back to its session, ""
// if it did not ask for one.
func (c *Client) PID() string { return c.pid }

// SID returns the Engine.IO session id.
func (c *Client) SID() string { return c.engine.SID }

// receive is the client's goroutine, which receives packets.
func (c *Client) receive(packets []string) {
	defer close(c.done)
	for {
		for _, packet := range packets {
			if err := c.handle(packet); err != nil {
				c.fail(err)
				return
			}
		}
		c.mu.Lock()
		t := c.transport
		c.mu.Unlock()
		var err error
		packets, err = t.receive()
		if err != nil {
			c.fail(err)
			return
		}
		if u := c.pendingUpgrade(); u != nil {
			c.change(u)
		}
	}
}

// handle handles one Engine.IO packet.
func (c *Client) handle(packet string) error {
	if packet == "" {
		return errors.New("empty engine packet")
	}
	switch packet[0] {
	case enginePing:
		// It is sent in another goroutine: over polling a POST must not delay
		// the next GET.
		go c.send(string(enginePong))
	case engineClose:
		return errors.New("engine close packet")
	case engineMessage:
		return c.handleMessage(packet[1:])
	case engineNoop, engineOpen, enginePong:
	default:
		return fmt.Errorf("engine packet %.80q", packet)
	}
	return nil
}

func (c *Client) handleMessage(message string) error {
	p, err := parseSocketPacket(message)
	if err != nil {
		return err
	}
	switch p.kind {
	case socketEvent:
		e, err := parseEvent(p.data)
		if err != nil {
			return err
		}
		c.mu.Lock()
		c.events = append(c.events, e)
		c.mu.Unlock()
		c.ring()
	case socketAck:
		c.mu.Lock()
		ch := c.acks[p.id]
		delete(c.acks, p.id)
		c.mu.Unlock()
		if ch == nil {
			return fmt.Errorf("ack %d, which nobody waits for", p.id)
		}
		ch <- p.data
	case socketDisconnect:
		return ErrDisconnected
	default:
		return fmt.Errorf("Socket.IO packet %.80q", message)
	}
	return nil
}

func (c *Client) ring() {
	select {
	case c.arrived <- struct{}{}:
	default:
	}
}

// send sends one Engine.IO packet.
func (c *Client) send(packet string) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	c.mu.Lock()
	t, err := c.transport, c.err
	c.mu.Unlock()
	if err != nil {
		return err
	}
	return t.send(packet)
}

// Emit sends an event without asking for an acknowledgement.
func (c *Client) Emit(event string, args ...any) error {
	packet, err := eventPacket(-1, event, args)
	if err != nil {
		return err
	}
	return c.send(packet)
}

// EmitAck sends an event and waits for the first value of its acknowledgement.
func (c *Client) EmitAck(ctx context.Context, event string, args ...any) (json.RawMessage, error) {
	answer := make(chan json.RawMessage, 1)
	c.mu.Lock()
	id := c.nextAck
	c.nextAck++
	c.acks[id] = answer
	c.mu.Unlock()
	packet, err := eventPacket(id, event, args)
	if err == nil {
		err = c.send(packet)
	}
	if err != nil {
		return nil, err
	}
	select {
	case data := <-answer:
		var values []json.RawMessage
		if err := json.Unmarshal(data, &values); err != nil || len(values) == 0 {
			return nil, err
		}
		return values[0], nil
	case <-c.done:
		return nil, c.Err()
	case <-ctx.Done():
		return nil, fmt.Errorf("no ack of %s: %w", event, ctx.Err())
	}
}

// Next returns the next event, in the order of arrival. Events that arrived
// before the end of the connection are still returned after it.
func (c *Client) Next(ctx context.Context) (Event, error) {
	for {
		c.mu.Lock()
		if len(c.events) > 0 {
			e := c.events[0]
			c.events = c.events[1:]
			c.mu.Unlock()
			return e, nil
		}
		err := c.err
		c.mu.Unlock()
		if err != nil {
			c.ring() // for the next caller
			return Event{}, err
		}
		select {
		case <-c.arrived:
		case <-ctx.Done():
			return Event{}, fmt.Errorf("no event: %w", ctx.Err())
		}
	}
}

// Done is closed when the connection has ended; Err says why.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns why the connection has ended, nil if it has not.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// fail ends the connection; the first reason is kept.
func (c *Client) fail(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	t := c.transport
	c.mu.Unlock()
	if t != nil {
		t.close()
	}
	c.ring()
}

// Close closes the session and the connection.
func (c *Client) Close() error {
	said := make(chan struct{})
	go func() {
		defer close(said)
		c.send(string([]byte{engineMessage, socketDisconnect}))
		c.send(string(engineClose))
	}()
	select {
	case <-said:
	case <-time.After(goodbyeTimeout):
	}
	c.fail(ErrClosed)
	<-c.done
	return nil
}

// Kill closes the connection without closing the session.
func (c *Client) Kill() {
	c.mu.Lock()
	c.err = ErrClosed
	if s, ok := c.transport.(*socket); ok {
		s.conn.Close()
	}
	c.mu.Unlock()
	c.fail(ErrClosed)
	<-c.done
}

// Hangup ends the connection like a browser that leaves the page: with a close
// frame, or by polling no more. The session is not closed.
func (c *Client) Hangup() {
	c.fail(ErrClosed)
	<-c.done
}
