package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/upstream/rabbitmq"
)

const (
	dialTimeout  = 3 * time.Second
	smallSkew    = 2 * time.Second  // of clocks; a second is what they are told apart by
	largeSkew    = 30 * time.Second // tokens are then good too long, or not yet
	minRabbitMQ  = "3.10"           // dead letters of quorum queues arrive for certain from there on
	minRedisText = "6.0"            // client-side caching
)

// RabbitMQ returns the findings of an inspection.
func RabbitMQ(i *rabbitmq.Inspection, err error, production bool) []Finding {
	if err != nil {
		return []Finding{bad(severe(production), "connection", err.Error(), "an answer", "check RABBITMQ_HOST or RABBITMQ_URL, user and vhost")}
	}
	findings := []Finding{ok("connection", "%s", i.Host), version("version", i.Version, minRabbitMQ, "upgrade it: dead letters may be lost")}
	for _, f := range i.Found {
		check := f.Kind + " " + f.Name
		switch {
		case f.Instead != "":
			findings = append(findings, bad(Warn, check, "missing; the log is in Redis, and queue "+f.Instead+" leads to it", "a RabbitMQ with streams",
				"rabbitmqctl enable_feature_flag stream_queue (3.9 or later), and restart all gateways"))
		case f.Missing:
			findings = append(findings, ok(check, "not there yet; the gateway creates it"))
		case f.Foreign != nil:
			findings = append(findings, foreign(check, f))
		default:
			findings = append(findings, ok(check, "as it should be"))
		}
	}
	return findings
}

func foreign(check string, f rabbitmq.Found) Finding {
	if e, ok := errors.AsType[*amqp.Error](f.Foreign); ok && e.Code == amqp.AccessRefused {
		return skip(check, "no permission to read it: %s", e.Reason)
	}
	switch f.Kind {
	case "exchange":
		return bad(Fail, check, reason(f.Foreign), wantExchange, "delete it, and start the gateway")
	case "stream":
		return bad(Warn, check, reason(f.Foreign), wantStream, "delete it while no client waits for an event, and start the gateway")
	}
	return bad(Fail, check, reason(f.Foreign), wantQueue, "delete it when it is empty, and start the gateway")
}

// What is missing if a queue or an exchange exists in another form. RabbitMQ
// names only one of the arguments that differ.
const (
	wantQueue    = "a quorum queue with a delivery limit that looking at letters does not reach"
	wantStream   = "a stream with the age and size of EVENT_LOG_RETENTION and EVENT_LOG_MAX_BYTES"
	wantExchange = "a durable topic exchange: routes are patterns of keys"
)

// reason returns RabbitMQ's reason without the text around it.
func reason(err error) string {
	if e, ok := errors.AsType[*amqp.Error](err); ok {
		return e.Reason
	}
	return err.Error()
}

// version compares two versions by their first two numbers.
func version(check, found, least, do string) Finding {
	if found == "" {
		return skip(check, "unknown")
	}
	if older(found, least) {
		return bad(Fail, check, found, least+" or later", do)
	}
	return ok(check, "%s", found)
}

func older(version, than string) bool {
	a, b := numbers(version), numbers(than)
	return a[0] < b[0] || a[0] == b[0] && a[1] < b[1]
}

func numbers(version string) (n [2]int) {
	for i, word := range strings.SplitN(version, ".", 3) {
		if i < len(n) {
			n[i], _ = strconv.Atoi(word)
		}
	}
	return n
}

// Service tries to reach the address of a service.
func Service(ctx context.Context, setting, address string) Finding {
	if address == "" {
		return skip(setting, "not set")
	}
	u, err := url.Parse(address)
	if err != nil {
		return bad(Warn, setting, "no address", "http://host:port", "correct it")
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443"}[u.Scheme]
	}
	if port == "" {
		port = "80"
	}
	d := net.Dialer{Timeout: dialTimeout}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return bad(Warn, setting, err.Error(), "an open port", "start it, or correct the address")
	}
	_ = conn.Close()
	return ok(setting, "%s listens", u.Host)
}

// clock compares another clock with ours at the middle between request and
// answer.
func clock(check string, theirs, asked, heard time.Time) Finding {
	ours := asked.Add(heard.Sub(asked) / 2)
	skew := theirs.Sub(ours).Abs().Round(time.Millisecond)
	found := fmt.Sprintf("%v apart", skew)
	switch {
	case skew > largeSkew:
		return bad(Fail, check, found, fmt.Sprintf("%v at most: tokens end too early or too late", smallSkew), "synchronise the clocks of both hosts (chrony)")
	case skew > smallSkew:
		return bad(Warn, check, found, fmt.Sprintf("%v at most", smallSkew), "synchronise the clocks of both hosts (chrony)")
	}
	return ok(check, "%s", found)
}
