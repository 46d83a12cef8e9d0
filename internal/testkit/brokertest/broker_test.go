package brokertest

import (
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/internal/testkit"
)

func TestBrokerKeepsQueuesAfterACrash(t *testing.T) {
	b, err := Start()
	testkit.Need(t, err)
	defer b.Close()
	conn, err := amqp.Dial(b.URL)
	if err != nil {
		t.Fatal(err)
	}
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclare("kept", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	// RabbitMQ confirms a queue before its log is on disk.
	if out, err := b.Ctl("eval", "mnesia:sync_log()."); err != nil {
		t.Fatal(out, err)
	}
	b.Kill()
	if err := b.Launch(); err != nil {
		t.Fatal(err)
	}
	if out, err := b.Ctl("list_queues", "name"); err != nil || !strings.Contains(out, "kept") {
		t.Errorf("queues after a crash: %q, %v", out, err)
	}
}
