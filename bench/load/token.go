package load

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"hash"
	"strconv"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const tokenLife = 12 * time.Hour

func appendInt(dst []byte, n int64) []byte { return strconv.AppendInt(dst, n, 10) }

func appendRoomID(dst []byte, room int32) []byte {
	return appendInt(append(dst, "bench-"...), int64(room))
}

func appendUserID(dst []byte, user int32) []byte {
	return appendInt(append(dst, "u"...), int64(user))
}

// minter makes HS256 tokens. They are minted before a phase, so that the work
// is not in the measured time; only what one phase needs is kept.
type minter struct {
	secret []byte
	key    any               // instead of the secret
	method jwt.SigningMethod // of key
	claims string            // further ones
	first  int32
	tokens []byte
	ends   []int32
	packet []byte // scratch of authenticate
}

// use takes the key and the claims of the tokens.
func (m *minter) use(args SetupArgs) error {
	m.secret, m.claims = []byte(args.Secret), args.Claims
	if args.Key == "" {
		return nil
	}
	block, _ := pem.Decode([]byte(args.Key))
	m.method = jwt.GetSigningMethod(args.Alg)
	if block == nil || m.method == nil {
		return fmt.Errorf("key for %q: want the PEM text of a private key and its algorithm", args.Alg)
	}
	var err error
	m.key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	return err
}

// sign appends the signature of a token.
func (m *minter) sign(token []byte, mac hash.Hash) []byte {
	mac.Reset()
	mac.Write(token)
	signature := mac.Sum(nil)
	if m.key != nil {
		var err error
		if signature, err = m.method.Sign(string(token), m.key); err != nil {
			panic(err) // the key is of another kind than the algorithm
		}
	}
	return base64.RawURLEncoding.AppendEncode(append(token, '.'), signature)
}

// mint replaces the tokens by those of users first to last-1.
func (m *minter) mint(first, last int32) {
	m.first = first
	m.tokens, m.ends = m.tokens[:0], m.ends[:0]
	mac := hmac.New(sha256.New, m.secret)
	now := time.Now()
	alg := "HS256"
	if m.key != nil {
		alg = m.method.Alg()
	}
	head := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"` + alg + `","typ":"JWT"}`))
	for user := first; user < last; user++ {
		at := len(m.tokens)
		m.tokens = append(append(m.tokens, head...), '.')
		claims := fmt.Sprintf(`{"id":"%s","email":"bench@example.com","role":"guest","iat":%d,"exp":%d%s}`,
			appendUserID(nil, user), now.Unix(), now.Add(tokenLife).Unix(), m.claims)
		m.tokens = base64.RawURLEncoding.AppendEncode(m.tokens, []byte(claims))
		m.tokens = append(m.tokens[:at], m.sign(m.tokens[at:], mac)...)
		m.ends = append(m.ends, int32(len(m.tokens)))
	}
}

// forget gives the memory of the tokens back.
func (m *minter) forget() { m.tokens, m.ends = nil, nil }

func (m *minter) appendToken(dst []byte, user int32) []byte {
	i, at := user-m.first, int32(0)
	if i > 0 {
		at = m.ends[i-1]
	}
	return append(dst, m.tokens[at:m.ends[i]]...)
}
