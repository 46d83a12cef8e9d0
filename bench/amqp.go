package main

import (
	"context"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"golang.org/x/sys/unix"

	"github.com/hometrip/gateway/bench/load"
	"github.com/hometrip/gateway/bench/process"
)

// confirmWindow bounds the messages that the broker has not yet confirmed.
const confirmWindow = 256

// amqpScenario publishes message.sent, first as fast as the broker takes it,
// then paced. The events carry their number in the room and the time they were
// due; the clients check them.
func amqpScenario(t *trial) error {
	broker, err := t.rabbit()
	if err != nil {
		return err
	}
	b := &bus{
		helper: broker,
		env:    []string{"USE_RABBITMQ=true", "RABBITMQ_HOST=127.0.0.1", "RABBITMQ_PORT=" + broker.portText()},
		publish: func(rooms, events int, rate float64) error {
			return publishAMQP(broker.url(), rooms, events, rate)
		},
	}
	return t.busShapes(b)
}

// A bus is a way by which services' events come.
type bus struct {
	helper  *helper  // the server between
	env     []string // what the measured server has to be told of it
	publish func(rooms, events int, rate float64) error
}

// busShapes measures events to a room of many and to many rooms of two.
func (t *trial) busShapes(b *bus) error {
	for _, shape := range []struct {
		name        string
		rooms, size int32
		burst       int     // events of the saturated part
		rate        float64 // events per second of the paced part
	}{
		{"room", 1, 1000, 300, 20},
		{"rooms", 500, 2, 20000, 1000},
	} {
		members := shape.rooms * shape.size
		s, err := t.serveWith(quietPing, b.env...)
		if err != nil {
			return err
		}
		w, err := t.load(int(members))
		if err != nil {
			return err
		}
		if err := t.must(w.Dial(load.DialArgs{Last: members, Window: dialWindow, PerUser: 1})); err != nil {
			return err
		}
		if err := t.must(w.Join(load.JoinArgs{Last: members, RoomSize: shape.size, Window: dialWindow})); err != nil {
			return err
		}
		if err := t.busPhase(w, b, shape.name, shape.rooms, members, shape.burst, 0); err != nil {
			return err
		}
		paced := int(shape.rate * 3 * t.window().Seconds())
		if err := t.busPhase(w, b, shape.name+" paced", shape.rooms, members, paced, shape.rate); err != nil {
			return err
		}
		if err := s.Alive(); err != nil {
			return err
		}
		t.stopAll()
	}
	return nil
}

// busPhase publishes events in turn to all rooms while the clients listen.
func (t *trial) busPhase(w *load.Client, b *bus, kase string, rooms, members int32, events int, rate float64) error {
	events -= events % int(rooms)
	published := make(chan error, 1)
	before := t.helperCPU(b.helper)
	s, err := t.measure(func() (*load.Result, error) {
		go func() { published <- b.publish(int(rooms), events, rate) }()
		return w.Fanout(load.FanoutArgs{Source: load.SourceListen, Last: members, Expect: uint32(events / int(rooms))})
	})
	if err != nil {
		return err
	}
	if err := <-published; err != nil {
		return err
	}
	s.Events = uint64(events)
	brokerUs := float64((t.helperCPU(b.helper) - before).Microseconds()) / float64(events)
	t.record(kase, s, map[string]float64{"broker_us": brokerUs, "rate": rate})
	return nil
}

func (t *trial) helperCPU(h *helper) time.Duration { return process.SessionCPU(h.cmd.Process.Pid) }

// publishAMQP publishes message.sent round robin over the rooms.
func publishAMQP(url string, rooms, events int, rate float64) error {
	return publishConfirmed(url, events, rate, func(n int, due int64) (key string, body []byte) {
		return "message.sent", load.MessageBody(int32(n%rooms), uint32(n/rooms), due)
	})
}

// publishConfirmed publishes events and returns when the broker has confirmed
// them. With a rate it keeps to the schedule, and an event late carries the time
// it was due.
func publishConfirmed(url string, events int, rate float64, event func(n int, due int64) (key string, body []byte)) error {
	conn, err := amqp.Dial(url)
	if err != nil {
		return fmt.Errorf("publisher: %w", err)
	}
	defer func() { _ = conn.Close() }()
	ch, err := conn.Channel()
	if err != nil {
		return fmt.Errorf("publisher: %w", err)
	}
	if err := ch.Confirm(false); err != nil {
		return fmt.Errorf("publisher: confirm mode: %w", err)
	}
	pending := make(chan *amqp.DeferredConfirmation, confirmWindow)
	confirmed := make(chan error, 1)
	go func() { confirmed <- awaitConfirms(pending) }()
	start := monotonic()
	for n := range events {
		due := monotonic()
		if rate > 0 {
			due = start + int64(float64(n)*1e9/rate)
			time.Sleep(time.Duration(due - monotonic()))
		}
		key, body := event(n, due)
		confirm, err := ch.PublishWithDeferredConfirmWithContext(context.Background(), exchange, key, false, false,
			amqp.Publishing{ContentType: "application/json", DeliveryMode: amqp.Persistent, Body: body})
		if err != nil {
			return fmt.Errorf("publish event %d of %d: %w", n, events, err)
		}
		pending <- confirm
	}
	close(pending)
	return <-confirmed
}

func awaitConfirms(pending <-chan *amqp.DeferredConfirmation) error {
	refused := 0
	for confirm := range pending {
		if !confirm.Wait() {
			refused++
		}
	}
	if refused > 0 {
		return fmt.Errorf("the broker refused %d events", refused)
	}
	return nil
}

// monotonic is CLOCK_MONOTONIC, which the load processes share.
func monotonic() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return ts.Nano()
}
