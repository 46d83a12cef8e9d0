package main

import (
	"fmt"
	"io"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// streamCommand is the argument with which the suite runs itself as the bare
// client of logScenario.
const streamCommand = "stream-reader"

// The same as the gateway's.
const (
	streamName   = "websocket-gateway.events"
	streamWindow = 500
	streamAck    = 64 // entries; or streamWait
	streamWait   = 5 * time.Millisecond
)

// readStream reads the gateway's stream from its end on and does nothing with
// what comes: the least that a node can spend on an event. It writes a byte to
// w when it reads. It returns when the connection is lost.
func readStream(url string, w io.Writer) error {
	conn, err := amqp.Dial(url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	if err := ch.Qos(streamWindow, 0, false); err != nil {
		return err
	}
	deliveries, err := ch.Consume(streamName, "", false, false, false, false, amqp.Table{"x-stream-offset": "next"})
	if err != nil {
		return fmt.Errorf("consume from %s: %w", streamName, err)
	}
	if _, err := w.Write([]byte{'.'}); err != nil {
		return err
	}
	return acknowledge(deliveries)
}

func acknowledge(deliveries <-chan amqp.Delivery) error {
	var last amqp.Delivery
	unacked := 0
	var due <-chan time.Time
	for {
		select {
		case d, ok := <-deliveries:
			if !ok {
				return io.EOF
			}
			last = d
			if unacked++; unacked == 1 {
				due = time.After(streamWait)
			}
			if unacked < streamAck {
				continue
			}
		case <-due:
		}
		unacked, due = 0, nil
		if err := last.Ack(true); err != nil {
			return err
		}
	}
}
