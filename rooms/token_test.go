package rooms

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/clocktest"
)

const success = `{"success":true}`

func tokenArg(token string) string { return fmt.Sprintf(`{"token":%q}`, token) }

func TestWarningFiveMinutesBeforeExpiry(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.connect("ann+1h")
	end := startTime.Add(time.Hour)
	if d := ann.socket.Deadline(); !d.Equal(end.Add(-5 * time.Minute)) {
		t.Errorf("deadline %v, want five minutes before %v", d, end)
	}
	w.at(end.Add(-5*time.Minute - time.Millisecond))
	ann.socket.Expire(w.now) // an early call has no effect
	ann.wantNothing()
	w.at(end.Add(-5 * time.Minute))
	ann.want("token_expiring_soon", `{"expiresIn":300}`)
	if d := ann.socket.Deadline(); !d.Equal(end) {
		t.Errorf("deadline %v, want %v", d, end)
	}
	w.at(end.Add(-time.Minute))
	ann.socket.Expire(w.now)
	ann.wantNothing() // the warning is sent once
}

// The warning is sent when 80 % of the token's life have passed, but not
// earlier than five minutes before its expiry.
func TestWarningScalesWithTheTokensLife(t *testing.T) {
	for life, left := range map[string]time.Duration{
		"24h": 5 * time.Minute, "25m": 5 * time.Minute, "10m": 2 * time.Minute, "5m": time.Minute,
		"299s": 59800 * time.Millisecond, "1m": 12 * time.Second, "900ms": 180 * time.Millisecond,
	} {
		w := newWorld(t, 1)
		ann := w.connect("ann+" + life)
		ann.wantNothing()
		d, _ := time.ParseDuration(life)
		due := startTime.Add(d - left)
		if got := ann.socket.Deadline(); !got.Equal(due) {
			t.Errorf("%s: deadline %v before the end, want %v", life, startTime.Add(d).Sub(got), left)
		}
		w.at(due.Add(-time.Millisecond))
		ann.wantNothing()
		w.at(due)
		ann.want("token_expiring_soon", fmt.Sprintf(`{"expiresIn":%d}`, left/time.Second))
	}
}

// The life of a token is counted from its time of issue, also if it is used later.
func TestWarningCountsTheAgeOfTheToken(t *testing.T) {
	for _, c := range []struct {
		age, left time.Duration
		want      time.Duration // time of the warning before the expiry; 0: at once
	}{
		{10 * time.Minute, 50 * time.Minute, 5 * time.Minute},
		{30 * time.Second, 30 * time.Second, 12 * time.Second},
		{50 * time.Second, 10 * time.Second, 0},
		{-time.Minute, 10 * time.Minute, 2 * time.Minute}, // the issuer's clock is ahead
	} {
		w := newWorld(t, 1, func(config *Config) {
			config.Auth = authFunc(func(_ string, now time.Time, done func(Identity, error)) {
				done(Identity{UserID: "ann", Issued: now.Add(-c.age), Expires: now.Add(c.left)}, nil)
			})
		})
		ann := w.connect("ann")
		if c.want == 0 {
			ann.want("token_expiring_soon", fmt.Sprintf(`{"expiresIn":%d}`, c.left/time.Second))
			continue
		}
		ann.wantNothing()
		if got := startTime.Add(c.left).Sub(ann.socket.Deadline()); got != c.want {
			t.Errorf("%v old: warned %v before the end, want %v", c.age, got, c.want)
		}
	}
}

// A client refreshes its token at each warning. It must need one token for 80 %
// of each token's life, however the issuer sets the times, and must not refresh
// in a loop.
func TestRefreshingAtEachWarningDoesNotLoop(t *testing.T) {
	type issuer func(now time.Time) Identity
	fresh := func(now time.Time) Identity {
		return Identity{UserID: "ann", Issued: now, Expires: now.Add(time.Minute)}
	}
	const hour = 3600
	for name, c := range map[string]struct {
		issue       issuer
		least, most int
	}{
		"new ones of a minute": {fresh, hour / 60, hour/48 + 1},
		"that do not say when they were issued": {func(now time.Time) Identity {
			return Identity{UserID: "ann", Expires: now.Add(time.Minute)}
		}, hour / 60, hour/48 + 1},
		"that say when the login was": {func(now time.Time) Identity {
			return Identity{UserID: "ann", Issued: startTime.Add(-24 * time.Hour), Expires: now.Add(time.Minute)}
		}, hour / 60, hour/48 + 2},
		"from a cache": {func(now time.Time) Identity {
			return fresh(now.Truncate(time.Minute)) // the same token for a minute
		}, 0, 2},
	} {
		w := newWorld(t, 1, func(config *Config) {
			config.Auth = authFunc(func(_ string, now time.Time, done func(Identity, error)) { done(c.issue(now), nil) })
		})
		w.now = startTime.Truncate(time.Minute)
		ann := w.connect("ann")
		asked := 0
		for range hour * 10 {
			w.at(w.now.Add(100 * time.Millisecond))
			for len(ann.inbox) > 0 && asked < 10_000 {
				if strings.Contains(ann.next(), "token_expiring_soon") {
					asked++
					ann.emit("refresh_token", tokenArg("new"))
				}
			}
		}
		if asked < c.least || asked > c.most {
			t.Errorf("tokens %s: the client refreshed %d times in an hour, want %d to %d", name, asked, c.least, c.most)
		}
	}
}

func TestLateWarning(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.connect("ann+1h")
	w.at(startTime.Add(57*time.Minute + 500*time.Millisecond)) // the event loop was late
	ann.want("token_expiring_soon", `{"expiresIn":179}`)
}

func TestTokenWithoutExpiry(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.connect("ann")
	if d := ann.socket.Deadline(); !d.IsZero() {
		t.Errorf("deadline %v, want none", d)
	}
	w.at(startTime.Add(10 * 365 * 24 * time.Hour))
	ann.wantNothing()
	ann.wantOpen()
}

func TestExpiryDisconnects(t *testing.T) {
	onShards(t, func(t *testing.T, w *world) {
		ann, bob := w.connect("ann+1m"), w.connect("bob")
		ann.ask("join_room", conversation("1"))
		bob.ask("join_room", conversation("1"))
		ann.wantAbout("user_joined", bob, "conversation:1")
		w.at(startTime.Add(time.Minute - time.Millisecond))
		ann.want("token_expiring_soon", `{"expiresIn":0}`)
		w.wantNothing(ann, bob)
		wakes := ann.wakes

		w.at(startTime.Add(time.Minute))
		ann.wantEnded("token_expired")
		bob.wantAbout("user_left", ann, "conversation:1")
		ann.wantOpen() // only the socket is disconnected
		if ann.wakes == wakes {
			t.Error("the session was not woken for its new deadline")
		}
		if s := w.hub.Stats(); s.TokensExpired != 1 || s.Sockets != 1 {
			t.Errorf("%d expired, %d sockets, want one each", s.TokensExpired, s.Sockets)
		}
		w.deliver("user:ann", "news")
		w.wantNothing(ann)

		ann.name = "ann"
		ann.connect("ann") // the same session may connect again
		ann.ask("join_room", conversation("1"))
		bob.wantAbout("user_joined", ann, "conversation:1")

		bob.hangUp()
		ann.next()
		ann.hangUp()
		w.wantEmpty()
	})
}

func TestConnectTimeoutAfterExpiry(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.connect("ann+1m")
	w.at(startTime.Add(time.Minute))
	ann.wantOpen()
	w.at(startTime.Add(time.Minute + 45*time.Second))
	ann.wantClosed(ReasonConnectTimeout)
}

// The time to CONNECT is a span of the monotonic clock. Setting the wall clock
// must not change when it ends.
func TestConnectTimeoutWhileTheClockIsSet(t *testing.T) {
	for _, step := range []time.Duration{-time.Hour, -time.Minute, time.Minute, 24 * time.Hour} {
		w := newWorld(t, 1)
		c := clocktest.Clock{Wall: startTime}
		w.now = c.Now()
		ann := w.open("ann")
		c.Set(step)
		c.Pass(44 * time.Second)
		w.at(c.Now())
		ann.socket.Expire(c.Now())
		ann.wantOpen()
		c.Pass(time.Second)
		w.at(c.Now())
		ann.wantClosed(ReasonConnectTimeout)
	}
}

func TestRefreshExtendsTheExpiry(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.connect("ann+6m")
	w.at(startTime.Add(5 * time.Minute))
	ann.want("token_expiring_soon", `{"expiresIn":60}`)
	wakes := ann.wakes
	if got := ann.ask("refresh_token", tokenArg("ann+1h")); got != success {
		t.Fatalf("refresh acknowledged with %s, want success", got)
	}
	if ann.wakes == wakes {
		t.Error("the session was not woken for its new deadline")
	}
	w.at(startTime.Add(6 * time.Minute)) // the old token's expiry
	ann.wantNothing()
	w.at(startTime.Add(60 * time.Minute)) // the new one's warning
	ann.want("token_expiring_soon", `{"expiresIn":300}`)
	w.at(startTime.Add(65 * time.Minute))
	ann.wantEnded("token_expired")
	if s := w.hub.Stats(); s.TokensRenewed != 1 {
		t.Errorf("%d tokens renewed, want 1", s.TokensRenewed)
	}
}

func TestRefreshWithAShorterToken(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.connect("ann+1h")
	if got := ann.ask("refresh_token", tokenArg("ann+10s")); got != success {
		t.Fatalf("refresh acknowledged with %s, want success", got)
	}
	ann.wantNothing()
	w.at(startTime.Add(8 * time.Second))
	ann.want("token_expiring_soon", `{"expiresIn":2}`)
}

func TestRefreshWithATokenWithoutExpiry(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.connect("ann+6m")
	ann.emit("refresh_token", tokenArg("ann"))
	w.at(startTime.Add(time.Hour))
	ann.wantNothing()
	if d := ann.socket.Deadline(); !d.IsZero() {
		t.Errorf("deadline %v, want none", d)
	}
}

func TestRefusedRefreshKeepsTheOldToken(t *testing.T) {
	for arg, want := range map[string]string{
		tokenArg("bob+2h"):       "token is for another user",
		tokenArg("!jwt expired"): "jwt expired",
		tokenArg(""):             "Missing token",
		`{}`:                     "Missing token",
		`{"token":null}`:         "Missing token",
		`{"token":5}`:            "Missing token",
		`"ann+2h"`:               "Missing token",
		`null`:                   "Missing token",
		`["ann+2h"]`:             "Missing token",
	} {
		w := newWorld(t, 1)
		ann := w.connect("ann+1h")
		if got := ann.ask("refresh_token", arg); got != `{"error":"`+want+`"}` {
			t.Errorf("refresh with %s acknowledged with %s, want %s", arg, got, want)
		}
		ann.emit("refresh_token", arg)
		ann.wantNothing()
		w.at(startTime.Add(time.Hour))
		ann.wantEnded("token_expired")
		if ann.socket.UserID() == "bob" {
			t.Error("the socket belongs to bob after a refresh that was refused")
		}
	}
}

func TestAnonymousSocketCannotBecomeAUser(t *testing.T) {
	w := newWorld(t, 1, func(c *Config) { c.AllowAnonymous = true })
	anonymous := w.open("nobody")
	anonymous.text("0")
	anonymous.wantConnected()
	if got := anonymous.ask("refresh_token", tokenArg("ann")); got != `{"error":"token is for another user"}` {
		t.Errorf("refresh acknowledged with %s, want an error", got)
	}
}
