package auth

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/hometrip/gateway/rooms"
)

// dearKeys are the kinds of key whose tokens cost too much for an event loop.
func dearKeys(t *testing.T) map[string]struct {
	config Config
	sign   func(payload string) string
} {
	t.Helper()
	k := testKeys()
	kinds := make(map[string]struct {
		config Config
		sign   func(payload string) string
	})
	for _, row := range []struct {
		method          jwt.SigningMethod
		private, public any
	}{
		{jwt.SigningMethodRS256, k.rsa, k.rsa.Public()},
		{jwt.SigningMethodES256, k.ec, k.ec.Public()},
		{jwt.SigningMethodEdDSA, k.ed25519, k.ed25519.Public()},
	} {
		der, err := x509.MarshalPKIXPublicKey(row.public)
		if err != nil {
			t.Fatal(err)
		}
		i := newIssuer(t, nil)
		i.publish(t, "k1", row.private)
		sign := func(payload string) string { return signWith(row.method, row.private, "k1", payload) }
		text := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		kinds[row.method.Alg()] = struct {
			config Config
			sign   func(payload string) string
		}{Config{PublicKey: text}, sign}
		kinds[row.method.Alg()+" by JWKS"] = struct {
			config Config
			sign   func(payload string) string
		}{Config{JWKSURL: i.URL}, sign}
	}
	return kinds
}

// occupy has the verifier's goroutines stand still until release is called with
// how many of them may go on.
func occupy(t *testing.T, v *Verifier, token string, goroutines int) (release func(goroutines int)) {
	t.Helper()
	let, inside := make(chan struct{}), make(chan struct{}, goroutines)
	for range goroutines {
		v.Authenticate([]byte(token), rooms.Presenter{Address: 1}, testNow, func(rooms.Identity, error) {
			inside <- struct{}{}
			<-let
		})
	}
	for range goroutines {
		<-inside
	}
	return func(goroutines int) {
		for range goroutines {
			let <- struct{}{}
		}
	}
}

// TestDearTokensAreVerifiedOffTheLoop: whoever asks does not wait for it, what
// waits is bounded, and neither one address nor one user takes others' places
// or turns.
func TestDearTokensAreVerifiedOffTheLoop(t *testing.T) {
	for name, kind := range dearKeys(t) {
		t.Run(name, func(t *testing.T) {
			const most = 256 << 10
			kind.config.waiting = most
			v := newVerifier(t, kind.config)
			if _, dear := v.Dear(); !dear {
				t.Fatal("verified on the event loop")
			}
			good, bad := kind.sign(`{"id":"ann"}`), kind.sign(`{"id":"ann"}`)
			bad = bad[:len(bad)-8] + "AAAAAAAA"
			goroutines := 1
			if v.turn != nil {
				goroutines += jwksFetches
			}
			release := occupy(t, v, good, goroutines)
			type verdict struct {
				who string
				err error
			}
			verdicts := make(chan verdict, 1<<17)
			present := func(who string, token string, from rooms.Presenter) (queued bool) {
				queued = true
				v.Authenticate([]byte(token), from, testNow, func(_ rooms.Identity, err error) {
					if errors.Is(err, rooms.ErrBusy) {
						queued = false
						return
					}
					verdicts <- verdict{who, err}
				})
				return queued
			}
			waiting := 0
			for _, from := range []rooms.Presenter{{Address: 66}, {User: "eve", Address: 1}} {
				n := 0
				for present("eve", bad, from) {
					n++
				}
				if most := most / (waitingShare + 1) / len(bad); n == 0 || n > most {
					t.Fatalf("%d tokens wait for %+v, want 1 to %d", n, from, most)
				}
				waiting += n
			}
			if present("eve", bad, rooms.Presenter{User: "eve", Address: 2}) {
				t.Error("a user has another share at another address")
			}
			for i := range 5 {
				if !present("ann", good, rooms.Presenter{Address: uint64(100 + i)}) {
					t.Fatal("somebody else is turned away")
				}
				waiting++
			}
			release(1) // by one goroutine, the verdicts come in the order of the turns
			last := 0
			for i := range waiting {
				got := <-verdicts
				if (got.who == "ann") != (got.err == nil) {
					t.Fatalf("%s: %v", got.who, got.err)
				}
				if got.who == "ann" {
					last = i
				}
			}
			release(goroutines - 1)
			if most := 7; last > most {
				t.Errorf("the last of the others was verified as number %d, want %d at most", last, most)
			}
		})
	}
}

func TestSecretsAreVerifiedOnTheLoop(t *testing.T) {
	if _, dear := newVerifier(t, Config{Secret: testSecret}).Dear(); dear {
		t.Error("HS256 is verified elsewhere")
	}
}

func TestAClosedVerifierIsBusy(t *testing.T) {
	kind := dearKeys(t)["ES256"]
	v := newVerifier(t, kind.config)
	v.Close()
	if got := <-authenticate(v, kind.sign(`{"id":"ann"}`)); got.err != errBusy {
		t.Errorf("got %+v, want %v", got, errBusy)
	}
}

// TestAForgedTokenIsVerifiedOnce: not by golang-jwt once more, when its header
// is that of good tokens.
func TestAForgedTokenIsVerifiedOnce(t *testing.T) {
	for name, kind := range dearKeys(t) {
		if kind.config.JWKSURL != "" {
			continue // headers are not remembered there
		}
		t.Run(name, func(t *testing.T) {
			v := newVerifier(t, kind.config)
			good := kind.sign(`{"id":"ann"}`)
			if _, err := v.Verify(good, testNow); err != nil {
				t.Fatal(err)
			}
			again := 0
			k := v.keys.Load()
			key := k.key
			k.key = func(token *jwt.Token) (any, error) { again++; return key(token) }
			other := kind.sign(`{"id":"bob"}`)
			forged := good[:strings.LastIndexByte(good, '.')] + other[strings.LastIndexByte(other, '.'):]
			for range 3 {
				if _, err := v.Verify(forged, testNow); err != errSignature {
					t.Errorf("%v, want %v", err, errSignature)
				}
			}
			if again > 0 {
				t.Errorf("verified %d times once more", again)
			}
			if id, err := v.Verify(other, testNow); err != nil || id.UserID != "bob" {
				t.Errorf("a good token afterwards: %+v, %v", id, err)
			}
		})
	}
}

// TestATokenIsCopiedIfItWaits: its bytes are a view of the buffer that the next
// input is read into.
func TestATokenIsCopiedIfItWaits(t *testing.T) {
	for name, kind := range dearKeys(t) {
		t.Run(name, func(t *testing.T) {
			v := newVerifier(t, kind.config)
			good := kind.sign(`{"id":"ann"}`)
			goroutines := 1
			if v.turn != nil {
				goroutines += jwksFetches
			}
			release := occupy(t, v, good, goroutines)
			buffer := []byte(good)
			answers := make(chan answer, 1)
			v.Authenticate(buffer, rooms.Presenter{Address: 2}, testNow, func(id rooms.Identity, err error) { answers <- answer{id, err} })
			clear(buffer)
			release(goroutines)
			if got := <-answers; got.err != nil || got.id.UserID != "ann" {
				t.Errorf("%+v, want the identity of ann", got)
			}
		})
	}
}

// TestAnIdentityIsNoViewOfTheToken: the first token is parsed by golang-jwt, the
// next one, with a known header, is not.
func TestAnIdentityIsNoViewOfTheToken(t *testing.T) {
	v := newVerifier(t, Config{Secret: testSecret})
	const claims = `{"id":"ann","email":"a@b","role":"guest","jti":"t1","rooms":["x","y"]}`
	want := rooms.Identity{UserID: "ann", Email: "a@b", Role: "guest", TokenID: "t1", Rooms: []string{"x", "y"}}
	for range 2 {
		buffer := []byte(sign(claims))
		var got rooms.Identity
		v.Authenticate(buffer, rooms.Presenter{}, testNow, func(id rooms.Identity, _ error) { got = id })
		clear(buffer)
		v.Authenticate([]byte(sign(`{"id":"bob","email":"c@d","role":"owner","jti":"t2","rooms":["z","z"]}`)),
			rooms.Presenter{}, testNow, func(rooms.Identity, error) {}) // which uses the same scratch
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}
