package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/internal/gatewaytest"
)

const eventRoutes = `
routes:
  - event: trip.#
    rooms: ["user:{travellerIds[]}", "user:{organiserId|hostId}"]
    emit: trip_update
    fields: all
  - event: booking.reminder
    rooms: "user:{userIds[]}"
    emit: booking_reminder
    fields: [bookingId, timestamp]
  - event: offer.published
    rooms: "notification:{topic}"
    emit: offer
    fields:
      - title
      - {name: price, from: amount|price, default: {currency: EUR}}
      - {name: kind, from: $key}
      - timestamp
    volatile: true
  - event: deal
    rooms: ["conversation:{chat}", "notification:{topic}", "user:{userIds[]}"]
    emit: deal
    fields: [n]
`

// Numbers of the listeners: ann is user 7, in a conversation and a topic; ben is user
// b-8, in no room but his own.
const (
	ann = "0 "
	ben = "1 "
)

// eventCases has the messages of services, published at noon, and the events that each
// client must get for them.
var eventCases = []struct {
	what, key, body string
	want            []string
}{
	{"bare, ids as numbers", "message.sent",
		`{"conversationId":42,"senderId":1,"recipientId":2,"message":"hi","timestamp":"T"}`,
		[]string{ann + `new_message [{"conversationId":42,"senderId":1,"recipientId":2,"message":"hi","timestamp":"T"}]`}},
	{"bare, ids as text, unknown fields, no timestamp", "message.sent",
		` {"message":"h\u00e9 \"😀\"\n","conversationId":"42","senderId":"a","password":"secret","v":[1]} `,
		[]string{ann + `new_message [{"conversationId":"42","senderId":"a","message":"hé \"😀\"\n","timestamp":"2026-01-02T12:00:00.000Z"}]`}},
	{"enveloped with eventName", "message.sent",
		`{"eventName":"message.sent","source":"messages","timestamp":"outer","data":{"conversationId":42,"message":"1"}}`,
		[]string{ann + `new_message [{"conversationId":42,"message":"1","timestamp":"outer"}]`}},
	{"enveloped with eventType and a time inside", "message.sent",
		`{"eventType":"message.sent","timestamp":"outer","data":{"conversationId":"42","message":"2","timestamp":"inner"}}`,
		[]string{ann + `new_message [{"conversationId":"42","message":"2","timestamp":"inner"}]`}},
	{"enveloped without any time", "message.sent",
		`{"eventName":"message.sent","data":{"conversationId":42}}`,
		[]string{ann + `new_message [{"conversationId":42,"timestamp":"2026-01-02T12:00:00.000Z"}]`}},
	{"a timestamp that is null", "message.sent", `{"conversationId":42,"timestamp":null,"senderId":null}`,
		[]string{ann + `new_message [{"conversationId":42,"senderId":null,"timestamp":"2026-01-02T12:00:00.000Z"}]`}},

	{"booking, bare", "booking.confirmed", `{"userId":7,"bookingId":"b1","status":"confirmed","type":"theirs","timestamp":"T"}`,
		[]string{ann + `booking_update [{"bookingId":"b1","status":"confirmed","type":"booking_confirmed","timestamp":"T"}]`}},
	{"booking, reservationId and a user's id as text", "booking.cancelled", `{"userId":"b-8","reservationId":5,"status":"gone"}`,
		[]string{ben + `booking_update [{"bookingId":5,"status":"gone","type":"booking_cancelled","timestamp":"2026-01-02T12:00:00.000Z"}]`}},
	{"booking, enveloped", "booking.paid", `{"eventType":"booking.paid","data":{"userId":"7","bookingId":6,"reservationId":5},"timestamp":"T"}`,
		[]string{ann + `booking_update [{"bookingId":6,"type":"booking_paid","timestamp":"T"}]`}},
	{"notification", "notification.created",
		`{"userId":"7","notificationId":1,"type":"info","title":"t","message":"m","data":{"deep":[1,{"a":null}]},"timestamp":1700000000}`,
		[]string{ann + `new_notification [{"notificationId":1,"type":"info","title":"t","message":"m","data":{"deep":[1,{"a":null}]},"timestamp":1700000000}]`}},
	{"notification, enveloped, with data in data", "notification.created",
		`{"eventName":"notification.created","data":{"userId":"b-8","data":{"a":1}},"timestamp":"T"}`,
		[]string{ben + `new_notification [{"data":{"a":1},"timestamp":"T"}]`}},

	{"a list of users, one named twice and one by another name", "trip.day.changed",
		`{"travellerIds":[7,"b-8",7,"nobody"],"hostId":"b-8","organiserId":null,"x":[],"timestamp":"T"}`,
		[]string{
			ann + `trip_update [{"travellerIds":[7,"b-8",7,"nobody"],"hostId":"b-8","organiserId":null,"x":[],"timestamp":"T"}]`,
			ben + `trip_update [{"travellerIds":[7,"b-8",7,"nobody"],"hostId":"b-8","organiserId":null,"x":[],"timestamp":"T"}]`,
		}},
	{"an empty list, and the one beside it", "trip", `{"eventName":"trip","data":{"travellerIds":[],"organiserId":7}}`,
		[]string{ann + `trip_update [{"travellerIds":[],"organiserId":7,"timestamp":"2026-01-02T12:00:00.000Z"}]`}},
	{"userIds, in place of a built-in route", "booking.reminder", `{"userIds":["7","b-8"],"bookingId":9,"secret":1,"timestamp":"T"}`,
		[]string{
			ann + `booking_reminder [{"bookingId":9,"timestamp":"T"}]`,
			ben + `booking_reminder [{"bookingId":9,"timestamp":"T"}]`,
		}},
	{"renamed, the key, a topic", "offer.published", `{"topic":"lisbon","title":"Sun","price":9.5,"amount":null,"timestamp":"T"}`,
		[]string{ann + `offer [{"title":"Sun","price":9.5,"kind":"offer_published","timestamp":"T"}]`}},
	{"a default", "offer.published", `{"topic":"lisbon","timestamp":"T"}`,
		[]string{ann + `offer [{"price":{"currency":"EUR"},"kind":"offer_published","timestamp":"T"}]`}},
	{"several rooms, of which one client sits in all", "deal", `{"chat":42,"topic":"lisbon","userIds":["b-8","7"],"n":1}`,
		[]string{ann + `deal [{"n":1}]`, ben + `deal [{"n":1}]`}},
}

// Each event of eventCases is published through RabbitMQ, and again by the command
// line or over HTTP. The clients must get what the case says, on every transport.
func TestServiceEventsReachClients(t *testing.T) {
	t.Parallel()
	h := newFixture(t, "events", eventRoutes)
	a := h.audience(t, listener{"7", []string{"conversation:42", "notification:lisbon"}}, listener{User: "b-8"})
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	for _, c := range eventCases {
		h.publish(c.key, amqp.Publishing{Body: []byte(c.body), Timestamp: noon})
		a.want(t, c.what, c.want...)
	}
	for i, c := range eventCases { // the same events by the command and over HTTP
		want := c.want
		switch {
		case strings.Contains(strings.Join(want, ""), "12:00:00"):
			continue // these ways carry no publishing time
		case i%2 == 0:
			h.command("publish", "--exchange", h.name+"-second", c.key, c.body)
		default:
			if out := h.command("publish", "--http", h.URL, c.key, c.body); !strings.Contains(out, `"rooms":`) {
				t.Errorf("%s: publish over HTTP: %s", c.what, out)
			}
		}
		a.want(t, c.what+", published by command", want...)
	}
	before := time.Now().Add(-time.Millisecond)
	h.publish("message.sent", amqp.Publishing{Body: []byte(`{"conversationId":42}`)})
	for _, c := range a.crowds {
		s := c.want("event", 1)[0]
		text := strings.TrimSuffix(strings.TrimPrefix(s.Args, `[{"conversationId":42,"timestamp":"`), `"}]`)
		if at, err := time.Parse("2006-01-02T15:04:05.000Z", text); err != nil || at.Before(before.Truncate(time.Millisecond)) || at.After(time.Now()) {
			t.Errorf("event without a time: %s (%v), want the time of publishing", s.Args, err)
		}
	}
	if n := h.Metric(`gateway_service_events_total{what="dead_letter"}`); n != 0 {
		t.Errorf("%v dead letters, want none", n)
	}
}

// RabbitMQ cannot be reached. /health, /ready and /metrics report its state to
// everyone, and the addresses and errors only to requests with METRICS_TOKEN. No
// password may appear.
func TestRabbitMQOutageIsReported(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it has no RabbitMQ")
	g := start(t, "NODE_ENV=production", "METRICS_TOKEN="+gatewaytest.PublishToken,
		"USE_RABBITMQ=true", "RABBITMQ_URL=amqp://guest:sesame@127.0.0.1:1,amqp://guest:sesame@127.0.0.1:2")
	gatewaytest.Await(t, "attempts", func() bool { return g.Metric("gateway_event_log_attempts") >= 2 })
	if since := g.Metric("gateway_event_log_since_seconds"); time.Since(time.UnixMilli(int64(since*1e3))).Abs() > time.Minute {
		t.Errorf("disconnected since %v, want a time within the last minute", since)
	}
	for path, want := range map[string][]string{
		"/health":  {`"status":"degraded"`, `"isConnected":false`, `"reconnectAttempts":`, `"since":"20`, `"lastError":"connect to 127.0.0.1:1: `},
		"/ready":   {`"ready":false`, "rabbitmq is not connected since 20", " attempts, the last: connect to 127.0.0.1:1: "},
		"/metrics": {`"eventBus":{"isConnected":false,"reconnectAttempts":`, `"since":"20`, `"lastError":"connect to 127.0.0.1:1: `},
	} {
		status, body, err := g.Get(path)
		if ready := status == http.StatusOK; err != nil || ready == (path == "/ready") {
			t.Errorf("%s: status %d, %v", path, status, err)
		}
		for _, text := range append(want, "127.0.0.1:2") {
			if !strings.Contains(string(body), text) {
				t.Errorf("%s has no %s: %s", path, text, body)
			}
		}
		if strings.Contains(string(body), "sesame") {
			t.Errorf("%s shows the password: %s", path, body)
		}
	}
	for path, want := range map[string]string{
		"/health": `{"status":"degraded","service":"websocket-gateway","redis":"disabled","eventBus":{"isConnected":false}}`,
		"/ready":  `{"ready":false,"reasons":["rabbitmq is not connected"]}`,
	} {
		for token, header := range map[string]http.Header{"no": nil, "a wrong": {"Authorization": {"Bearer guess"}}} {
			if _, body, err := request(http.MethodGet, g.URL+path, header, ""); err != nil || strings.TrimSpace(string(body)) != want {
				t.Errorf("%s with %s token: %s %v, want %s", path, token, body, err, want)
			}
		}
	}
	if strings.Contains(g.Out.String(), "sesame") {
		t.Error("the log shows the password")
	}
}
