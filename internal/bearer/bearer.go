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

// Tokens is a set of valid tokens. Immutable; the zero value has none.
type Tokens struct{ sums [][sha256.Size]byte }

// New returns the set of those tokens that are not empty.
func New(tokens ...string) Tokens {
	var t Tokens
	for _, token := range tokens {
		if token != "" {
			t.sums = append(t.sums, sha256.Sum256([]byte(token)))
		}
	}
	return t
}

// Has reports whether token is in t. Its duration does not depend on the
// tokens: it compares hashes, which have equal lengths, with all of them. An
// empty token is never in t.
func (t Tokens) Has(token string) bool {
	sum, found := sha256.Sum256([]byte(token)), 0
	for i := range t.sums {
		found |= subtle.ConstantTimeCompare(sum[:], t.sums[i][:])
	}
	return found == 1
}
