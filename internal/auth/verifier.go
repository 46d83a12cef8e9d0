package auth

import (
	"bytes"
	"encoding/base64"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/hometrip/gateway/internal/fairpool"
	"github.com/hometrip/gateway/rooms"
)

// MaxTokenLen is the longest token that is accepted, in bytes. It equals the
// default limit of an HTTP head, in which a token can also be sent.
const MaxTokenLen = 8 << 10

// A Config is the configuration of a Verifier. Exactly one of Secret, PublicKey
// and JWKSURL must be set.
type Config struct {
	Secret    string // verifies HS256
	PublicKey string // PEM text, or the path of a PEM file: RS256, ES256 or EdDSA
	JWKSURL   string // http or https; RS256, ES256 and EdDSA

	Issuer   string // what iss must be; "" takes any
	Audience string // what aud must be or contain; "" takes any

	Workers int // tokens verified at a time off the event loops, when that costs much; 0: 1

	waiting int // bytes of tokens that wait to be verified; 0: maxWaiting. Tests set it

	Log *slog.Logger // nil: failures to fetch the JWKS are not logged
}

// A party has the issuer and audience that tokens must have. Immutable.
type party struct {
	issuer, audience       string
	errIssuer, errAudience error
}

// A Verifier verifies tokens. It is a rooms.Authenticator and safe for
// concurrent use.
type Verifier struct {
	keys         atomic.Pointer[keyring]
	workers      int                             // tokens verified at a time by pool
	pool         *fairpool.Pool[rooms.Presenter] // nil when verifying costs little
	turn         chan struct{}                   // a place for each of workers; nil unless keys come from a JWKS
	stopFetching func()                          // nil unless keys come from a JWKS

	revoked  blacklist
	overflow atomic.Uint64 // revocations for which the list had no room

	counts [outcomes]atomic.Uint64
}

// A keyring has the keys that verify tokens. Immutable except for familiar.
type keyring struct {
	parser     *jwt.Parser
	algorithms []string
	key        jwt.Keyfunc
	lasting    bool // key returns the same one each time
	party      party
	familiar   atomic.Pointer[familiar]
}

var (
	_ rooms.Authenticator = (*Verifier)(nil)
	_ rooms.Revoker       = (*Verifier)(nil)
)

// New returns a verifier for cfg; call Close when it is no longer used. With a
// JWKSURL it first tries to fetch the keys, for at most jwksTimeout; if that
// fails it continues without keys and retries.
func New(cfg Config) (*Verifier, error) {
	v := &Verifier{workers: workers(cfg)}
	k, err := v.keyring(cfg)
	if err != nil {
		return nil, err
	}
	v.keys.Store(k)
	if cfg.PublicKey != "" {
		v.startPool(v.workers, cfg)
	}
	return v, nil
}

// ErrKind is returned by Reload for a key of another kind: where tokens are
// verified depends on the kind.
var ErrKind = errors.New("a secret, a public key and a JWKS cannot be exchanged for each other while tokens are verified")

// Reload replaces the configuration; the file of a public key is read again. If
// it returns an error, nothing has changed. Safe for concurrent use.
func (v *Verifier) Reload(cfg Config) error {
	if v.stopFetching != nil || cfg.JWKSURL != "" || (v.pool != nil) != (cfg.PublicKey != "") {
		return ErrKind
	}
	k, err := v.keyring(cfg)
	if err == nil {
		v.keys.Store(k)
	}
	return err
}

func (v *Verifier) keyring(cfg Config) (*keyring, error) {
	k := &keyring{party: party{
		issuer:      cfg.Issuer,
		audience:    cfg.Audience,
		errIssuer:   &Refusal{WrongParty, "jwt issuer invalid. expected: " + cfg.Issuer},
		errAudience: &Refusal{WrongParty, "jwt audience invalid. expected: " + cfg.Audience},
	}}
	var err error
	if k.algorithms, err = v.useKey(k, cfg); err != nil {
		return nil, err
	}
	k.parser = jwt.NewParser(jwt.WithValidMethods(k.algorithms), jwt.WithoutClaimsValidation())
	return k, nil
}

// useKey uses the one key that cfg has and returns the algorithms that it
// verifies.
func (v *Verifier) useKey(k *keyring, cfg Config) ([]string, error) {
	switch {
	case cfg.Secret != "" && cfg.PublicKey == "" && cfg.JWKSURL == "":
		// If a public key were used as HMAC secret, anybody could sign.
		if strings.Contains(cfg.Secret, pemMark) {
			return nil, errors.New("the secret is a PEM key: configure it as public key")
		}
		k.useFixed([]byte(cfg.Secret))
		return []string{jwt.SigningMethodHS256.Alg()}, nil
	case cfg.PublicKey != "" && cfg.Secret == "" && cfg.JWKSURL == "":
		key, alg, err := publicKey(cfg.PublicKey)
		k.useFixed(key)
		return []string{alg}, err
	case cfg.JWKSURL != "" && cfg.Secret == "" && cfg.PublicKey == "":
		return v.useJWKS(k, cfg)
	}
	return nil, errors.New("want exactly one of secret, public key and JWKS URL")
}

func (k *keyring) useFixed(key any) {
	k.key, k.lasting = func(*jwt.Token) (any, error) { return key, nil }, true
}

// Authenticate implements rooms.Authenticator. Errors are *Refusal.
func (v *Verifier) Authenticate(token []byte, from rooms.Presenter, now time.Time, done func(rooms.Identity, error)) {
	if v.pool == nil {
		done(v.judge(token, now))
		return
	}
	// Malformed tokens are refused without waiting in the queue.
	if err := shape(token); err != nil {
		v.count(err)
		done(rooms.Identity{}, err)
		return
	}
	v.later(bytes.Clone(token), from, now, done)
}

// Verify verifies token as of now. With a JWKS it may block while keys are
// fetched. Errors are *Refusal.
func (v *Verifier) Verify(token string, now time.Time) (rooms.Identity, error) {
	return v.judge([]byte(token), now)
}

func (v *Verifier) judge(token []byte, now time.Time) (rooms.Identity, error) {
	id, err := v.verify(token, now)
	v.count(err)
	return id, err
}

// claimsPool has the claims of tokens that were verified. An identity has copies.
var claimsPool = sync.Pool{New: func() any { return new(claims) }}

func (v *Verifier) verify(token []byte, now time.Time) (rooms.Identity, error) {
	if err := shape(token); err != nil {
		return rooms.Identity{}, err
	}
	k := v.keys.Load()
	c := claimsPool.Get().(*claims)
	defer claimsPool.Put(c)
	*c = claims{party: &k.party, expires: never}
	switch known, err := k.recognize(token, c); {
	case err != nil:
		return rooms.Identity{}, err
	case !known:
		*c = claims{party: &k.party, expires: never}
		if err := v.parse(k, string(token), c); err != nil {
			return rooms.Identity{}, err
		}
	}
	if err := c.check(now.Unix()); err != nil {
		return rooms.Identity{}, err
	}
	if !rooms.Plausible(time.Unix(c.issued, 0), now) {
		c.issued = 0 // or no order would ever mean it
	}
	id := c.identity()
	if err := v.revokedError(id, now); err != nil {
		return rooms.Identity{}, err
	}
	return id, nil
}

// revokedError returns errRevoked for a revoked token.
func (v *Verifier) revokedError(id rooms.Identity, now time.Time) error {
	issued := int64(0)
	if !id.Issued.IsZero() {
		issued = id.Issued.Unix()
	}
	if v.revoked.has(id.UserID, id.TokenID, issued, now.Unix()) {
		return errRevoked
	}
	return nil
}

// Check implements rooms.Revoker. Errors are *Refusal.
func (v *Verifier) Check(id rooms.Identity, now time.Time) error {
	err := v.revokedError(id, now)
	if !id.Expires.IsZero() && !now.Before(id.Expires) {
		err = errExpired
	}
	if err != nil {
		v.count(err)
	}
	return err
}

// parse calls golang-jwt to verify token and parse its claims.
func (v *Verifier) parse(k *keyring, token string, c *claims) error {
	key, end := v.inTurn(k.key)
	parsed, err := k.parser.ParseWithClaims(token, c, key)
	end()
	if err != nil {
		return k.refusal(token, parsed, err)
	}
	if !canonical([]byte(token), parsed.Signature) {
		return errSignature
	}
	k.learn(token, parsed)
	return nil
}

// shape checks that token has three parts of the base64url alphabet (RFC 7515
// section 7.1), of which only the last may be empty.
func shape(token []byte) error {
	if len(token) > MaxTokenLen || bytes.Count(token, dot) != 2 {
		return errMalformed
	}
	for _, b := range token {
		if !tokenBytes[b] {
			return errInvalid
		}
	}
	if token[0] == '.' || bytes.Contains(token, twoDots) {
		return errInvalid
	}
	return nil
}

var dot, twoDots = []byte("."), []byte("..")

// tokenBytes are the base64url alphabet and the dot.
var tokenBytes = func() (in [256]bool) {
	for _, b := range []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") {
		in[b] = true
	}
	return in
}()

// refusal returns, in jsonwebtoken's words and order, why golang-jwt refused
// token.
func (k *keyring) refusal(token string, parsed *jwt.Token, err error) error {
	readable := parsed != nil && parsed.Method != nil
	var own *Refusal
	switch {
	case !readable && (parsed == nil || parsed.Header == nil || errors.Is(err, jwt.ErrTokenMalformed)):
		return errInvalid // header or payload
	case strings.HasSuffix(token, "."):
		return errNoSignature
	case !readable || !slices.Contains(k.algorithms, parsed.Method.Alg()):
		return errAlgorithm
	case errors.As(err, &own): // no key to verify with
		return own
	}
	return errSignature
}

// canonical reports whether the last part of token is the canonical text of its
// signature. Decoding ignores the spare bits of the last character, so without
// this a changed last character could pass.
func canonical(token, signature []byte) bool {
	var buf [512]byte
	text := base64.RawURLEncoding.AppendEncode(buf[:0], signature)
	return bytes.Equal(text, token[bytes.LastIndexByte(token, '.')+1:])
}

func (v *Verifier) count(err error) { v.counts[outcomeOf(err)].Add(1) }

// Count is the number of verifications with an outcome.
type Count struct {
	Outcome Outcome
	N       uint64
}

// Counts returns the counts of all outcomes, in order. Safe for concurrent use.
func (v *Verifier) Counts() []Count {
	counts := make([]Count, outcomes)
	for i := range counts {
		counts[i] = Count{Outcome: Outcome(i), N: v.counts[i].Load()}
	}
	return counts
}

// Revoked returns how many tokens and users are revoked, and how many more
// there was no space for.
func (v *Verifier) Revoked() (listed int, overflow uint64) { return v.revoked.len(), v.overflow.Load() }

// Close stops fetching keys and the verifier's goroutines. Verifications that
// wait, and later ones, are refused as busy. A verifier with a secret has
// nothing to close.
func (v *Verifier) Close() {
	if v.stopFetching != nil {
		v.stopFetching()
	}
	if v.pool != nil {
		v.pool.Close()
	}
}
