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

// expensiveKeys returns the kinds of keys whose verification costs too much CPU for an
// event loop.
func expensiveKeys(t *testing.T) map[string]struct {
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

// occupy blocks this many of the verifier's goroutines. release lets that many of them
// continue.
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

// Expensive tokens are verified outside of the event loop. Two clients queue as many
// invalid tokens as they may: one by its address, one by its user. The bytes in the
// queue must stay bounded by share, other addresses must still be accepted, and their
// tokens be verified in turn.
func TestExpensiveTokensAreVerifiedOffTheEventLoop(t *testing.T) {
	for name, kind := range expensiveKeys(t) {
		t.Run(name, func(t *testing.T) {
			const most = 256 << 10
			kind.config.waiting = most
			v := newVerifier(t, kind.config)
			if _, expensive := v.Dear(); !expensive {
				t.Fatal("this key is verified on the event loop, want it elsewhere")
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
					t.Fatalf("%d tokens of %+v are queued, want 1 to %d", n, from, most)
				}
				waiting += n
			}
			if present("eve", bad, rooms.Presenter{User: "eve", Address: 2}) {
				t.Error("a user got a second share of the queue at another address")
			}
			for i := range 5 {
				if !present("ann", good, rooms.Presenter{Address: uint64(100 + i)}) {
					t.Fatal("a token of another address was refused while the queue has room")
				}
				waiting++
			}
			release(1) // with a single goroutine the results come in the order of the turns
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
				t.Errorf("the last token of the others was verified as number %d, want %d or earlier", last, most)
			}
		})
	}
}

func TestHS256IsVerifiedOnTheEventLoop(t *testing.T) {
	if _, expensive := newVerifier(t, Config{Secret: testSecret}).Dear(); expensive {
		t.Error("HS256 is not verified on the event loop")
	}
}

func TestAClosedVerifierAnswersBusy(t *testing.T) {
	kind := expensiveKeys(t)["ES256"]
	v := newVerifier(t, kind.config)
	v.Close()
	if got := <-authenticate(v, kind.sign(`{"id":"ann"}`)); got.err != errBusy {
		t.Errorf("got %+v, want %v", got, errBusy)
	}
}

// A token with a forged signature is verified once: not a second time by golang-jwt if
// its header is the one of valid tokens.
func TestAForgedTokenIsVerifiedOnce(t *testing.T) {
	for name, kind := range expensiveKeys(t) {
		if kind.config.JWKSURL != "" {
			continue // headers are not remembered with a JWKS
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
				t.Errorf("the signature was verified %d more times by golang-jwt, want 0", again)
			}
			if id, err := v.Verify(other, testNow); err != nil || id.UserID != "bob" {
				t.Errorf("a valid token afterwards: %+v, %v", id, err)
			}
		})
	}
}

// A token waits for verification while the buffer that it is a view of is overwritten.
// It must still be verified as it was.
func TestAQueuedTokenIsCopied(t *testing.T) {
	for name, kind := range expensiveKeys(t) {
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
				t.Errorf("got %+v, want the identity of ann", got)
			}
		})
	}
}

// The buffer of a token, and the verifier's scratch memory, are overwritten after the
// token was verified. The identity must not change: neither that of the first token,
// which golang-jwt parses, nor that of the next one, whose header is remembered.
func TestAnIdentityIsNotAViewOfTheToken(t *testing.T) {
	v := newVerifier(t, Config{Secret: testSecret})
	const claims = `{"id":"ann","email":"a@b","role":"guest","jti":"t1","rooms":["x","y"]}`
	want := rooms.Identity{UserID: "ann", Email: "a@b", Role: "guest", TokenID: "t1", Rooms: []string{"x", "y"}}
	for range 2 {
		buffer := []byte(sign(claims))
		var got rooms.Identity
		v.Authenticate(buffer, rooms.Presenter{}, testNow, func(id rooms.Identity, _ error) { got = id })
		clear(buffer)
		v.Authenticate([]byte(sign(`{"id":"bob","email":"c@d","role":"owner","jti":"t2","rooms":["z","z"]}`)),
			rooms.Presenter{}, testNow, func(rooms.Identity, error) {}) // uses the same scratch memory
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}
