package rabbitmq

import (
	"fmt"
	"maps"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/upstream/eventlog"
)

// Headers of the entries in the stream.
const (
	headerOffset = "x-stream-offset"    // set by RabbitMQ
	headerKey    = "x-gateway-key"      // of an event that did not come through an exchange; also of a dead letter
	headerFrom   = "x-gateway-exchange" // where such an event was published first; also of a dead letter
	headerTime   = "x-gateway-time"     // when it was published, timeLayout; also of a dead letter
	headerAppend = "x-gateway-append"   // tells who has appended it
	headerMark   = "x-gateway-mark"     // it is no event: see source.mark
	headerTrace  = "traceparent"        // W3C Trace Context
)

// Headers of a dead letter: why it is one, and where in the log it was.
const (
	headerReason = "x-gateway-reason"
	headerDetail = "x-gateway-detail"
	headerQueue  = "x-gateway-queue"
	headerID     = "x-gateway-message-id" // of the event; the letter's own is its place in the log
)

// timeLayout is ISO 8601 in UTC with milliseconds.
const timeLayout = "2006-01-02T15:04:05.000Z"

// positionOf returns the position of a delivery in the log.
func positionOf(d *amqp.Delivery) (eventlog.Position, error) {
	offset, ok := d.Headers[headerOffset].(int64)
	if !ok {
		return 0, fmt.Errorf("what came has no %s: the queue is no stream; delete it", headerOffset)
	}
	return eventlog.Position(offset) + 1, nil
}

// entryOf converts a delivery into an entry, which uses the delivery's memory.
func entryOf(d *amqp.Delivery, position eventlog.Position) eventlog.Entry {
	e := eventlog.Entry{
		Position: position, Exchange: d.Exchange, Key: d.RoutingKey,
		MessageID: d.MessageId, AppID: d.AppId, Published: d.Timestamp, Body: d.Body, Headers: d.Headers,
	}
	e.Trace, _ = d.Headers[headerTrace].(string)
	if d.Exchange == "" {
		e.Exchange, _ = d.Headers[headerFrom].(string)
		e.Key, _ = d.Headers[headerKey].(string)
		if text, ok := d.Headers[headerTime].(string); ok {
			if t, err := time.Parse(timeLayout, text); err == nil {
				e.Published = t
			}
		}
	}
	return e
}

// publishingOf converts an entry into a message from which entryOf makes the
// same entry.
func publishingOf(e *eventlog.Entry) amqp.Publishing {
	headers := amqp.Table{headerKey: e.Key}
	maps.Copy(headers, e.Headers)
	if e.Exchange != "" {
		headers[headerFrom] = e.Exchange
	}
	if e.Trace != "" {
		headers[headerTrace] = e.Trace
	}
	if !e.Published.IsZero() {
		headers[headerTime] = e.Published.UTC().Format(timeLayout)
	}
	return amqp.Publishing{
		Headers: headers, ContentType: "application/json", DeliveryMode: amqp.Persistent,
		MessageId: e.MessageID, AppId: e.AppID, Body: e.Body,
	}
}

// copyOf returns a message with the content of a delivery, without the headers
// that would route copies of it (CC, BCC).
func copyOf(d *amqp.Delivery) amqp.Publishing {
	headers := maps.Clone(d.Headers)
	if headers == nil {
		headers = amqp.Table{}
	}
	delete(headers, "CC")
	delete(headers, "BCC")
	return amqp.Publishing{
		Headers: headers, ContentType: d.ContentType, ContentEncoding: d.ContentEncoding,
		DeliveryMode: amqp.Persistent, Priority: d.Priority, CorrelationId: d.CorrelationId,
		ReplyTo: d.ReplyTo, MessageId: d.MessageId, Timestamp: d.Timestamp, Type: d.Type, AppId: d.AppId, Body: d.Body,
	}
}
