package authz

import (
	"strings"

	"github.com/hometrip/gateway/rooms"
)

// claims allows a user the rooms that the token's claim "rooms" lists:
// "conversation:42", or a pattern in which "*" stands for any number of
// characters: "notification:*".
type claims struct{ prompt }

func (claims) quick(who rooms.Identity, room string) (Verdict, bool) {
	for _, pattern := range who.Rooms {
		if matches(pattern, room) {
			return yes("the token's claim rooms has %q", pattern), true
		}
	}
	if len(who.Rooms) == 0 {
		return no("the token has no claim rooms"), true
	}
	return no("none of the %d in the token's claim rooms matches", len(who.Rooms)), true
}

// matches reports whether text matches pattern. It takes one pass for each
// star.
func matches(pattern, text string) bool {
	head, rest, starred := strings.Cut(pattern, "*")
	if !starred {
		return pattern == text
	}
	text, ok := strings.CutPrefix(text, head)
	for ok && starred {
		var part string
		if part, rest, starred = strings.Cut(rest, "*"); !starred {
			return strings.HasSuffix(text, part)
		}
		_, text, ok = strings.Cut(text, part)
	}
	return ok
}
