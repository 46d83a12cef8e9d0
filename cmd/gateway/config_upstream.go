package main

import (
	"fmt"
	"net"
	"net/url"
	"os"
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

// checkFiles wants the files that the addresses of RabbitMQ name to be there.
// Its client reads them at each connection, and tries again for ever.
func (c Config) checkFiles() error {
	if !c.UseRabbitMQ {
		return nil
	}
	for _, address := range c.RabbitMQURLs {
		u, err := url.Parse(address)
		if err != nil {
			continue // the parser of the setting has looked
		}
		for _, name := range []string{"cacertfile", "certfile", "keyfile"} {
			path := u.Query().Get(name)
			if path == "" {
				continue
			}
			if _, err := os.ReadFile(path); err != nil {
				return settingsError{fmt.Errorf("RABBITMQ_URL: %s of %s: %w", name, u.Host, err)}
			}
		}
	}
	return nil
}

// rabbitMQ returns the addresses of RabbitMQ's nodes.
func (c Config) rabbitMQ() []string {
	if len(c.RabbitMQURLs) > 0 {
		return c.RabbitMQURLs
	}
	return []string{rabbitmq.Address(net.JoinHostPort(c.RabbitMQHost, strconv.Itoa(c.RabbitMQPort)),
		c.RabbitMQUser, c.RabbitMQPassword, c.RabbitMQVHost)}
}
