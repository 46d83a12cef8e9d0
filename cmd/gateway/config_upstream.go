package main

import (
	"net"
	"strconv"
	"strings"

	"github.com/hometrip/gateway/upstream/rabbitmq"
)

// amqpURLs reads addresses of RabbitMQ, perhaps none.
func amqpURLs(field func(*Config) *[]string) kind {
	return kind{
		allowed: "amqp://user:password@host:port/vhost or amqps://…, several with commas between",
		set: func(c *Config, text string) bool {
			*field(c) = words(text)
			for _, address := range *field(c) {
				if rabbitmq.CheckAddress(address) != nil {
					return false
				}
			}
			return true
		},
		text: func(c *Config) string { return strings.Join(*field(c), ",") },
	}
}

// rabbitMQ returns the addresses of RabbitMQ's nodes.
func (c Config) rabbitMQ() []string {
	if len(c.RabbitMQURLs) > 0 {
		return c.RabbitMQURLs
	}
	return []string{rabbitmq.Address(net.JoinHostPort(c.RabbitMQHost, strconv.Itoa(c.RabbitMQPort)),
		c.RabbitMQUser, c.RabbitMQPassword, c.RabbitMQVHost)}
}
