package doctor

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/internal/testkit/brokertest"
	"github.com/hometrip/gateway/upstream/rabbitmq"
)

func TestVersions(t *testing.T) {
	for found, want := range map[string]Verdict{"3.10.8": OK, "4.0": OK, "3.9.27": Fail, "2.99": Fail, "": Skip} {
		if f := version("version", found, minRabbitMQ, "upgrade"); f.Verdict != want {
			t.Errorf("%q: %+v, want %s", found, f, want)
		}
	}
}

func TestClocks(t *testing.T) {
	now := time.Now()
	for skew, want := range map[time.Duration]Verdict{0: OK, -time.Second: OK, 5 * time.Second: Warn, -time.Minute: Fail} {
		wantFinding(t, []Finding{clock("clock", now.Add(skew), now.Add(-time.Second), now.Add(time.Second))}, "clock", want, "apart")
	}
}

func TestServices(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + l.Addr().String() + "/api"
	if f := Service(t.Context(), "X", address); f.Verdict != OK {
		t.Errorf("a service that listens: %+v, want OK", f)
	}
	l.Close()
	if f := Service(t.Context(), "X", address); f.Verdict != Warn || f.Do == "" {
		t.Errorf("a service that does not listen: %+v, want a warning", f)
	}
	if f := Service(t.Context(), "X", ""); f.Verdict != Skip {
		t.Errorf("an address that is not set: %+v, want it skipped", f)
	}
}

// inspect returns the doctor's view of RabbitMQ.
func inspect(t *testing.T, address, prefix string) (*rabbitmq.Inspection, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return rabbitmq.Inspect(ctx, rabbitmq.Config{
		Addresses: []string{address}, Exchanges: []string{"doctor_events", "doctor_fanout"}, Prefix: prefix,
		Retention: time.Hour, MaxBytes: 1 << 30, Logger: slog.New(slog.DiscardHandler),
	})
}

// Queues and exchanges that exist with other properties are reported. The doctor must
// not declare anything.
func TestRabbitMQ(t *testing.T) {
	broker, err := brokertest.Start()
	testkit.Need(t, err)
	defer broker.Close()
	conn, err := amqp.Dial(broker.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	// A queue as the Node gateway declares it, and a stream that another program
	// declared.
	for name, args := range map[string]amqp.Table{
		"doctor.dead-letter": nil,
		"doctor.events":      {"x-queue-type": "stream"},
	} {
		if _, err := ch.QueueDeclare(name, true, false, false, false, args); err != nil {
			t.Fatal(err)
		}
	}
	if err := ch.ExchangeDeclare("doctor_fanout", "fanout", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}

	i, err := inspect(t, broker.URL, "doctor")
	findings := RabbitMQ(i, err, true)
	wantFinding(t, findings, "connection", OK, "127.0.0.1")
	wantFinding(t, findings, "version", OK, "3.")
	wantFinding(t, findings, "queue doctor.dead-letter", Fail, "inequivalent arg 'x-")
	wantFinding(t, findings, "stream doctor.events", Warn, "current is none")
	wantFinding(t, findings, "exchange doctor_events", OK, "not there yet")
	wantFinding(t, findings, "exchange doctor_fanout", Fail, "topic")

	names, err := broker.Ctl("list_queues", "name", "--no-table-headers")
	if err != nil {
		t.Fatal(err)
	}
	if names != "doctor.dead-letter\ndoctor.events\n" && names != "doctor.events\ndoctor.dead-letter\n" {
		t.Errorf("the doctor declared queues: %s", names)
	}
	broker.Kill()
	i, err = inspect(t, broker.URL, "doctor")
	for production, want := range map[bool]Verdict{true: Fail, false: Warn} {
		wantFinding(t, RabbitMQ(i, err, production), "connection", want, "refused")
	}
}
