package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// A signer makes tokens of one algorithm. Safe for concurrent use.
type signer struct {
	alg string // HS256, RS256, ES256 or EdDSA

	once    sync.Once
	private any    // what signs
	public  string // PEM; "" for HS256
	secret  string // PEM of private; "" for HS256

	mu     sync.Mutex // guards tokens
	tokens map[string]string
}

const rsaBits = 4096 // the dearest to verify

// make makes the key when it is first needed: RSA takes a second.
func (s *signer) make() {
	s.once.Do(func() {
		s.tokens = make(map[string]string)
		var err error
		var public crypto.PublicKey
		switch s.alg {
		case "RS256":
			var k *rsa.PrivateKey
			k, err = rsa.GenerateKey(rand.Reader, rsaBits)
			s.private, public = k, &k.PublicKey
		case "ES256":
			var k *ecdsa.PrivateKey
			k, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			s.private, public = k, &k.PublicKey
		case "EdDSA":
			public, s.private, err = ed25519.GenerateKey(rand.Reader)
		default:
			s.private = []byte(jwtSecret)
			return
		}
		if err != nil {
			panic(err) // the kernel gives no random numbers
		}
		s.public = pemText("PUBLIC KEY", public, x509.MarshalPKIXPublicKey)
		s.secret = pemText("PRIVATE KEY", s.private, x509.MarshalPKCS8PrivateKey)
	})
}

func pemText(kind string, key any, marshal func(any) ([]byte, error)) string {
	der, err := marshal(key)
	if err != nil {
		panic(err) // the kinds above are known
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// env is the gateway's key.
func (s *signer) env() string {
	s.make()
	if s.public == "" {
		return "JWT_SECRET=" + jwtSecret
	}
	return "JWT_PUBLIC_KEY=" + s.public
}

// token is a good one, of a user. It names the rooms of the attackers.
func (s *signer) token(user string) string {
	s.make()
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tokens[user]; t != "" {
		return t
	}
	now := time.Now()
	claims := jwt.MapClaims{"id": user, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "rooms": []string{"conversation:attacker*"}}
	t, err := jwt.NewWithClaims(jwt.GetSigningMethod(s.alg), claims).SignedString(s.private)
	if err != nil {
		panic(fmt.Errorf("sign a token with %s: %w", s.alg, err))
	}
	s.tokens[user] = t
	return t
}

// forged is a token whose signature fails as late as can be.
func (s *signer) forged(user string) string {
	good := s.token(user)
	at := len(good) - 9
	swapped := byte('A')
	if good[at] == swapped {
		swapped = 'B'
	}
	return good[:at] + string(swapped) + good[at+1:]
}
