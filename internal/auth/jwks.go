package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"

	"github.com/hometrip/gateway/internal/secret"
)

const (
	jwksTimeout = 5 * time.Second // for one fetch of the key set
	jwksRefresh = 5 * time.Minute // how soon a withdrawn key is forgotten
	jwksMaxLen  = 1 << 20         // bytes of key set

	// jwksUnknown is how often an unknown key id may cause a fetch. It is
	// longer than jwksTimeout, so at most one goroutine fetches and one waits
	// for its turn; the others continue.
	jwksUnknown = 30 * time.Second
	jwksFetches = 8 // goroutines that may wait for keys, beside those that verify
)

var jwksAlgorithms = []string{
	jwt.SigningMethodRS256.Alg(), jwt.SigningMethodES256.Alg(), jwt.SigningMethodEdDSA.Alg(),
}

// useJWKS fetches the key set and starts the pool. Goroutines that wait for a
// key are not among those that verify.
func (v *Verifier) useJWKS(k *keyring, cfg Config) ([]string, error) {
	address, log := cfg.JWKSURL, cfg.Log
	if u, err := url.Parse(address); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("JWKS URL %q: want http://host/path or https://host/path", secret.HideInURLs(address))
	}
	ctx, cancel := context.WithCancel(context.Background())
	keys, err := newKeySet(ctx, address, log)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("JWKS URL: %s", secret.HideInURLs(err.Error()))
	}
	k.key = keys.Keyfunc
	v.stopFetching = cancel
	v.turn = make(chan struct{}, workers(cfg))
	v.startPool(workers(cfg)+jwksFetches, cfg)
	return jwksAlgorithms, nil
}

func newKeySet(ctx context.Context, address string, log *slog.Logger) (keyfunc.Keyfunc, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	remote, err := jwkset.NewStorageFromHTTP(address, jwkset.HTTPClientStorageOptions{
		Client:                    &http.Client{Transport: limited{http.DefaultTransport}},
		Ctx:                       ctx,
		HTTPTimeout:               jwksTimeout,
		NoErrorReturnFirstHTTPReq: true, // the issuer may start after us
		RefreshErrorHandler: func(_ context.Context, err error) {
			log.Warn("signing keys could not be fetched", "url", secret.HideInURLs(address), "error", secret.HideInURLs(err.Error()))
		},
		RefreshInterval: jwksRefresh,
	})
	if err != nil {
		return nil, err
	}
	client, err := jwkset.NewHTTPClient(jwkset.HTTPClientOptions{
		HTTPURLs:          map[string]jwkset.Storage{address: remote},
		RateLimitWaitMax:  jwksTimeout, // jwkset ends the fetch with it, too
		RefreshUnknownKID: rate.NewLimiter(rate.Every(jwksUnknown), 1),
	})
	if err != nil {
		return nil, err
	}
	return keyfunc.New(keyfunc.Options{Ctx: ctx, Storage: keySet{client}})
}

// A keySet distinguishes "no such key" from "not known yet".
type keySet struct{ jwkset.Storage }

// KeyRead returns errNoKeys when key kid may exist but cannot be looked up
// now. It may block for jwksTimeout.
func (s keySet) KeyRead(ctx context.Context, kid string) (jwkset.JWK, error) {
	key, err := s.Storage.KeyRead(ctx, kid)
	switch {
	case err == nil:
		return key, nil
	case !errors.Is(err, jwkset.ErrKeyNotFound):
		return key, errNoKeys // not our turn to fetch
	}
	if _, none := s.KeyReadAll(ctx); none != nil {
		return key, none
	}
	return key, errSignature
}

// KeyReadAll returns errNoKeys instead of an empty set.
func (s keySet) KeyReadAll(ctx context.Context) ([]jwkset.JWK, error) {
	keys, err := s.Storage.KeyReadAll(ctx)
	if err == nil && len(keys) == 0 {
		err = errNoKeys
	}
	return keys, err
}

// limited limits the size of an answer, in bytes.
type limited struct{ http.RoundTripper }

func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, jwksMaxLen), resp.Body}
	}
	return resp, err
}
