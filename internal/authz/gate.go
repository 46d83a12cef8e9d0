package authz

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hometrip/gateway/internal/fairpool"
	"github.com/hometrip/gateway/rooms"
)

// A Verdict is a policy's answer.
type Verdict struct {
	Allow   bool
	Why     string // for people; names the rule, never a secret
	Unknown bool   // there was no answer, and so Allow is false
}

func yes(format string, args ...any) Verdict {
	return Verdict{Allow: true, Why: fmt.Sprintf(format, args...)}
}

func no(format string, args ...any) Verdict {
	return Verdict{Why: fmt.Sprintf(format, args...)}
}

func unknown(format string, args ...any) Verdict {
	return Verdict{Unknown: true, Why: fmt.Sprintf(format, args...)}
}

// A policy decides about rooms. Safe for concurrent use.
type policy interface {
	// quick decides at once if it can; ok is false if decide has to be called
	// instead.
	quick(who rooms.Identity, room string) (v Verdict, ok bool)

	// begin is called before decide; the function it returns is called after
	// the answer was given.
	begin(room string) (given func())

	// decide decides, and may block until ctx ends.
	decide(ctx context.Context, who rooms.Identity, room string) Verdict
}

// Errors that clients get.
var (
	errUnavailable = errors.New("Authorization unavailable")
	errBusy        = errors.New("Authorization busy, try again")
)

// A Gate is a rooms.Authorizer. Safe for concurrent use.
type Gate struct {
	policy     policy
	own        bool // notification rooms are for their own users alone
	workers    int
	pool       *fairpool.Pool[string] // by user; nil before Start
	end        context.CancelFunc     // of background
	background sync.WaitGroup
	counts     [outcomes]atomic.Int64
}

var _ rooms.Authorizer = (*Gate)(nil)

// Authorize implements rooms.Authorizer.
func (g *Gate) Authorize(who rooms.Identity, room string, done func(error)) {
	if v, ok := g.quick(who, room); ok {
		done(g.answer(v))
		return
	}
	ask := func(ctx context.Context) {
		given := g.policy.begin(room)
		done(g.answer(g.policy.decide(ctx, who, room)))
		given()
	}
	if !g.pool.Do(who.UserID, who.Size()+len(room), ask) {
		g.counts[Busy].Add(1)
		done(errBusy)
	}
}

func (g *Gate) quick(who rooms.Identity, room string) (v Verdict, ok bool) {
	if id, found := strings.CutPrefix(room, rooms.NotificationPrefix); found {
		switch {
		case id == who.UserID && id != "":
			return yes("it is the user's own notification room"), true
		case g.own:
			return no("NOTIFICATION_ROOMS=own: it is another user's notification room"), true
		}
	}
	return g.policy.quick(who, room)
}

// Explain decides as Authorize does, and returns the reason.
func (g *Gate) Explain(ctx context.Context, who rooms.Identity, room string) Verdict {
	if v, ok := g.quick(who, room); ok {
		return v
	}
	return g.policy.decide(ctx, who, room)
}

func (g *Gate) answer(v Verdict) error {
	switch {
	case v.Allow:
		g.counts[Allowed].Add(1)
		return nil
	case v.Unknown:
		g.counts[Unavailable].Add(1)
		return errUnavailable
	}
	g.counts[Denied].Add(1)
	return rooms.ErrNotAllowed
}

// An Outcome is the result of a question about a room.
type Outcome uint8

// The outcomes.
const (
	Allowed     Outcome = iota
	Denied              // the policy said no
	Unavailable         // it did not say
	Busy                // too many questions were waiting
	outcomes
)

var outcomeNames = [outcomes]string{"allowed", "denied", "unavailable", "busy"}

// String implements fmt.Stringer.
func (o Outcome) String() string {
	if o < outcomes {
		return outcomeNames[o]
	}
	return fmt.Sprintf("outcome %d", uint8(o))
}

// Counts returns how many questions ended with each outcome.
func (g *Gate) Counts() map[Outcome]int64 {
	counts := make(map[Outcome]int64, outcomes)
	for o := range outcomes {
		counts[o] = g.counts[o].Load()
	}
	return counts
}

// prompt is embedded in policies that always answer at once.
type prompt struct{}

func (prompt) begin(string) func() { return func() {} }

func (prompt) decide(context.Context, rooms.Identity, string) Verdict {
	return unknown("the policy decides at once or not at all")
}

// open allows every room; notification rooms are checked before it.
type open struct{ prompt }

func (open) quick(rooms.Identity, string) (Verdict, bool) {
	return yes("ROOM_POLICY=open: everybody may be in every room"), true
}
