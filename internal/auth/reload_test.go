package auth

import (
	"errors"
	"sync"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// The secret is replaced at runtime. Tokens of the old one must be refused from then
// on, and configurations that are invalid or need a restart must be refused.
func TestReloadedSecretVerifiesAndTheOldOneNoLonger(t *testing.T) {
	const other = "another secret of these tests, no other use"
	v := newVerifier(t, Config{Secret: testSecret})
	old := sign(`{"id":"ann"}`)
	next := signWith(jwt.SigningMethodHS256, []byte(other), "", `{"id":"ann"}`)
	for range 2 { // the second time the header is remembered
		if _, err := v.Verify(old, testNow); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.Reload(Config{Secret: other, Issuer: "us"}); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(old, testNow); !errors.Is(err, errSignature) {
		t.Errorf("a token of the old secret: %v, want errSignature", err)
	}
	if _, err := v.Verify(next, testNow); err == nil || err.Error() != "jwt issuer invalid. expected: us" {
		t.Errorf("a token without the new issuer: %v, want it refused", err)
	}
	for _, wrong := range []Config{{}, {PublicKey: "/nowhere"}, {JWKSURL: "http://127.0.0.1:1/"}} {
		if err := v.Reload(wrong); err == nil {
			t.Errorf("%+v was accepted, want an error", wrong)
		}
	}
	if err := v.Reload(Config{Secret: other}); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(next, testNow); err != nil {
		t.Errorf("a token of the new secret: %v, want it accepted", err)
	}
}

func TestReloadWhileTokensAreVerified(t *testing.T) {
	v := newVerifier(t, Config{Secret: testSecret})
	const other = "another secret of these tests, no other use"
	tokens := []string{sign(`{"id":"ann"}`), signWith(jwt.SigningMethodHS256, []byte(other), "", `{"id":"ann"}`)}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range 2000 {
				_, _ = v.Verify(tokens[i%2], testNow)
			}
		})
	}
	for i := range 200 {
		if err := v.Reload(Config{Secret: []string{other, testSecret}[i%2]}); err != nil {
			t.Fatal(err)
		}
	}
	all.Wait()
	if _, err := v.Verify(tokens[1], testNow); !errors.Is(err, errSignature) {
		t.Errorf("a token of the former secret: %v, want errSignature", err)
	}
}
