package authz

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/golang-lru/v2/expirable"
	"golang.org/x/sync/singleflight"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/internal/loglimit"
	"github.com/hometrip/gateway/rooms"
)

const (
	maxAnswer   = 64 << 10         // bytes of an answer that are read
	logInterval = 10 * time.Second // between two lines about the application
	cacheSize   = 1 << 15          // answers kept, up to 600 bytes each
)

// A webhook asks ROOM_AUTH_URL. Safe for concurrent use.
type webhook struct {
	url, token string
	timeout    time.Duration
	client     *http.Client
	cache      *expirable.LRU[asked, Verdict] // nil: nothing is kept
	flights    singleflight.Group
	circuit    circuit
	log        *slog.Logger
	lines      loglimit.Limiter
}

// asked is a question, as the key of cached answers.
type asked struct{ user, email, role, room string }

func newWebhook(c Config) *webhook {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = c.Concurrency
	transport.MaxConnsPerHost = c.Concurrency
	w := &webhook{
		url: c.URL, token: c.Token, timeout: c.Timeout,
		client: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		circuit: circuit{users: make(map[string]record)},
		log:     c.Log,
	}
	if c.TTL > 0 {
		w.cache = expirable.NewLRU[asked, Verdict](cacheSize, nil, c.TTL)
	}
	return w
}

func (w *webhook) quick(who rooms.Identity, room string) (Verdict, bool) {
	if w.cache == nil {
		return Verdict{}, false
	}
	return w.cache.Get(askedOf(who, room))
}

func (w *webhook) begin(string) (given func()) { return func() {} }

func (w *webhook) decide(ctx context.Context, who rooms.Identity, room string) Verdict {
	q := askedOf(who, room)
	v, err, _ := w.flights.Do(strings.Join([]string{q.user, q.email, q.role, q.room}, "\x00"), func() (any, error) {
		return w.askUnlessResting(ctx, q)
	})
	if err != nil {
		return unknown("ROOM_AUTH_URL: %v", err)
	}
	verdict := v.(Verdict)
	if w.cache != nil {
		w.cache.Add(q, verdict)
	}
	return verdict
}

func (w *webhook) askUnlessResting(ctx context.Context, q asked) (Verdict, error) {
	probe, why := w.circuit.begin(q.user, time.Now())
	if why != asks {
		return Verdict{}, errors.New(string(why))
	}
	verdict, err := w.ask(ctx, q)
	changed, open := w.circuit.done(q.user, probe, err != nil, time.Now())
	if changed {
		if _, ok := w.lines.Allow(time.Now(), logInterval); ok {
			w.log.Warn("the application's answers about rooms", "setting", "ROOM_AUTH_URL", "resting", open, "error", err)
		}
	}
	return verdict, err
}

// ask sends one question. An error means that there was no answer.
func (w *webhook) ask(ctx context.Context, q asked) (Verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	kind, id, _ := strings.Cut(q.room, ":")
	body, err := json.Marshal(map[string]codec.JSONText{
		"userId": codec.JSONText(q.user), "email": codec.JSONText(q.email), "role": codec.JSONText(q.role),
		"room": codec.JSONText(q.room), "roomType": codec.JSONText(kind), "roomId": codec.JSONText(id),
	})
	if err != nil {
		return Verdict{}, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return Verdict{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	if w.token != "" {
		request.Header.Set("Authorization", "Bearer "+w.token)
	}
	response, err := w.client.Do(request)
	if err != nil {
		return Verdict{}, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return Verdict{}, err
	}
	if s := response.StatusCode; s == http.StatusUnauthorized || s == http.StatusProxyAuthRequired {
		if _, ok := w.lines.Allow(time.Now(), logInterval); ok {
			w.log.Warn("ROOM_AUTH_URL refuses the gateway's requests, so no user may join a room: check ROOM_AUTH_TOKEN", "status", s)
		}
	}
	return read(response.StatusCode, answer)
}

// read interprets an answer: 204 allows; 200 has the decision in its body,
// {"allow": true}; 4xx denies, except those that say the request came at the
// wrong time. An error means that there was no answer.
func read(status int, body []byte) (Verdict, error) {
	switch {
	case status == http.StatusNoContent:
		return yes("the application says yes (204)"), nil
	case status == http.StatusRequestTimeout || status == http.StatusTooEarly || status == http.StatusTooManyRequests:
		return Verdict{}, fmt.Errorf("answered with %d: asked at the wrong time", status)
	case status >= 400 && status < 500:
		return no("the application says no (%d)", status), nil
	case status != http.StatusOK:
		return Verdict{}, fmt.Errorf("answered with %d, want 200, 204 or 4xx", status)
	}
	var answer struct {
		Allow  *bool  `json:"allow"`
		Reason string `json:"reason"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Allow == nil {
		return Verdict{}, errors.New(`answered with 200 and no {"allow": true or false}`)
	}
	why := "the application says so"
	if answer.Reason != "" {
		why = fmt.Sprintf("the application says: %.200s", answer.Reason)
	}
	return Verdict{Allow: *answer.Allow, Why: why}, nil
}

func askedOf(who rooms.Identity, room string) asked {
	return asked{who.UserID, who.Email, who.Role, room}
}
