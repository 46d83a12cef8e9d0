package rabbitmq

import (
	"strings"
	"testing"
)

func TestAddressesOfRabbitMQ(t *testing.T) {
	address := Address("broker:5672", "us:er", "p@ss/w?", "/")
	if err := CheckAddress(address); err != nil || hostOf(address) != "broker:5672" {
		t.Errorf("%s: %v", address, err)
	}
	if host := hostOf("amqps://u:p@h/v"); host != "h:5671" {
		t.Errorf("host %s, want h:5671", host)
	}
	for _, good := range []string{"amqp://h", "amqps://u:p@h:5671/v", "amqp://u@[::1]:5672/"} {
		if err := CheckAddress(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "h:5672", "http://h", "amqp://", "amqp://u:secret@h:port/", "amqp://u:secret@"} {
		if err := CheckAddress(bad); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
