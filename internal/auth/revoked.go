package auth

import (
	"sync"
	"time"

	"github.com/hometrip/gateway/internal/handover/form"
	"github.com/hometrip/gateway/rooms"
)

// maxRevoked limits the list of revoked tokens and users; some 100 bytes each.
const maxRevoked = 1 << 20

// pruneEvery is the number of additions after which ended entries are removed.
const pruneEvery = 1024

// A blacklist has the revoked tokens, until they would have expired. Safe for
// concurrent use; the lock is held for one map access.
type blacklist struct {
	mu     sync.RWMutex     // guards the following
	tokens map[string]int64 // id → Unix s at which the entry ends
	users  map[string]cutoff
	added  int
}

// A cutoff revokes a user's tokens that were issued until then, see
// rooms.Order.LastIssued.
type cutoff struct{ issued, until int64 } // Unix s

// Revoke implements rooms.Revoker. Without Issued it revokes all tokens that
// the user has now. If the list is full, which is counted, the token stays
// valid.
func (v *Verifier) Revoke(o rooms.Order) {
	now := time.Now()
	if !v.revoked.add(o, now) {
		v.overflow.Add(1)
	}
}

func (b *blacklist) add(o rooms.Order, now time.Time) bool {
	until := o.Until.Unix()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.added++; b.added%pruneEvery == 0 {
		b.prune(now.Unix())
	}
	if len(b.tokens)+len(b.users) >= maxRevoked {
		return false
	}
	if o.TokenID != "" {
		if b.tokens == nil {
			b.tokens = make(map[string]int64)
		}
		b.tokens[o.TokenID] = max(b.tokens[o.TokenID], until)
		return true
	}
	if o.Issued.IsZero() {
		o.Issued = now
	}
	if b.users == nil {
		b.users = make(map[string]cutoff)
	}
	c := b.users[o.User]
	b.users[o.User] = cutoff{max(c.issued, o.LastIssued()), max(c.until, until)}
	return true
}

func (b *blacklist) prune(now int64) {
	for id, until := range b.tokens {
		if until <= now {
			delete(b.tokens, id)
		}
	}
	for user, c := range b.users {
		if c.until <= now {
			delete(b.users, user)
		}
	}
}

// has reports whether a token is revoked. issued is 0 if the token does not
// say.
func (b *blacklist) has(user, id string, issued, now int64) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if id != "" && b.tokens[id] > now {
		return true
	}
	c, found := b.users[user]
	return found && c.until > now && issued <= c.issued
}

// len is the number of entries.
func (b *blacklist) len() int {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return len(b.tokens) + len(b.users)
}

// Refused returns the list of revoked tokens and users, for another process.
func (v *Verifier) Refused() (tokens, users []form.Revoked) {
	b := &v.revoked
	b.mu.RLock()
	defer b.mu.RUnlock()
	for id, until := range b.tokens {
		tokens = append(tokens, form.Revoked{Name: id, Until: until})
	}
	for user, c := range b.users {
		users = append(users, form.Revoked{Name: user, Issued: c.issued, Until: c.until})
	}
	return tokens, users
}

// Refuse adds the list that Refused of another process returned.
func (v *Verifier) Refuse(tokens, users []form.Revoked) {
	b := &v.revoked
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tokens == nil {
		b.tokens = make(map[string]int64)
	}
	if b.users == nil {
		b.users = make(map[string]cutoff)
	}
	for _, r := range tokens {
		b.tokens[r.Name] = max(b.tokens[r.Name], r.Until)
	}
	for _, r := range users {
		c := b.users[r.Name]
		b.users[r.Name] = cutoff{max(c.issued, r.Issued), max(c.until, r.Until)}
	}
}
