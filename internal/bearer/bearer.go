// Package bearer reads and compares bearer tokens of HTTP requests (RFC 6750).
package bearer

import (
	"crypto/sha256"
	"crypto/subtle"
	"strings"
)

const scheme = "bearer "

// Token returns the token of an Authorization header, "" if it has none. The
// scheme's letters may be of either case (RFC 9110 section 11.1).
func Token(authorization string) string {
	if len(authorization) <= len(scheme) || !strings.EqualFold(authorization[:len(scheme)], scheme) {
		return ""
	}
	return strings.TrimSpace(authorization[len(scheme):])
}

// Tokens are the tokens that are good. Immutable; the zero value has none.
type Tokens struct{ sums [][sha256.Size]byte }

// New returns the tokens that are not empty.
func New(tokens ...string) Tokens {
	var t Tokens
	for _, token := range tokens {
		if token != "" {
			t.sums = append(t.sums, sha256.Sum256([]byte(token)))
		}
	}
	return t
}

// Has reports whether token is one of t. The time it takes tells nothing about
// the tokens: hashes of one length are compared, all of them. An empty token
// is never one of t.
func (t Tokens) Has(token string) bool {
	sum, found := sha256.Sum256([]byte(token)), 0
	for i := range t.sums {
		found |= subtle.ConstantTimeCompare(sum[:], t.sums[i][:])
	}
	return found == 1
}
