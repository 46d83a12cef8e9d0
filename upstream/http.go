package upstream

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/hometrip/gateway/rooms"
)

// Rooms is where events go. Both methods are called off the event loops, may
// wait, and keep the order of one goroutine's calls.
type Rooms interface {
	// Deliver hands a broadcast to everybody in its room, on every node, and
	// returns how many shards or nodes that were. After an error it may have
	// reached some of them and has to be called again.
	Deliver(ctx context.Context, b rooms.Broadcast) (int, error)

	// Sync has done called, from any goroutine, when everything that this
	// goroutine has delivered is with its receivers.
	Sync(ctx context.Context, done func()) error
}

// A Publisher is the http.Handler of POST /events/{key}: an event of a service
// that has no RabbitMQ, with the same body and the same routes. It answers 202
// at the point where an event of RabbitMQ would be acknowledged. Safe for
// concurrent use.
type Publisher struct {
	Table   *Table
	Rooms   Rooms
	MaxBody int    // bytes
	Token   string // what services send as "Authorization: Bearer …"; "": none would do
	Local   bool   // without a Token, programs on this machine may publish
	Log     *slog.Logger
}

func (p *Publisher) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if status, why := p.refuse(r); status != 0 {
		if status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		answer(w, status, map[string]any{"error": why})
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, int64(p.MaxBody)+1))
	if err != nil {
		answer(w, http.StatusBadRequest, map[string]any{"error": "the body could not be read"})
		return
	}
	if len(body) > p.MaxBody {
		answer(w, http.StatusRequestEntityTooLarge, map[string]any{
			"error": fmt.Sprintf("more than %d bytes", p.MaxBody), "reason": ReasonTooLarge.String(),
		})
		return
	}
	e, err := NewEncoder(p.Table, p.MaxBody).Encode(r.PathValue("key"), body, time.Now())
	if bad, ok := errors.AsType[*Poison](err); ok {
		why := bad.Detail
		if bad.Reason == ReasonNotJSON || bad.Reason == ReasonNotObject {
			why = fault(body)
		}
		answer(w, bad.status(), map[string]any{"error": why, "reason": bad.Reason.String()})
		return
	}
	through, err := p.handOver(r.Context(), e)
	finish := func() {
		if err == nil {
			err = arrival(r.Context(), through)
		}
		if err != nil {
			answer(w, http.StatusServiceUnavailable, map[string]any{"error": "not with all receivers, try again: " + err.Error()})
			return
		}
		logEvent(p.Log, "http", r.PathValue("key"), "", r.Header.Get(traceHeader), &e)
		accepted := map[string]any{"rooms": len(e.Rooms)}
		if e.Order != nil {
			accepted = map[string]any{"order": true}
		}
		answer(w, http.StatusAccepted, accepted)
	}
	if w, ok := w.(patient); ok {
		w.Later(finish) // so that events of one connection are on their way together
		return
	}
	finish()
}

// A patient ResponseWriter lets the requests behind this one be begun before
// the rest of the handler is run. The gateway's own port has it.
type patient interface{ Later(rest func()) }

// handOver delivers an event. The channel is closed when it is with its
// receivers on this node and published to the others. After an error some may
// have it.
func (p *Publisher) handOver(ctx context.Context, e Event) (through chan struct{}, err error) {
	for _, room := range e.Rooms {
		if _, err := p.Rooms.Deliver(ctx, e.in(room)); err != nil {
			return nil, err
		}
	}
	through = make(chan struct{})
	return through, p.Rooms.Sync(ctx, func() { close(through) })
}

func arrival(ctx context.Context, through chan struct{}) error {
	select {
	case <-through:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// refuse returns the status for who may not publish, 0 for who may.
func (p *Publisher) refuse(r *http.Request) (status int, why string) {
	if p.Token != "" {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || subtle.ConstantTimeCompare([]byte(token), []byte(p.Token)) != 1 {
			return http.StatusUnauthorized, "want Authorization: Bearer and the PUBLISH_TOKEN"
		}
		return 0, ""
	}
	if !p.Local {
		return http.StatusForbidden, "publishing over HTTP is closed: PUBLISH_TOKEN is not set"
	}
	if !Local(r) {
		return http.StatusForbidden, "without PUBLISH_TOKEN only the gateway's machine may publish: its programs, and its console in a browser there"
	}
	return 0, ""
}

// Local reports whether a request that is not a GET was made on this machine:
// not through a proxy, and by a program or a page of the gateway itself.
//
// A browser says in Sec-Fetch-Site and Origin which page sends a request, and
// pages cannot change that: whatever is not of the gateway's own origin is
// refused. That origin has to be an address of this machine, too. Otherwise a
// page of a name that has come to mean 127.0.0.1 since it was loaded (DNS
// rebinding) would be one of the gateway's.
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

// loopback reports whether host, perhaps with a port, is this machine.
func loopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip.IsLoopback()
}

func (p *Poison) status() int {
	switch p.Reason {
	case ReasonNoRoute:
		return http.StatusNotFound
	case ReasonNoRoom, ReasonBadID, ReasonTooManyRooms:
		return http.StatusUnprocessableEntity
	}
	return http.StatusBadRequest
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // whoever does not read it has gone
}
