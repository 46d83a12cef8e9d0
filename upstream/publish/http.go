// Package publish is the HTTP API on which services publish events:
// POST /events/{key}. It also decides which requests are a service's.
package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/hometrip/gateway/internal/bearer"
	"github.com/hometrip/gateway/upstream/eventlog"
	"github.com/hometrip/gateway/upstream/routes"
)

// An Appender adds an event to the log; see eventlog.Log.
type Appender interface {
	Append(ctx context.Context, e eventlog.Entry) (wait func() (eventlog.Position, error))
}

// A Reach is whom an event reaches at the moment.
type Reach struct {
	Sockets   int   // connected to this node
	Elsewhere *bool // whether another node holds one of its rooms; nil: not known now
}

// retryAfter is the value of Retry-After while the log is away, in seconds.
const retryAfter = "1"

// A Publisher is the http.Handler of POST /events/{key}: an event of a service
// that does not use RabbitMQ, with the same body and the same routes. It
// answers 202 when the log has the event, and 503 when it has not. The header
// Idempotency-Key is the event's message id. Safe for concurrent use.
type Publisher struct {
	Table   *routes.Table
	Log     Appender
	MaxBody int    // bytes
	Token   string // what services send as "Authorization: Bearer …"; "": none would do
	Local   bool   // without a Token, programs on this machine may publish

	// Reach finds out whom an event for these rooms reaches.
	Reach func(ctx context.Context, rooms []string) Reach
}

// BadIdempotencyKey is the reason if a request is refused because of its
// Idempotency-Key.
const BadIdempotencyKey = "bad_idempotency_key"

const (
	headerIdempotency = "Idempotency-Key"
	headerTrace       = "traceparent" // W3C Trace Context

	// maxIdempotency is the longest message id of RabbitMQ, in bytes.
	maxIdempotency = 255
)

// ServeHTTP implements http.Handler.
func (p *Publisher) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if (Access{p.Token, p.Local}).Refused(w, r) {
		return
	}
	e, event, no := p.read(r)
	if no != nil {
		answer(w, no.status, no.body())
		return
	}
	wait := p.Log.Append(r.Context(), e)
	finish := func() {
		position, err := wait()
		if err != nil {
			w.Header().Set("Retry-After", retryAfter)
			answer(w, http.StatusServiceUnavailable, map[string]any{"error": "not in the log, try again: " + err.Error()})
			return
		}
		answer(w, http.StatusAccepted, p.accepted(r.Context(), &event, position))
	}
	if w, ok := w.(patient); ok {
		w.Later(finish) // so that events of one connection are on their way together
		return
	}
	finish()
}

// A refusal says why a request's event is not added to the log.
type refusal struct {
	status int
	err    string
	reason string // "": only the text says it
}

func (r *refusal) body() map[string]any {
	body := map[string]any{"error": r.err}
	if r.reason != "" {
		body["reason"] = r.reason
	}
	return body
}

// read converts a request into an entry of the log and the event that clients
// get, or returns the refusal.
func (p *Publisher) read(r *http.Request) (entry eventlog.Entry, event routes.Event, no *refusal) {
	id, ok := idempotencyKey(r)
	if !ok {
		text := fmt.Sprintf("%s: want one of 1 to %d visible ASCII characters", headerIdempotency, maxIdempotency)
		return entry, event, &refusal{http.StatusBadRequest, text, BadIdempotencyKey}
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, int64(p.MaxBody)+1))
	if err != nil {
		return entry, event, &refusal{http.StatusBadRequest, "the body could not be read", ""}
	}
	if len(body) > p.MaxBody {
		text := fmt.Sprintf("more than %d bytes", p.MaxBody)
		return entry, event, &refusal{http.StatusRequestEntityTooLarge, text, routes.ReasonTooLarge.String()}
	}
	now := time.Now()
	event, err = routes.NewEncoder(p.Table, p.MaxBody).Encode(r.PathValue("key"), body, now)
	if bad, ok := errors.AsType[*routes.Poison](err); ok {
		text := bad.Detail
		if bad.Reason == routes.ReasonNotJSON || bad.Reason == routes.ReasonNotObject {
			text = routes.Fault(body)
		}
		return entry, event, &refusal{statusOf(bad), text, bad.Reason.String()}
	}
	return eventlog.Entry{
		Key: r.PathValue("key"), MessageID: id, Body: body, Published: now, Trace: r.Header.Get(headerTrace),
	}, event, nil
}

// accepted is the body of the answer to an event that is in the log.
func (p *Publisher) accepted(ctx context.Context, e *routes.Event, position eventlog.Position) map[string]any {
	body := map[string]any{}
	if e.Order != nil {
		body["order"] = true
	} else {
		reach := p.Reach(ctx, e.Rooms)
		body["rooms"], body["sockets"] = len(e.Rooms), reach.Sockets
		if reach.Elsewhere != nil {
			body["elsewhere"] = *reach.Elsewhere
		}
	}
	if position != 0 { // else the log has not told it in time
		body["position"] = position.String()
	}
	return body
}

// idempotencyKey returns the request's Idempotency-Key, "" when it has none.
func idempotencyKey(r *http.Request) (key string, ok bool) {
	values := r.Header.Values(headerIdempotency)
	if len(values) == 0 {
		return "", true
	}
	invisible := func(c rune) bool { return c < '!' || c > '~' }
	key = values[0]
	return key, len(values) == 1 && key != "" && len(key) <= maxIdempotency && !strings.ContainsFunc(key, invisible)
}

// A patient is a ResponseWriter that lets later requests begin before the rest
// of the handler runs. The gateway's own port has it.
type patient interface{ Later(rest func()) }

// Access decides which requests come from a service.
type Access struct {
	Token string // what services send as "Authorization: Bearer …"; "": none would do
	Local bool   // without a Token, programs on this machine may ask
}

// Refused answers a request that does not come from a service, and reports
// whether it did so.
func (a Access) Refused(w http.ResponseWriter, r *http.Request) bool {
	status, why := a.refuse(r)
	if status == 0 {
		return false
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	answer(w, status, map[string]any{"error": why})
	return true
}

// refuse returns the status for a refused request, 0 if it is not refused.
func (a Access) refuse(r *http.Request) (status int, why string) {
	if a.Token != "" {
		if !bearer.New(a.Token).Has(bearer.Token(r.Header.Get("Authorization"))) {
			return http.StatusUnauthorized, "want Authorization: Bearer and the PUBLISH_TOKEN"
		}
		return 0, ""
	}
	if !a.Local {
		return http.StatusForbidden, "requests of services are closed: PUBLISH_TOKEN is not set"
	}
	if !Local(r) || r.Method == http.MethodGet && !loopback(r.Host) {
		return http.StatusForbidden, "without PUBLISH_TOKEN only the gateway's machine may ask: its programs, and its console in a browser there"
	}
	return 0, ""
}

// Local reports whether a request that is not a GET was made on this machine:
// not through a proxy, and by a program or a page of the gateway itself.
//
// A browser says in Sec-Fetch-Site and Origin which page sends a request, and
// pages cannot change that. A request of another origin than the gateway's own
// is refused. That origin must also be an address of this machine. Otherwise a
// page whose name was made to resolve to 127.0.0.1 after it was loaded (DNS
// rebinding) would count as one of the gateway's.
func Local(r *http.Request) bool {
	for _, header := range []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip"} {
		if r.Header.Get(header) != "" {
			return false
		}
	}
	if sameOrigin.Check(r) != nil || r.Header.Get("Origin") != "" && !loopback(r.Host) {
		return false
	}
	return loopback(r.RemoteAddr)
}

var sameOrigin = http.NewCrossOriginProtection()

// loopback reports whether host, which may have a port, is this machine.
func loopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip.IsLoopback()
}

// statusOf returns the HTTP status for a body that cannot become an event.
func statusOf(p *routes.Poison) int {
	switch p.Reason {
	case routes.ReasonNoRoute:
		return http.StatusNotFound
	case routes.ReasonNoRoom, routes.ReasonBadID, routes.ReasonTooManyRooms:
		return http.StatusUnprocessableEntity
	}
	return http.StatusBadRequest
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client has gone
}
