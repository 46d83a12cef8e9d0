package sioclient

import (
	"context"
	"fmt"
)

// An upgrade is a probed WebSocket waiting for the poll under way to end.
type upgrade struct {
	to   *socket
	done chan error // one slot
}

// Upgrade moves a polling session to a WebSocket, as browsers do. Other calls
// may be under way meanwhile.
func (c *Client) Upgrade(ctx context.Context) error {
	s, err := dialSocket(ctx, c.query("websocket", c.engine.SID), c.opts.Header)
	if err != nil {
		return err
	}
	if err := s.send(string(enginePing) + "probe"); err != nil {
		return err
	}
	answer, err := s.receive()
	if err != nil {
		return err
	}
	if answer[0] != string(enginePong)+"probe" {
		return fmt.Errorf("answer to the probe is %.80q", answer[0])
	}
	u := &upgrade{s, make(chan error, 1)}
	c.mu.Lock()
	c.upgrade = u
	c.mu.Unlock()
	select {
	case err := <-u.done:
		return err
	case <-c.done:
		return c.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Client) pendingUpgrade() *upgrade {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := c.upgrade
	c.upgrade = nil
	return u
}

// change makes the probed WebSocket the transport, when no poll and no POST is
// under way.
func (c *Client) change(u *upgrade) {
	c.sending.Lock()
	defer c.sending.Unlock()
	c.mu.Lock()
	old := c.transport
	c.transport = u.to
	c.mu.Unlock()
	old.close()
	u.done <- u.to.send(string(engineUpgrade))
}
