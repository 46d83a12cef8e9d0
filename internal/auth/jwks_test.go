package auth

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/rooms"
)

// issuer serves a JWKS. Tests can change its keys and delay its responses.
type issuer struct {
	*httptest.Server
	keys    atomic.Pointer[[]byte]
	fetches atomic.Int32
	gate    chan struct{} // fetches after the first one wait for it; nil: none waits
}

func newIssuer(t *testing.T, gate chan struct{}) *issuer {
	i := &issuer{gate: gate}
	i.publish(t, "none", nil)
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if i.fetches.Add(1) > 1 && i.gate != nil {
			select {
			case <-i.gate:
			case <-r.Context().Done():
				return
			}
		}
		w.Write(*i.keys.Load())
	}))
	t.Cleanup(i.Server.Close)
	return i
}

// publish makes key the only key of the set. nil empties the set.
func (i *issuer) publish(t *testing.T, kid string, key any) {
	t.Helper()
	set := jwkset.NewMemoryStorage()
	if key != nil {
		jwk, err := jwkset.NewJWKFromKey(key, jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: kid}})
		if err != nil {
			t.Fatal(err)
		}
		if err := set.KeyWrite(context.Background(), jwk); err != nil {
			t.Fatal(err)
		}
	}
	text, err := set.JSONPublic(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	i.keys.Store((*[]byte)(&text))
}

type answer struct {
	id  rooms.Identity
	err error
}

// authenticate returns a channel that gets the result.
func authenticate(v *Verifier, token string) <-chan answer {
	answers := make(chan answer, 2)
	v.Authenticate([]byte(token), rooms.Presenter{}, testNow, func(id rooms.Identity, err error) { answers <- answer{id, err} })
	return answers
}

// A key of a JWKS verifies tokens of its algorithm, with and without a key id, and no
// tokens of another algorithm.
func TestJWKSVerifiesAsymmetricTokensOnly(t *testing.T) {
	k := testKeys()
	for _, row := range []struct {
		method jwt.SigningMethod
		key    any
	}{
		{jwt.SigningMethodRS256, k.rsa}, {jwt.SigningMethodES256, k.ec}, {jwt.SigningMethodEdDSA, k.ed25519},
	} {
		i := newIssuer(t, nil)
		i.publish(t, "k1", row.key)
		v := newVerifier(t, Config{JWKSURL: i.URL})
		for _, kid := range []string{"k1", ""} {
			got := <-authenticate(v, signWith(row.method, row.key, kid, `{"id":"ann"}`))
			if got.err != nil || got.id.UserID != "ann" {
				t.Errorf("%s, kid %q: got %+v", row.method.Alg(), kid, got)
			}
		}
		for _, token := range []string{
			signWith(jwt.SigningMethodHS256, *i.keys.Load(), "k1", `{"id":"ann"}`),
			signWith(jwt.SigningMethodHS256, []byte(""), "k1", `{"id":"ann"}`),
			signWith(jwt.SigningMethodRS512, k.rsa, "k1", `{"id":"ann"}`),
		} {
			if got := <-authenticate(v, token); got.err != errAlgorithm {
				t.Errorf("got %+v, want %v", got, errAlgorithm)
			}
		}
	}
}

func TestSymmetricKeyInAJWKSVerifiesNothing(t *testing.T) {
	i := newIssuer(t, nil)
	set, _ := json.Marshal(map[string]any{"keys": []any{
		map[string]string{"kty": "oct", "kid": "k1", "k": encode(testSecret)},
	}})
	i.keys.Store(&set)
	v := newVerifier(t, Config{JWKSURL: i.URL})
	got := <-authenticate(v, signWith(jwt.SigningMethodHS256, []byte(testSecret), "k1", `{"id":"ann"}`))
	if got.err != errAlgorithm {
		t.Fatalf("got %+v, want %v", got, errAlgorithm)
	}
}

// The issuer adds a key after the start. A token that names it must cause a fetch and
// be accepted.
func TestANewKeyIsFetchedWhenATokenNamesIt(t *testing.T) {
	k := testKeys()
	i := newIssuer(t, nil)
	i.publish(t, "old", k.rsa)
	v := newVerifier(t, Config{JWKSURL: i.URL})
	i.publish(t, "new", k.ec)
	got := <-authenticate(v, signWith(jwt.SigningMethodES256, k.ec, "new", `{"id":"ann"}`))
	if got.err != nil || got.id.UserID != "ann" {
		t.Fatalf("got %+v", got)
	}
	if got := <-authenticate(v, signWith(jwt.SigningMethodRS256, k.rsa, "old", `{"id":"ann"}`)); got.err != errNoKeys {
		t.Fatalf("withdrawn key, fetch not due: got %+v, want %v", got, errNoKeys)
	}
}

// Tokens with unknown key ids wait for a fetch that hangs. A token of a known key must
// be answered meanwhile.
func TestUnknownKeysDoNotDelayKnownOnes(t *testing.T) {
	k := testKeys()
	gate := make(chan struct{})
	i := newIssuer(t, gate)
	i.publish(t, "k1", k.ec)
	v := newVerifier(t, Config{JWKSURL: i.URL})
	unknown := signWith(jwt.SigningMethodES256, k.ec, "k2", `{"id":"bob"}`)
	waiting := make([]<-chan answer, 4*jwksFetches)
	for n := range waiting {
		waiting[n] = authenticate(v, unknown)
	}
	got := <-authenticate(v, signWith(jwt.SigningMethodES256, k.ec, "k1", `{"id":"ann"}`))
	if got.err != nil {
		t.Fatalf("known key: %v", got.err)
	}
	close(gate)
	refused := map[error]int{}
	for _, answers := range waiting {
		refused[(<-answers).err]++
	}
	if refused[errSignature] != 1 || refused[errNoKeys] != len(waiting)-1 {
		t.Fatalf("refusals %v, want one errSignature from the fetch and errNoKeys for all others", refused)
	}
}

func TestIssuerThatIsDownDoesNotStopTheStart(t *testing.T) {
	i := newIssuer(t, nil)
	i.Server.Close()
	v := newVerifier(t, Config{JWKSURL: i.URL})
	for _, kid := range []string{"k1", ""} {
		token := signWith(jwt.SigningMethodES256, testKeys().ec, kid, `{"id":"ann"}`)
		if got := <-authenticate(v, token); got.err != errNoKeys {
			t.Errorf("kid %q: got %+v, want %v", kid, got, errNoKeys)
		}
	}
}

// If a token could not be verified because the verifier is busy or has no keys, the
// client is disconnected so that it reconnects. For all other outcomes it is refused.
func TestClientsReconnectIfTheirTokenCannotBeVerified(t *testing.T) {
	for outcome := range outcomes {
		err := error(&Refusal{Outcome: outcome})
		if got, want := errors.Is(err, rooms.ErrBusy), outcome == Busy || outcome == NoKeys; got != want {
			t.Errorf("%v: the client reconnects: %v, want %v", outcome, got, want)
		}
	}
}

// The verifier is closed while a fetch of keys hangs. The waiting token must be
// refused, later ones be answered busy, and no goroutine be left.
func TestCloseAnswersWhatWaitsAndEndsItsGoroutines(t *testing.T) {
	k := testKeys()
	gate := make(chan struct{})
	defer close(gate)
	i := newIssuer(t, gate)
	i.publish(t, "k1", k.ec)
	before := runtime.NumGoroutine()
	v, err := New(Config{JWKSURL: i.URL})
	if err != nil {
		t.Fatal(err)
	}
	hung := authenticate(v, signWith(jwt.SigningMethodES256, k.ec, "k2", `{"id":"bob"}`))
	v.Close()
	if got := <-hung; got.err == nil {
		t.Errorf("a token of an unknown key was accepted")
	}
	if got := <-authenticate(v, signWith(jwt.SigningMethodES256, k.ec, "k1", `{"id":"ann"}`)); got.err != errBusy {
		t.Errorf("after Close: got %+v, want %v", got, errBusy)
	}
	v.Close()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	i.CloseClientConnections()
	for end := time.Now().Add(testkit.Patience); runtime.NumGoroutine() > before; {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines are left, %d before", runtime.NumGoroutine(), before)
		}
		runtime.Gosched()
	}
}
