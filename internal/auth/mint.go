package auth

import (
	"errors"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// A Grant is the content of a development token.
type Grant struct {
	UserID  string   // required
	Email   string   // "" leaves it out
	Role    string   // "" leaves it out
	Rooms   []string // nil leaves them out
	TokenID string   // jti; "" leaves it out

	Issuer   string // "" leaves it out
	Audience string // "" leaves it out

	Issued time.Time
	TTL    time.Duration // 0: the token never expires
}

// Mint returns an HS256 token for g, signed with secret. It is meant for
// development; in production the platform's issuer signs tokens.
func Mint(secret string, g Grant) (string, error) {
	if secret == "" {
		return "", errors.New("no secret to sign with")
	}
	if g.UserID == "" {
		return "", errors.New("a token needs a user id")
	}
	claims := jwt.MapClaims{"id": g.UserID, "iat": g.Issued.Unix()}
	for name, value := range map[string]string{
		"email": g.Email, "role": g.Role, "iss": g.Issuer, "aud": g.Audience, "jti": g.TokenID,
	} {
		if value != "" {
			claims[name] = value
		}
	}
	if g.Rooms != nil {
		claims["rooms"] = g.Rooms
	}
	if g.TTL > 0 {
		claims["exp"] = g.Issued.Add(g.TTL).Unix()
	}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(secret))
}
