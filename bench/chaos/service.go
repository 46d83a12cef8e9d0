package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/hometrip/gateway/upstream/rabbitmq"
)

const (
	exchange = "hometrip_events"
	eventKey = "message.sent"
	services = 4 // that publish at the same time, each to rooms of its own
	catchUp  = time.Second
	retry    = 250 * time.Millisecond // after one that RabbitMQ did not take
)

// publish sends events to some rooms in turn, at a steady rate, until ctx is
// cancelled. What is not confirmed is not sent again, but left open in the
// book. While RabbitMQ is away there are no events, and none is made up for.
func (b *book) publish(ctx context.Context, address string, rooms []int, perSecond float64) {
	sender := rabbitmq.NewSender([]string{address}, exchange)
	defer sender.Close()
	every := time.Duration(float64(time.Second) / perSecond)
	for i, due := 0, b.now(); ; i++ {
		if now := b.now(); now-due > catchUp {
			due = now
		}
		if !sleep(ctx, due-b.now()) {
			return
		}
		due += every
		room := rooms[i%len(rooms)]
		number := b.open(room)
		err := sender.Send(context.WithoutCancel(ctx), eventKey, body(room, number), messageID(room, number))
		if err == nil {
			b.confirm(room, number)
		} else if !sleep(ctx, retry) {
			return
		}
	}
}

// messageID is an event's id. By it a gateway knows what it has had; every
// other room's events have none.
func messageID(room, number int) string {
	if room%2 == 1 {
		return ""
	}
	return fmt.Sprint(room, "-", number)
}

func body(room, number int) []byte {
	return fmt.Appendf(nil, `{"conversationId":%q,"message":%d}`, strconv.Itoa(room), number)
}

// sleep returns false when ctx is over.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
