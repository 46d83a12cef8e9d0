package auth

import (
	"context"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/hometrip/gateway/internal/fairpool"
	"github.com/hometrip/gateway/rooms"
)

// HS256 costs 2 us, so it is verified on the calling event loop. ES256, EdDSA
// and RS256 with 4,096 bits cost 80, 60 and 470 us: a thousand bad tokens would
// delay all events of the loop by half a second. They are verified by a pool of
// goroutines in which clients take turns: a connected user with all its sockets
// is one client, and otherwise an address is.

const (
	// maxWaiting limits the tokens that wait, in bytes: some 16,000, which is
	// what arrives when all clients of a large node reconnect at once.
	maxWaiting = 16 << 20

	// waitingShare lets one address have a quarter of that: it may be a load
	// balancer.
	waitingShare = 3
)

// workers is how many tokens are verified at a time.
func workers(cfg Config) int { return max(cfg.Workers, 1) }

func (v *Verifier) startPool(goroutines int, cfg Config) {
	most := maxWaiting
	if cfg.waiting > 0 {
		most = cfg.waiting
	}
	v.pool = fairpool.New[rooms.Presenter](fairpool.Config{Workers: goroutines, Bytes: most, Share: waitingShare})
}

// later verifies a token in the pool.
func (v *Verifier) later(token []byte, from rooms.Presenter, now time.Time, done func(rooms.Identity, error)) {
	if from.User != "" {
		from.Address = 0
	}
	posted := v.pool.Do(from, len(token), func(ctx context.Context) {
		if ctx.Err() != nil {
			v.count(errBusy)
			done(rooms.Identity{}, errBusy)
			return
		}
		done(v.judge(token, now))
	})
	if !posted {
		v.count(errBusy)
		done(rooms.Identity{}, errBusy)
	}
}

// inTurn wraps fetch, a keyring's key function, for tokens whose key may have
// to be fetched. A goroutine that has the key waits for its turn to verify; the
// caller passes the turn on with end.
func (v *Verifier) inTurn(fetch jwt.Keyfunc) (key jwt.Keyfunc, end func()) {
	if v.turn == nil {
		return fetch, func() {}
	}
	waited := false
	key = func(t *jwt.Token) (any, error) {
		k, err := fetch(t)
		if err == nil {
			v.turn <- struct{}{}
			waited = true
		}
		return k, err
	}
	return key, func() {
		if waited {
			<-v.turn
		}
	}
}

// Dear reports whether tokens are verified by goroutines of the verifier, and
// by how many at a time.
func (v *Verifier) Dear() (workers int, dear bool) { return v.workers, v.pool != nil }
