package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/rooms"
)

const (
	// maxOrders is how many orders that last are kept, some 200 bytes each, in
	// Redis and on every node. Redis lets those go that end first.
	maxOrders = 1 << 18

	maxAhead = 48 * time.Hour // how far in the future an order may have been given

	orderBatch   = 512 // orders read or written at once
	orderTimeout = time.Minute
)

// orders are those that last: tokens that are refused although they are good.
// Every node has them all, and Redis keeps them for nodes that come later. Safe
// for concurrent use.
type orders struct {
	mu    sync.Mutex       // guards the following
	known map[string]int64 // an order's form → Unix s at which it ends
}

// An orderForm is an order in Redis and in envelopes, as JSON. Times are Unix
// seconds, of which tokens have no parts.
type orderForm struct {
	User    codec.JSONText `json:"user,omitempty"`
	TokenID codec.JSONText `json:"jti,omitempty"`
	Issued  int64          `json:"iat,omitempty"`
	Until   int64          `json:"until,omitempty"`
	Reason  codec.JSONText `json:"reason,omitempty"`
}

// orderHead is about what an order's form has beside its texts, in bytes.
const orderHead = 80

func formOf(o *rooms.Order) []byte {
	form, err := json.Marshal(orderForm{
		codec.JSONText(o.User), codec.JSONText(o.TokenID), seconds(o.Issued), seconds(o.Until), codec.JSONText(o.Reason),
	})
	if err != nil {
		panic(err) // texts and numbers
	}
	return form
}

// parseOrder reads an order. One with members that it does not know is refused:
// they may be what keeps it from meaning everybody.
func parseOrder(form []byte) (*rooms.Order, error) {
	var f orderForm
	d := json.NewDecoder(bytes.NewReader(form))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return nil, fmt.Errorf("order %.80q: %w", form, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("order %.80q: more behind it", form)
	}
	o := &rooms.Order{
		User: string(f.User), TokenID: string(f.TokenID), Issued: issued(f.Issued, time.Now()), Until: instant(f.Until), Reason: string(f.Reason),
	}
	return o, o.Check()
}

func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

func instant(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}

// issued returns when the tokens that an order means were issued at the latest.
// Orders that earlier versions have left in Redis may have the time in
// milliseconds, which would refuse a user's tokens for ever.
func issued(seconds int64, now time.Time) time.Time {
	t := instant(seconds)
	if t.IsZero() || seconds <= now.Add(maxAhead).Unix() {
		return t
	}
	if t, ok := rooms.PlausibleUnix(float64(seconds), now); ok {
		return t
	}
	return now
}

// note remembers an order that lasts, and reports whether it is new.
func (os *orders) note(form string, until, now int64) bool {
	os.mu.Lock()
	defer os.mu.Unlock()
	if _, known := os.known[form]; known {
		return false
	}
	if len(os.known) >= maxOrders {
		os.prune(now)
	}
	if len(os.known) < maxOrders {
		if os.known == nil {
			os.known = make(map[string]int64)
		}
		os.known[form] = until
	}
	return true
}

// prune forgets the orders that have ended. os.mu is held.
func (os *orders) prune(now int64) {
	maps.DeleteFunc(os.known, func(_ string, until int64) bool { return until <= now })
}

// without returns the orders that are not among those found.
func (os *orders) without(found map[string]bool, now int64) map[string]int64 {
	os.mu.Lock()
	defer os.mu.Unlock()
	os.prune(now)
	missing := make(map[string]int64)
	for form, until := range os.known {
		if !found[form] {
			missing[form] = until
		}
	}
	return missing
}

// note remembers an order for Redis, if it lasts.
func (c *Cluster) note(o *rooms.Order) {
	if !o.Until.IsZero() {
		c.orders.note(string(formOf(o)), seconds(o.Until), time.Now().Unix())
	}
}

// receiveOrder obeys an order in an envelope.
func (c *Cluster) receiveOrder(form []byte) {
	o, err := parseOrder(form)
	if err != nil {
		c.refuseOrder(err)
		return
	}
	c.obey(o)
	c.note(o)
}

func (c *Cluster) refuseOrder(err error) {
	c.stats.dropped[DropMalformed].Add(1)
	c.keeper.complain(err)
}

// obey hands this node's rooms an order that another node was given.
func (c *Cluster) obey(o *rooms.Order) {
	c.local.Receive(rooms.Broadcast{Room: rooms.EveryNode, Order: o})
}

// loadOrders obeys the orders that this node has missed, and gives Redis back
// those that it has lost.
func (c *Cluster) loadOrders(ctx context.Context, v *view) error {
	ctx, cancel := context.WithTimeout(ctx, orderTimeout)
	defer cancel()
	now := time.Now().Unix()
	found := make(map[string]bool)
	for cursor := uint64(0); ; {
		page, err := v.client.Do(ctx, v.client.B().Zscan().Key(c.names.orders()).Cursor(cursor).Count(orderBatch).Build()).AsScanEntry()
		if err != nil {
			return err
		}
		for i := 0; i+1 < len(page.Elements); i += 2 { // each with its score
			form := page.Elements[i]
			found[form] = true
			c.load(form, now)
		}
		if cursor = page.Cursor; cursor == 0 {
			return c.saveOrders(ctx, v, c.orders.without(found, now))
		}
	}
}

func (c *Cluster) load(form string, now int64) {
	o, err := parseOrder([]byte(form))
	if err != nil {
		c.refuseOrder(err)
		return
	}
	if until := seconds(o.Until); until > now && c.orders.note(form, until, now) {
		c.obey(o)
	}
}

// saveOrders has Redis keep orders, and forget those that have ended and those
// that are too many.
func (c *Cluster) saveOrders(ctx context.Context, v *view, list map[string]int64) error {
	key, b := c.names.orders(), v.client.B()
	for forms := range slices.Chunk(slices.Collect(maps.Keys(list)), orderBatch) {
		add := b.Zadd().Key(key).ScoreMember()
		for _, form := range forms {
			add = add.ScoreMember(float64(list[form]), form)
		}
		if err := v.client.Do(ctx, add.Build()).Error(); err != nil {
			return err
		}
	}
	results := v.client.DoMulti(ctx,
		b.Zremrangebyscore().Key(key).Min("-inf").Max(decimal(time.Now().Unix())).Build(),
		b.Zremrangebyrank().Key(key).Start(0).Stop(-maxOrders-1).Build())
	if err := results[0].Error(); err != nil {
		return err
	}
	surplus, err := results[1].AsInt64()
	if surplus > 0 {
		c.keeper.complain(fmt.Errorf("%d orders are too many: nodes that start later will not know of %d that end first", maxOrders+surplus, surplus))
	}
	return err
}

// keepOrders has Redis keep the batch's orders that last. Who reads them later
// has entered the directory before, so that an order which it does not find
// there is published to it.
func (l *lane) keepOrders(ctx context.Context, v *view) error {
	lasting := make(map[string]int64)
	for i := range l.batch {
		if o := l.batch[i].Order; o != nil && !o.Until.IsZero() {
			lasting[string(formOf(o))] = seconds(o.Until)
		}
	}
	if len(lasting) == 0 {
		return nil
	}
	return l.c.saveOrders(ctx, v, lasting)
}
