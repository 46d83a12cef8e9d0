package authz

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/golang-lru/v2/expirable"
	"github.com/sony/gobreaker/v2"
	"golang.org/x/sync/singleflight"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/rooms"
)

const (
	maxAnswer = 64 << 10 // bytes of an answer that are read
	cacheSize = 1 << 16  // answers kept, some 200 bytes each

	// The circuit breaker gives the application a rest when it fails so often
	// in a row, and then tries one question.
	breakAfter = 5
	breakFor   = 5 * time.Second
)

// A webhook asks the application. Safe for concurrent use.
type webhook struct {
	url, token string
	timeout    time.Duration
	client     *http.Client
	cache      *expirable.LRU[asked, Verdict] // nil: nothing is kept
	flights    singleflight.Group
	breaker    *gobreaker.CircuitBreaker[Verdict]
}

// asked is a question as far as the answer depends on it.
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
		breaker: gobreaker.NewCircuitBreaker[Verdict](gobreaker.Settings{
			Name: "ROOM_AUTH_URL", Timeout: breakFor,
			ReadyToTrip: func(n gobreaker.Counts) bool { return n.ConsecutiveFailures >= breakAfter },
			OnStateChange: func(name string, from, to gobreaker.State) {
				c.Log.Warn("the application's answers about rooms", "setting", name, "circuitBreaker", to.String())
			},
		}),
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
		return w.breaker.Execute(func() (Verdict, error) { return w.ask(ctx, q) })
	})
	switch {
	case errors.Is(err, gobreaker.ErrOpenState), errors.Is(err, gobreaker.ErrTooManyRequests):
		return unknown("ROOM_AUTH_URL has failed %d times in a row and is given a rest", breakAfter)
	case err != nil:
		return unknown("ROOM_AUTH_URL: %v", err)
	}
	verdict := v.(Verdict)
	if w.cache != nil {
		w.cache.Add(q, verdict)
	}
	return verdict
}

// ask puts one question. An error means that there was no answer.
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
	return read(response.StatusCode, answer)
}

// read understands an answer: 204 is yes, 403 and 404 are no, 200 says it in
// its body, {"allow": true}.
func read(status int, body []byte) (Verdict, error) {
	switch status {
	case http.StatusNoContent:
		return yes("the application says yes (204)"), nil
	case http.StatusForbidden, http.StatusNotFound:
		return no("the application says no (%d)", status), nil
	case http.StatusOK:
	default:
		return Verdict{}, fmt.Errorf("answered with %d, want 200, 204, 403 or 404", status)
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
