package auth

import (
	"errors"

	"github.com/hometrip/gateway/rooms"
)

// An Outcome is how a verification ended. The order is that of the counters.
type Outcome uint8

const (
	Accepted     Outcome = iota // the token is valid
	Malformed                   // not a token at all
	BadAlgorithm                // signed in a way that is not configured here
	BadSignature                // not signed, or not by our issuer's key
	NotActive                   // nbf lies ahead
	Expired                     // exp is over
	WrongParty                  // another issuer or audience
	Nobody                      // valid, but names no user
	Busy                        // more verifications waiting than allowed
	NoKeys                      // the JWKS has not been reached yet
	Revoked                     // good once, until the back office said otherwise
	outcomes                    // their number
)

var outcomeNames = [outcomes]string{
	Accepted:     "accepted",
	Malformed:    "malformed",
	BadAlgorithm: "bad_algorithm",
	BadSignature: "bad_signature",
	NotActive:    "not_active",
	Expired:      "expired",
	WrongParty:   "wrong_party",
	Nobody:       "nobody",
	Busy:         "busy",
	NoKeys:       "no_keys",
	Revoked:      "revoked",
}

// String returns the name of o as metrics show it.
func (o Outcome) String() string {
	if o >= outcomes {
		return "unknown"
	}
	return outcomeNames[o]
}

// A Refusal is the reason why a token was not accepted. Its text is sent to the
// client. Refusals are built once and shared; they are never changed.
type Refusal struct {
	Outcome Outcome
	text    string
}

// Error returns the text for the client.
func (r *Refusal) Error() string { return r.text }

// Is implements errors.Is for rooms.ErrBusy: the token may be valid, but could
// not be verified. A client that gets CONNECT_ERROR would not try again.
func (r *Refusal) Is(target error) bool {
	return target == rooms.ErrBusy && (r.Outcome == Busy || r.Outcome == NoKeys)
}

// The errors that clients get, in the words of jsonwebtoken where it has the
// same.
var (
	errMalformed    = &Refusal{Malformed, "jwt malformed"}
	errInvalid      = &Refusal{Malformed, "invalid token"}
	errNoSignature  = &Refusal{BadSignature, "jwt signature is required"}
	errSignature    = &Refusal{BadSignature, "invalid signature"}
	errAlgorithm    = &Refusal{BadAlgorithm, "invalid algorithm"}
	errRevoked      = &Refusal{Revoked, "jwt revoked"}
	errNotActive    = &Refusal{NotActive, "jwt not active"}
	errExpired      = &Refusal{Expired, "jwt expired"}
	errBadExpires   = &Refusal{Malformed, "invalid exp value"}
	errBadNotBefore = &Refusal{Malformed, "invalid nbf value"}
	errNobody       = &Refusal{Nobody, "token names no user"}
	errBusy         = &Refusal{Busy, rooms.ErrBusy.Error()}
	errNoKeys       = &Refusal{NoKeys, "signing keys are not available, try again"}
)

// outcomeOf returns the outcome that err counts as.
func outcomeOf(err error) Outcome {
	if err == nil {
		return Accepted
	}
	var r *Refusal
	if errors.As(err, &r) {
		return r.Outcome
	}
	return Malformed
}
