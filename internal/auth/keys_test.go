package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// testKeys are generated once, because RSA keys take long.
var testKeys = sync.OnceValue(func() (k struct {
	rsa     *rsa.PrivateKey
	weak    *rsa.PrivateKey
	ec      *ecdsa.PrivateKey
	ec384   *ecdsa.PrivateKey
	ed25519 ed25519.PrivateKey
}) {
	k.rsa, _ = rsa.GenerateKey(rand.Reader, minRSABits)
	k.weak, _ = rsa.GenerateKey(rand.Reader, 1024)
	k.ec, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	k.ec384, _ = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	_, k.ed25519, _ = ed25519.GenerateKey(rand.Reader)
	return k
})

func publicPEM(key crypto.Signer) string {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// A public key accepts tokens of its own algorithm only, and no HMAC token whose
// secret is the public key's text.
func TestPublicKeyVerifiesItsOneAlgorithm(t *testing.T) {
	k := testKeys()
	for _, own := range []struct {
		key    crypto.Signer
		method jwt.SigningMethod
	}{
		{k.rsa, jwt.SigningMethodRS256}, {k.ec, jwt.SigningMethodES256}, {k.ed25519, jwt.SigningMethodEdDSA},
	} {
		v := newVerifier(t, Config{PublicKey: publicPEM(own.key)})
		for _, row := range []struct {
			method jwt.SigningMethod
			key    any
			want   error
		}{
			{own.method, own.key, nil},
			{jwt.SigningMethodHS256, []byte(publicPEM(own.key)), errAlgorithm},
			{jwt.SigningMethodHS512, []byte(publicPEM(own.key)), errAlgorithm},
			{jwt.SigningMethodRS512, k.rsa, errAlgorithm},
			{jwt.SigningMethodPS256, k.rsa, errAlgorithm},
			{jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, errNoSignature},
		} {
			_, err := v.Verify(signWith(row.method, row.key, "", `{"id":"ann"}`), testNow)
			if err != row.want {
				t.Errorf("%s key, token %s: got %v, want %v", own.method.Alg(), row.method.Alg(), err, row.want)
			}
		}
	}
}

func TestAnotherKeyOfTheSameTypeIsRefused(t *testing.T) {
	other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	v := newVerifier(t, Config{PublicKey: publicPEM(testKeys().ec)})
	_, err := v.Verify(signWith(jwt.SigningMethodES256, other, "", `{"id":"ann"}`), testNow)
	if err != errSignature {
		t.Fatalf("got %v, want %v", err, errSignature)
	}
}

func TestPublicKeyMayBeTextOneLineOrAFile(t *testing.T) {
	text := publicPEM(testKeys().ec)
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	token := signWith(jwt.SigningMethodES256, testKeys().ec, "", `{"id":"ann"}`)
	for _, form := range []string{text, strings.ReplaceAll(text, "\n", `\n`), path} {
		if _, err := newVerifier(t, Config{PublicKey: form}).Verify(token, testNow); err != nil {
			t.Errorf("%.40q: %v", form, err)
		}
	}
	pkcs1 := pem.EncodeToMemory(&pem.Block{
		Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&testKeys().rsa.PublicKey),
	})
	newVerifier(t, Config{PublicKey: string(pkcs1)})
}

func TestUnsafeKeysAreRefused(t *testing.T) {
	k := testKeys()
	private, _ := x509.MarshalPKCS8PrivateKey(k.ec)
	for _, row := range []struct {
		name, want string
		cfg        Config
	}{
		{"none", "exactly one", Config{}},
		{"two", "exactly one", Config{Secret: "s", PublicKey: publicPEM(k.ec)}},
		{"secret and JWKS", "exactly one", Config{Secret: "s", JWKSURL: "http://issuer/keys"}},
		{"public key as secret", "PEM key", Config{Secret: publicPEM(k.rsa)}},
		{"weak RSA", "1024 bits", Config{PublicKey: publicPEM(k.weak)}},
		{"other curve", "P-384", Config{PublicKey: publicPEM(k.ec384)}},
		{"private key", "PRIVATE KEY", Config{PublicKey: string(pem.EncodeToMemory(
			&pem.Block{Type: "PRIVATE KEY", Bytes: private}))}},
		{"no file", "readable file", Config{PublicKey: "/nowhere/key.pem"}},
		{"cut PEM", "no PEM block", Config{PublicKey: publicPEM(k.ec)[:60]}},
		{"JWKS without scheme", "want http", Config{JWKSURL: "issuer/keys"}},
	} {
		v, err := New(row.cfg)
		if err == nil {
			v.Close()
			t.Errorf("%s: accepted", row.name)
		} else if !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: error %q, want %q in it", row.name, err, row.want)
		}
	}
}
