package upstream

import (
	"maps"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Headers of a dead letter: why and when it became one, and where the event
// came from.
const (
	headerReason   = "x-gateway-reason"
	headerDetail   = "x-gateway-detail"
	headerExchange = "x-gateway-exchange"
	headerKey      = "x-gateway-key" // also of a replayed event
	headerQueue    = "x-gateway-queue"
	headerTime     = "x-gateway-time" // timeLayout
)

// deadLetterOf returns the message that keeps a delivery for later: its body
// and properties, and our headers. It leaves out what would make RabbitMQ
// refuse it (user-id), let it go (expiration), or copy it elsewhere (CC, BCC).
func deadLetterOf(d *amqp.Delivery, queue, key string, bad *Poison, now time.Time) amqp.Publishing {
	m := copyOf(d)
	exchange := d.Exchange
	if original, ok := d.Headers[headerExchange].(string); ok && exchange == "" {
		exchange = original
	}
	m.Headers[headerReason] = bad.Reason.String()
	m.Headers[headerDetail] = bad.Detail
	m.Headers[headerExchange] = exchange
	m.Headers[headerKey] = key
	m.Headers[headerQueue] = queue
	m.Headers[headerTime] = now.UTC().Format(timeLayout)
	return m
}

func copyOf(d *amqp.Delivery) amqp.Publishing {
	headers := maps.Clone(d.Headers)
	if headers == nil {
		headers = amqp.Table{}
	}
	delete(headers, "CC")
	delete(headers, "BCC")
	return amqp.Publishing{
		Headers:         headers,
		ContentType:     d.ContentType,
		ContentEncoding: d.ContentEncoding,
		DeliveryMode:    amqp.Persistent,
		Priority:        d.Priority,
		CorrelationId:   d.CorrelationId,
		ReplyTo:         d.ReplyTo,
		MessageId:       d.MessageId,
		Timestamp:       d.Timestamp,
		Type:            d.Type,
		AppId:           d.AppId,
		Body:            d.Body,
	}
}
