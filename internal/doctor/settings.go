package doctor

import (
	"fmt"
	"math"
	"strings"
)

const (
	minSecret = 32  // bytes, as many as HS256's hash has (RFC 7518 section 3.2)
	minBits   = 100 // of the secret, by how its characters are spread
	minToken  = 16  // characters of a bearer token
)

// wellKnown are common secrets, in lower case.
var wellKnown = []string{
	"secret", "changeme", "change-me", "change_me", "password", "your-secret-key", "your_jwt_secret", "your-jwt-secret",
	"your-256-bit-secret", "a-string-secret-at-least-256-bits-long", "jwt_secret", "jwtsecret", "jwt-secret", "supersecret",
	"super-secret", "super-secret-key", "mysecret", "my-secret", "secretkey", "secret-key", "secret_key", "shhhhh", "shhhhhared-secret",
	"hometrip", "hometrip-secret", "test", "dev", "development", "a secret for development only", "keyboard cat", "123456", "qwerty",
}

// Settings are the gateway's settings that can be dangerous.
type Settings struct {
	Production   bool
	Secret       string // JWT_SECRET; "": there is another key
	Ephemeral    bool   // Secret was made up for this run
	Origins      []string
	OpenRooms    bool // ROOM_POLICY=open
	Metrics      bool // /metrics is on PORT
	MetricsToken string
	PublishToken string
}

// Check checks the settings. No finding contains a secret.
func (s Settings) Check() []Finding {
	return []Finding{s.secret(), s.origins(), s.rooms(), s.metrics(), s.publishing()}
}

func (s Settings) secret() Finding {
	const check, do = "JWT_SECRET", "make another: openssl rand -base64 48"
	switch {
	case s.Ephemeral:
		return skip(check, "created at the first start, for development")
	case s.Secret == "":
		return skip(check, "tokens are verified with a public key")
	}
	for _, word := range wellKnown {
		if strings.EqualFold(s.Secret, word) {
			return bad(severe(s.Production), check, "a well-known value", fmt.Sprintf("%d random bytes", minSecret), do)
		}
	}
	found := fmt.Sprintf("%d bytes, %.0f bits", len(s.Secret), entropy(s.Secret))
	if len(s.Secret) < minSecret || entropy(s.Secret) < minBits {
		return bad(severe(s.Production && len(s.Secret) < minSecret/2), check, found,
			fmt.Sprintf("%d bytes and %d bits: who guesses it is every user", minSecret, minBits), do)
	}
	return ok(check, "%s", found)
}

// entropy returns the largest number of bits of entropy that a text can have,
// from the frequencies of its characters.
func entropy(text string) (bits float64) {
	counts := make(map[byte]float64)
	for i := range len(text) {
		counts[text[i]]++
	}
	for _, n := range counts {
		bits -= n * math.Log2(n/float64(len(text)))
	}
	return bits
}

func (s Settings) origins() Finding {
	const check = "CORS_ORIGIN"
	var plain []string
	for _, origin := range s.Origins {
		if origin == "*" {
			return bad(severe(s.Production), check, "*", "the origins of your pages: any page may use a visitor's network",
				"list them, with https://")
		}
		if strings.HasPrefix(origin, "http://") {
			plain = append(plain, origin)
		}
	}
	if s.Production && len(plain) > 0 {
		return bad(Warn, check, strings.Join(plain, ","), "https:// only: without TLS a page can be changed on its way",
			"write the scheme: https://app.example.com")
	}
	return ok(check, "%s", strings.Join(s.Origins, ","))
}

func (s Settings) rooms() Finding {
	const check = "ROOM_POLICY"
	if s.OpenRooms {
		f := bad(Warn, check, "open", "claims, webhook or redis: with open every user may join every room", "see docs/operations.md#who-may-be-in-a-room")
		if !s.Production {
			f = ok(check, "open")
		}
		return f
	}
	return ok(check, "restricted")
}

func (s Settings) metrics() Finding {
	const check = "METRICS_TOKEN"
	switch {
	case !s.Metrics:
		return ok(check, "/metrics is not on PORT")
	case s.MetricsToken == "" && s.Production:
		return bad(Warn, check, "none, and /metrics is on PORT", "a token: room names contain user ids", "set it, or ADMIN_ADDR=127.0.0.1:9100")
	}
	return weakToken(check, s.MetricsToken)
}

func (s Settings) publishing() Finding {
	const check = "PUBLISH_TOKEN"
	if s.PublishToken == "" && s.Production {
		return ok(check, "none: POST /events is closed")
	}
	return weakToken(check, s.PublishToken)
}

func weakToken(check, token string) Finding {
	if token == "" {
		return ok(check, "none")
	}
	if len(token) < minToken {
		return bad(Warn, check, fmt.Sprintf("%d characters", len(token)), fmt.Sprintf("%d or more", minToken), "create one: openssl rand -hex 24")
	}
	return ok(check, "%d characters", len(token))
}
