package adapter

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/redis/rueidis"

	"github.com/hometrip/gateway/internal/backoff"
	"github.com/hometrip/gateway/internal/loglimit"
)

const (
	// subscribeBatch is how many channels one SUBSCRIBE names.
	subscribeBatch = 500

	reconnectMin = 100 * time.Millisecond
	reconnectMax = 5 * time.Second

	// complainEvery is the pause between log lines while Redis is away.
	complainEvery = time.Minute
)

var errHungUp = errors.New("redis: the connection has ended")

// run keeps a connection to Redis until ctx is cancelled.
func (a *Adapter) run(ctx context.Context) {
	retries := backoff.Backoff{Min: reconnectMin, Max: reconnectMax}
	var complaints loglimit.Limiter
	for ctx.Err() == nil {
		began := time.Now()
		err := a.serve(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > reconnectMax {
			retries.Reset()
		}
		if _, ok := complaints.Allow(time.Now(), complainEvery); ok {
			a.config.Log.Warn("no connection to the Node servers through Redis, retrying", "error", err)
		}
		pause := retries.Next()
		select {
		case <-time.After(pause/2 + rand.N(pause/2)):
		case <-ctx.Done():
		}
	}
}

// serve makes one connection and uses it until it ends.
func (a *Adapter) serve(ctx context.Context) error {
	client, err := a.config.Open()
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conn, release := client.Dedicate()
	defer release()
	ended := conn.SetPubSubHooks(rueidis.PubSubHooks{
		OnMessage:      func(m rueidis.PubSubMessage) { a.receive(m.Channel, []byte(m.Message)) },
		OnSubscription: a.subscribed,
	})
	own := conn.B().Subscribe().Channel(a.names.Broadcast, a.names.Request).Build()
	if a.config.Compare != nil {
		own = conn.B().Psubscribe().Pattern(a.names.Rooms()).Build()
	}
	if err := conn.Do(ctx, own).Error(); err != nil {
		return fmt.Errorf("subscribe to %s: %w", a.names.Broadcast, err)
	}
	a.connected()
	defer a.disconnected()
	published := make(chan struct{})
	go func() {
		defer close(published)
		cancel(a.publisher.run(ctx, client))
	}()
	defer func() { cancel(nil); <-published }()
	return a.subscribe(ctx, conn, ended)
}

func (a *Adapter) connected() {
	a.mu.Lock()
	a.subscriptions.connect()
	a.mu.Unlock()
	a.publisher.setOpen(true)
	a.stats.connected.Store(true)
	a.config.Log.Info("sharing rooms with Node servers", "key", a.config.Key)
}

func (a *Adapter) disconnected() {
	a.stats.connected.Store(false)
	a.publisher.setOpen(false)
	a.mu.Lock()
	ready := a.subscriptions.disconnect()
	a.mu.Unlock()
	call(ready)
}

// subscribe subscribes to, and unsubscribes from, channels of rooms until that
// matches the rooms of this node.
func (a *Adapter) subscribe(ctx context.Context, conn rueidis.DedicatedClient, ended <-chan error) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if err := a.subscribeNext(ctx, conn); err != nil {
			return err
		}
		timer.Reset(a.pause())
		select {
		case <-a.kick:
		case <-timer.C:
		case err := <-ended:
			if err == nil {
				err = errHungUp
			}
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// pause returns how long there is nothing to do unless something changes.
func (a *Adapter) pause() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.subscriptions.more() {
		return 0
	}
	if at, ok := a.subscriptions.wake(); ok {
		return max(at-a.now(), 0)
	}
	return time.Hour
}

func (a *Adapter) subscribeNext(ctx context.Context, conn rueidis.DedicatedClient) error {
	a.mu.Lock()
	subscribe, unsubscribe := a.subscriptions.next(a.now(), subscribeBatch)
	a.mu.Unlock()
	if len(subscribe) > 0 {
		if err := conn.Do(ctx, conn.B().Subscribe().Channel(a.channels(subscribe)...).Build()).Error(); err != nil {
			return fmt.Errorf("subscribe to %d rooms: %w", len(subscribe), err)
		}
	}
	if len(unsubscribe) > 0 {
		if err := conn.Do(ctx, conn.B().Unsubscribe().Channel(a.channels(unsubscribe)...).Build()).Error(); err != nil {
			return fmt.Errorf("unsubscribe from %d rooms: %w", len(unsubscribe), err)
		}
	}
	return nil
}

func (a *Adapter) channels(rooms []string) []string {
	for i, room := range rooms {
		rooms[i] = a.names.Room(room)
	}
	return rooms
}

// subscribed is called for each channel that Redis has subscribed to or
// unsubscribed from.
func (a *Adapter) subscribed(s rueidis.PubSubSubscription) {
	room, ok := a.names.RoomOf(s.Channel)
	if !ok || room == "" {
		return
	}
	a.mu.Lock()
	var ready []func()
	if s.Kind == "subscribe" {
		ready = a.subscriptions.confirmed(room, a.now())
	} else {
		a.subscriptions.ended(room)
	}
	a.mu.Unlock()
	call(ready)
	a.wake()
}
