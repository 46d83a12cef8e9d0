package rooms

import (
	"errors"
	"math"
	"time"
)

// An Order of the back office acts on all nodes: it disconnects a user's
// sockets, and may revoke tokens.
type Order struct {
	User    string // whose sockets and tokens; "": any user, for a TokenID
	TokenID string // only that token's; "" for all of the user's

	// Issued: the order applies to tokens issued until then, see LastIssued;
	// zero for any time. It also applies to tokens without a time of issue.
	Issued time.Time

	Until  time.Time // the tokens are revoked until then; zero: they stay valid
	Reason string    // for session_ended
}

var errOrderForNobody = errors.New("order: names neither a user nor a token")

// Check returns an error if the order names neither a user nor a token.
func (o *Order) Check() error {
	if o.User == "" && o.TokenID == "" {
		return errOrderForNobody
	}
	return nil
}

// Means reports whether the order applies to a session of user. token is the
// TokenMark of the session's token and issued its time of issue; 0 for unknown.
func (o *Order) Means(user string, token uint64, issued uint32) bool {
	mark := TokenMark(o.TokenID)
	if o.User == "" {
		return mark == token
	}
	return o.User == user && (mark == 0 || mark == token) && int64(issued) <= o.LastIssued()
}

// IssuedLeeway is how much the clocks of the token issuer and of the back
// office may differ. A token issued so shortly after an order is revoked too;
// to leave it valid would be worse.
const IssuedLeeway = 2 * time.Second

// LastIssued returns the last Unix second in which a token was issued that the
// order applies to, leeway included. Both sides are rounded down: a token
// issued at 12:00:00.9 belongs to second 12:00:00, like an order of 12:00:00.1.
func (o *Order) LastIssued() int64 {
	if o.Issued.IsZero() {
		return math.MaxInt64
	}
	return o.Issued.Add(IssuedLeeway).Unix()
}

// Obey revokes an order's tokens on this node and then disconnects the sockets
// that have them. The error is that of Check.
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

// obey disconnects the shard's sockets that an order applies to.
func (sh *Shard) obey(o *Order, now time.Time) {
	token := TokenMark(o.TokenID)
	if o.User == "" {
		sh.hunt(token, o.Reason)
		return
	}
	last := o.LastIssued()
	sh.dismiss(sh.rooms.get(UserRoom(o.User)), now, func(s *Socket) (reason string, meant bool) {
		return o.Reason, s.UserID() == o.User && int64(s.issued) <= last && (token == 0 || s.tokenID == token)
	})
}

// hunt searches all sockets of the shard for those with a token whose user is
// unknown. Searches requested until the next turn are done together.
func (sh *Shard) hunt(token uint64, reason string) {
	if sh.hunted == nil {
		sh.hunted = make(map[uint64]string)
		sh.Post(func(now time.Time) {
			hunted := sh.hunted
			sh.hunted = nil
			for _, r := range sh.rooms.list() {
				if OfUser(r.name) {
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

// dismiss disconnects those sockets of a user's room that meant selects.
func (sh *Shard) dismiss(r *room, now time.Time, meant func(*Socket) (reason string, ok bool)) {
	if r == nil {
		return
	}
	var sockets []*Socket // because leaving changes the order of members
	for _, m := range r.members.all() {
		if _, ok := meant(m); ok {
			sockets = append(sockets, m)
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
