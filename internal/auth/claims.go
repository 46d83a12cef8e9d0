package auth

import (
	"encoding/json"
	"math"
	"strconv"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/rooms"
)

// lastIssue is the time up to which iat is taken as seconds.
var lastIssue = time.Date(2106, 1, 1, 0, 0, 0, 0, time.UTC)

// notBeforeLeeway allows for an issuer whose clock is ahead of ours. Expiry has
// no leeway.
const notBeforeLeeway = 5 // s

// never is the expiry of a token without exp. Later ones mean the same: a
// deadline after the year 9999 is no deadline.
const never = 253402300800 // s since 1970

// claims are the parts of a token's payload that the gateway uses. Owned by the
// one verification that made it.
//
// It decodes itself: encoding/json would accept "ID" for "id", and through maps
// and interfaces costs more than the signature.
type claims struct {
	party *party // whom issuer and audience are compared with

	userID, email, role string
	id                  string   // jti, as codec.ID has it
	rooms               []string // nil without the claim

	expires   int64 // s since 1970, rounded up; never without exp
	notBefore int64 // s since 1970, rounded up; 0 without nbf
	issued    int64 // s since 1970, rounded down as in rooms.Order; 0 without iat, or when it makes no sense

	badExpires, badNotBefore bool // not numbers
	issuerOK, audienceOK     bool
}

// UnmarshalJSON parses payload, which is valid JSON. It copies what it keeps,
// so that an identity does not keep the whole token in memory.
func (c *claims) UnmarshalJSON(payload []byte) error {
	c.expires = never
	var id, user, sub []byte
	for key, value := range codec.Members(payload) {
		switch string(key) {
		case "id":
			id = value
		case "userId":
			user = value
		case "sub":
			sub = value
		default:
			c.read(key, value)
		}
	}
	c.userID = userIDOf(id, user, sub)
	return nil
}

func (c *claims) read(key, value []byte) {
	switch string(key) {
	case "email":
		c.email, _ = text(value)
	case "role":
		c.role, _ = text(value)
	case "rooms":
		c.rooms = texts(value)
	case "exp":
		c.expires, c.badExpires = seconds(value)
	case "nbf":
		c.notBefore, c.badNotBefore = seconds(value)
	case "jti":
		c.id = idOf(value)
	case "iat":
		c.issued = issuedAt(value)
	case "iss":
		issuer, ok := text(value)
		c.issuerOK = ok && issuer == c.party.issuer
	case "aud":
		c.audienceOK = names(value, c.party.audience)
	}
}

// check checks the claims as of now (s since 1970), in jsonwebtoken's order.
func (c *claims) check(now int64) error {
	switch {
	case c.badNotBefore:
		return errBadNotBefore
	case c.notBefore > now+notBeforeLeeway:
		return errNotActive
	case c.badExpires:
		return errBadExpires
	case now >= c.expires:
		return errExpired
	case c.party.audience != "" && !c.audienceOK:
		return c.party.errAudience
	case c.party.issuer != "" && !c.issuerOK:
		return c.party.errIssuer
	case c.userID == "":
		return errNobody
	}
	return nil
}

func (c *claims) identity() rooms.Identity {
	id := rooms.Identity{UserID: c.userID, Email: c.email, Role: c.role, Rooms: c.rooms, TokenID: c.id}
	if c.issued > 0 {
		id.Issued = time.Unix(c.issued, 0)
	}
	if c.expires < never {
		id.Expires = time.Unix(c.expires, 0)
	}
	return id
}

// issuedAt parses iat. Some issuers give milliseconds, for which no order would
// ever apply.
func issuedAt(value []byte) int64 {
	if !number(value) {
		return 0
	}
	f, _ := strconv.ParseFloat(string(value), 64)
	if t, ok := rooms.FromUnix(f, lastIssue); ok {
		return t.Unix()
	}
	return 0
}

// seconds parses a NumericDate (RFC 7519 section 2: fractions are allowed),
// rounded up, which compares with whole seconds like the fraction itself.
func seconds(value []byte) (s int64, bad bool) {
	if !number(value) {
		return 0, true
	}
	// Beyond the range of a float it is infinite, which is later than never.
	f, _ := strconv.ParseFloat(string(value), 64)
	return int64(math.Ceil(max(-never, min(f, never)))), false
}

// userIDOf returns the id in the first claim that is present, "" if it is not
// an id. Null and "" count as absent.
func userIDOf(claims ...[]byte) string {
	for _, value := range claims {
		if len(value) == 0 || value[0] == 'n' || string(value) == `""` {
			continue
		}
		return idOf(value)
	}
	return ""
}

// idOf returns the id that a valid JSON value stands for, "" if it is not an
// id.
func idOf(value []byte) string {
	id, ok := codec.ID(value)
	if !ok {
		return ""
	}
	return codec.ValidText(id)
}

// number reports whether a valid JSON value is a number.
func number(value []byte) bool {
	return len(value) > 0 && (value[0] == '-' || value[0] >= '0' && value[0] <= '9')
}

// names reports whether value is want, or an array that contains it.
func names(value []byte, want string) bool {
	if len(value) > 0 && value[0] == '[' {
		var list []any
		if json.Unmarshal(value, &list) != nil {
			return false
		}
		for _, item := range list {
			if item == want {
				return true
			}
		}
		return false
	}
	one, ok := text(value)
	return ok && one == want
}

// maxRooms is how many rooms of a token are used: each join compares with all.
const maxRooms = 256

// texts returns the strings in an array, or a string as the only element. It is
// never nil, because a claim that names nothing is still present.
func texts(value []byte) []string {
	list := []string{}
	if one, ok := text(value); ok {
		return append(list, one)
	}
	var items []any
	if json.Unmarshal(value, &items) == nil {
		for _, item := range items[:min(len(items), maxRooms)] {
			if s, ok := item.(string); ok {
				list = append(list, s)
			}
		}
	}
	return list
}

// text returns the string that a valid JSON value is.
func text(value []byte) (string, bool) {
	b, ok := codec.Text(value)
	return codec.ValidText(b), ok
}

// jwt.Claims requires these methods. The parser is told not to validate claims,
// because its texts and its order are not those that clients know; check does.

func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) { return nil, nil }
func (c *claims) GetIssuedAt() (*jwt.NumericDate, error)       { return nil, nil }
func (c *claims) GetNotBefore() (*jwt.NumericDate, error)      { return nil, nil }
func (c *claims) GetIssuer() (string, error)                   { return "", nil }
func (c *claims) GetSubject() (string, error)                  { return c.userID, nil }
func (c *claims) GetAudience() (jwt.ClaimStrings, error)       { return nil, nil }
