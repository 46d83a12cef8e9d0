package doctor

import (
	"context"
	"net"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/upstream"
	"github.com/hometrip/gateway/upstream/brokertest"
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
		t.Errorf("somebody listens: %+v", f)
	}
	l.Close()
	if f := Service(t.Context(), "X", address); f.Verdict != Warn || f.Do == "" {
		t.Errorf("nobody listens: %+v", f)
	}
	if f := Service(t.Context(), "X", ""); f.Verdict != Skip {
		t.Errorf("not set: %+v", f)
	}
}

// inspect looks at RabbitMQ with the built-in routes.
func inspect(t *testing.T, address, prefix string) (*upstream.Inspection, error) {
	t.Helper()
	table, err := upstream.NewTable(nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return upstream.Inspect(ctx, []string{address}, []string{"doctor_events", "doctor_fanout"}, prefix, table)
}

func TestRabbitMQ(t *testing.T) {
	broker, err := brokertest.Start()
	if err != nil {
		t.Fatal(err)
	}
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
	// One as the Node gateway has them, one that loops.
	for name, args := range map[string]amqp.Table{
		"doctor.message.sent": nil,
		"doctor.booking.*":    {"x-queue-type": "quorum", "x-single-active-consumer": true},
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
	wantFinding(t, findings, "queue doctor.message.sent", Fail, "inequivalent arg 'x-")
	wantFinding(t, findings, "queue doctor.booking.*", Fail, "overtake")
	wantFinding(t, findings, "queue doctor.notification.created", OK, "not there yet")
	wantFinding(t, findings, "queue doctor.dead-letter", OK, "not there yet")
	wantFinding(t, findings, "exchange doctor_events", OK, "not there yet")
	wantFinding(t, findings, "exchange doctor_fanout", Fail, "topic")

	names, err := broker.Ctl("list_queues", "name", "--no-table-headers")
	if err != nil {
		t.Fatal(err)
	}
	if names != "doctor.message.sent\ndoctor.booking.*\n" && names != "doctor.booking.*\ndoctor.message.sent\n" {
		t.Errorf("the doctor has made queues: %s", names)
	}
	broker.Kill()
	i, err = inspect(t, broker.URL, "doctor")
	for production, want := range map[bool]Verdict{true: Fail, false: Warn} {
		wantFinding(t, RabbitMQ(i, err, production), "connection", want, "refused")
	}
}
