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

func TestWarningFiveMinutesBeforeTheEnd(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.connect("ann+1h")
	end := dawn.Add(time.Hour)
	if d := ann.socket.Deadline(); !d.Equal(end.Add(-5 * time.Minute)) {
		t.Errorf("deadline %v, want five minutes before %v", d, end)
	}
	w.at(end.Add(-5*time.Minute - time.Millisecond))
	ann.socket.Expire(w.now) // early calls do nothing
	ann.wantNothing()
	w.at(end.Add(-5 * time.Minute))
	ann.want("token_expiring_soon", `{"expiresIn":300}`)
	if d := ann.socket.Deadline(); !d.Equal(end) {
		t.Errorf("deadline %v, want %v", d, end)
	}
	w.at(end.Add(-time.Minute))
	ann.socket.Expire(w.now)
	ann.wantNothing() // once is enough
}

// The warning comes when 80 % of the token's life are over, and five minutes
// before the end at the earliest.
func TestWarningScalesWithTheTokensLife(t *testing.T) {
	for life, left := range map[string]time.Duration{
		"24h": 5 * time.Minute, "25m": 5 * time.Minute, "10m": 2 * time.Minute, "5m": time.Minute,
		"299s": 59800 * time.Millisecond, "1m": 12 * time.Second, "900ms": 180 * time.Millisecond,
	} {
		w := newWorld(t, 1)
		ann := w.connect("ann+" + life)
		ann.wantNothing()
		d, _ := time.ParseDuration(life)
		due := dawn.Add(d - left)
		if got := ann.socket.Deadline(); !got.Equal(due) {
			t.Errorf("%s: deadline %v before the end, want %v", life, dawn.Add(d).Sub(got), left)
		}
		w.at(due.Add(-time.Millisecond))
		ann.wantNothing()
		w.at(due)
		ann.want("token_expiring_soon", fmt.Sprintf(`{"expiresIn":%d}`, left/time.Second))
	}
}

// A token that is not new when it comes is warned of by the whole of its life.
func TestWarningOfATokenThatIsNotNew(t *testing.T) {
	for _, c := range []struct {
		age, left time.Duration
		want      time.Duration // before the end; 0: at once
	}{
		{10 * time.Minute, 50 * time.Minute, 5 * time.Minute},
		{30 * time.Second, 30 * time.Second, 12 * time.Second},
		{50 * time.Second, 10 * time.Second, 0},
		{-time.Minute, 10 * time.Minute, 2 * time.Minute}, // from an issuer whose clock is ahead
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
		if got := dawn.Add(c.left).Sub(ann.socket.Deadline()); got != c.want {
			t.Errorf("%v old: warned %v before the end, want %v", c.age, got, c.want)
		}
	}
}

// A client that refreshes at each warning, as README says, needs a token for
// 80 % of each one's life, whoever it gets them from.
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
			return Identity{UserID: "ann", Issued: dawn.Add(-24 * time.Hour), Expires: now.Add(time.Minute)}
		}, hour / 60, hour/48 + 2},
		"from a cache": {func(now time.Time) Identity {
			return fresh(now.Truncate(time.Minute)) // the same all the minute
		}, 0, 2},
	} {
		w := newWorld(t, 1, func(config *Config) {
			config.Auth = authFunc(func(_ string, now time.Time, done func(Identity, error)) { done(c.issue(now), nil) })
		})
		w.now = dawn.Truncate(time.Minute)
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
	w.at(dawn.Add(57*time.Minute + 500*time.Millisecond)) // a loop that lagged
	ann.want("token_expiring_soon", `{"expiresIn":179}`)
}

func TestTokenWithoutEnd(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.connect("ann")
	if d := ann.socket.Deadline(); !d.IsZero() {
		t.Errorf("deadline %v, want none", d)
	}
	w.at(dawn.Add(10 * 365 * 24 * time.Hour))
	ann.wantNothing()
	ann.wantOpen()
}

func TestExpiryDisconnects(t *testing.T) {
	onShards(t, func(t *testing.T, w *world) {
		ann, bob := w.connect("ann+1m"), w.connect("bob")
		ann.ask("join_room", conversation("1"))
		bob.ask("join_room", conversation("1"))
		ann.wantAbout("user_joined", bob, "conversation:1")
		w.at(dawn.Add(time.Minute - time.Millisecond))
		ann.want("token_expiring_soon", `{"expiresIn":0}`)
		w.wantNothing(ann, bob)
		wakes := ann.wakes

		w.at(dawn.Add(time.Minute))
		ann.wantEnded("token_expired")
		bob.wantAbout("user_left", ann, "conversation:1")
		ann.wantOpen() // the session, that is
		if ann.wakes == wakes {
			t.Error("the session was not told of the new deadline")
		}
		if s := w.hub.Stats(); s.TokensExpired != 1 || s.Sockets != 1 {
			t.Errorf("%d expired, %d sockets, want one each", s.TokensExpired, s.Sockets)
		}
		w.deliver("user:ann", "news")
		w.wantNothing(ann)

		ann.name = "ann"
		ann.connect("ann") // the same session may come back
		ann.ask("join_room", conversation("1"))
		bob.wantAbout("user_joined", ann, "conversation:1")

		bob.hangUp()
		ann.next()
		ann.hangUp()
		w.wantEmpty()
	})
}

func TestAfterExpiryTheTimeToConnectRuns(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.connect("ann+1m")
	w.at(dawn.Add(time.Minute))
	ann.wantOpen()
	w.at(dawn.Add(time.Minute + 45*time.Second))
	ann.wantClosed(ReasonConnectTimeout)
}

// The time to CONNECT is a span: setting the clock does not end it sooner or
// later.
func TestTimeToConnectWhileTheClockIsSet(t *testing.T) {
	for _, step := range []time.Duration{-time.Hour, -time.Minute, time.Minute, 24 * time.Hour} {
		w := newWorld(t, 1)
		c := clocktest.Clock{Wall: dawn}
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

func TestRefreshPutsTheEndOff(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.connect("ann+6m")
	w.at(dawn.Add(5 * time.Minute))
	ann.want("token_expiring_soon", `{"expiresIn":60}`)
	wakes := ann.wakes
	if got := ann.ask("refresh_token", tokenArg("ann+1h")); got != success {
		t.Fatalf("acknowledged with %s", got)
	}
	if ann.wakes == wakes {
		t.Error("the session was not told of the new deadline")
	}
	w.at(dawn.Add(6 * time.Minute)) // the old token's end
	ann.wantNothing()
	w.at(dawn.Add(60 * time.Minute)) // the new one's warning
	ann.want("token_expiring_soon", `{"expiresIn":300}`)
	w.at(dawn.Add(65 * time.Minute))
	ann.wantEnded("token_expired")
	if s := w.hub.Stats(); s.TokensRenewed != 1 {
		t.Errorf("%d tokens renewed, want 1", s.TokensRenewed)
	}
}

func TestRefreshWithAShorterToken(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.connect("ann+1h")
	if got := ann.ask("refresh_token", tokenArg("ann+10s")); got != success {
		t.Fatalf("acknowledged with %s", got)
	}
	ann.wantNothing()
	w.at(dawn.Add(8 * time.Second))
	ann.want("token_expiring_soon", `{"expiresIn":2}`)
}

func TestRefreshMayTakeTheEndAway(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.connect("ann+6m")
	ann.emit("refresh_token", tokenArg("ann"))
	w.at(dawn.Add(time.Hour))
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
		w.at(dawn.Add(time.Hour))
		ann.wantEnded("token_expired")
		if ann.socket.UserID() == "bob" {
			t.Error("the socket has become another user's")
		}
	}
}

func TestAnonymousCannotBecomeSomebody(t *testing.T) {
	w := newWorld(t, 1, func(c *Config) { c.AllowAnonymous = true })
	nobody := w.open("nobody")
	nobody.text("0")
	nobody.wantConnected()
	if got := nobody.ask("refresh_token", tokenArg("ann")); got != `{"error":"token is for another user"}` {
		t.Errorf("acknowledged with %s", got)
	}
}
