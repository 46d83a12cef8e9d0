package rabbitmq

import (
	"errors"
	"net"
	"net/url"
	"strconv"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Address returns the AMQP URL of a node of RabbitMQ.
func Address(hostPort, user, password, vhost string) string {
	u := url.URL{
		Scheme: "amqp", Host: hostPort, User: url.UserPassword(user, password),
		Path: "/" + vhost, RawPath: "/" + url.PathEscape(vhost),
	}
	return u.String()
}

// CheckAddress reports what is wrong with an AMQP URL. The error does not
// quote it, since it may have a password.
func CheckAddress(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" {
		return errors.New("not of the form amqp://user:password@host:port/vhost")
	}
	if _, err := amqp.ParseURI(address); err != nil {
		return errors.New("not an amqp:// or amqps:// address")
	}
	return nil
}

// hostOf returns the host and port of an AMQP URL.
func hostOf(address string) string {
	u, err := amqp.ParseURI(address)
	if err != nil {
		return ""
	}
	return net.JoinHostPort(u.Host, strconv.Itoa(u.Port))
}
