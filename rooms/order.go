package rooms

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
	"time"
)

// An Order is what the back office wants of all nodes: that a user's sockets
// are disconnected, and perhaps that tokens are good no longer.
type Order struct {
	User    string // whose sockets and tokens; "" for a TokenID of anybody
	TokenID string // only that token's; "" for all of the user's

	// Issued is up to when a token must have been issued to be meant, see
	// LastIssued; zero for any time. A token that does not say is meant.
	Issued time.Time

	Until  time.Time // the tokens are refused until then; zero: they stay good
	Reason string    // what the clients are told
}

var errOrderForNobody = errors.New("order: names neither a user nor a token")

// Check returns an error for an order that means nobody.
func (o *Order) Check() error {
	if o.User == "" && o.TokenID == "" {
		return errOrderForNobody
	}
	return nil
}

// Means reports whether the order is for the session of a user with a token,
// which is known by its TokenMark and by when it was issued; 0 for not known.
func (o *Order) Means(user string, token uint64, issued uint32) bool {
	mark := TokenMark(o.TokenID)
	if o.User == "" {
		return mark == token
	}
	return o.User == user && (mark == 0 || mark == token) && int64(issued) <= o.LastIssued()
}

// IssuedLeeway is by how much the clocks of who issues tokens and of who gives
// orders may differ. A token that was issued so shortly after an order is
// refused too; that it stays good would be worse.
const IssuedLeeway = 2 * time.Second

// LastIssued returns the last Unix second in which a token may have been issued
// that the order means, leeway included. Both sides are rounded down: a token
// issued at 12:00:00.9 belongs to second 12:00:00, like an order of 12:00:00.1.
func (o *Order) LastIssued() int64 {
	if o.Issued.IsZero() {
		return math.MaxInt64
	}
	return o.Issued.Add(IssuedLeeway).Unix()
}

// Obey has an order's tokens refused on this node, and then their sockets
// disconnected. The error is that of Check.
func (h *Hub) Obey(o Order) error {
	if err := o.Check(); err != nil {
		return err
	}
	if !o.Until.IsZero() && h.config.Revoker != nil {
		h.config.Revoker.Revoke(o)
	}
	for _, sh := range h.shards {
		sh.Post(func(now time.Time) { sh.obey(&o, now) })
	}
	return nil
}

// obey disconnects the sockets that an order means.
func (sh *Shard) obey(o *Order, now time.Time) {
	token := tokenHash(o.TokenID)
	if o.User == "" {
		sh.hunt(token, o.Reason)
		return
	}
	last := o.LastIssued()
	sh.dismiss(sh.rooms[UserRoom(o.User)], now, func(s *Socket) (reason string, meant bool) {
		return o.Reason, int64(s.issued) <= last && (token == 0 || s.tokenID == token)
	})
}

// hunt looks for the sockets of a token of nobody knows whom: among all. What
// is asked for until the next turn is looked for together.
func (sh *Shard) hunt(token uint64, reason string) {
	if sh.hunted == nil {
		sh.hunted = make(map[uint64]string)
		sh.Post(func(now time.Time) {
			hunted := sh.hunted
			sh.hunted = nil
			for name, r := range sh.rooms {
				if OfUser(name) {
					sh.dismiss(r, now, func(s *Socket) (reason string, meant bool) {
						reason, meant = hunted[s.tokenID]
						return reason, meant && s.tokenID != 0
					})
				}
			}
		})
	}
	sh.hunted[token] = reason
}

// dismiss disconnects the sockets of a user's room that are meant.
func (sh *Shard) dismiss(r *room, now time.Time, meant func(*Socket) (reason string, ok bool)) {
	if r == nil {
		return
	}
	var sockets []*Socket // leaving moves members about
	for _, m := range r.members {
		if _, ok := meant(m.socket); ok {
			sockets = append(sockets, m.socket)
		}
	}
	for _, s := range sockets {
		reason, _ := meant(s)
		if !s.endComeback(RecoveryOrder, now) {
			continue // refused
		}
		sh.stats.Ordered.Add(1)
		s.endSession(reason, now)
	}
}

// tokenHash is how sockets remember the ids of their tokens. It is the same in
// every process, because sockets are handed over from one to the next.
func tokenHash(id string) uint64 {
	if id == "" {
		return 0
	}
	sum := sha256.Sum256([]byte(id))
	return binary.LittleEndian.Uint64(sum[:])
}
