package rooms

import (
	"testing"
	"time"
)

// A slowRedis is a remote store of records whose Take continues when the test
// calls the functions in taking.
type slowRedis struct {
	*recordStore
	taking []func()
}

func (r *slowRedis) Take(pid, user string, done func(*Record, RecoveryResult)) {
	r.taking = append(r.taking, func() { r.recordStore.Take(pid, user, done) })
}

// A client's token is revoked after it was verified, while its session is being
// taken from Redis. The order finds no socket in the room of the user then, so
// CONNECT must check the token again and refuse it.
func TestRevocationWhileASessionIsTaken(t *testing.T) {
	for name, known := range map[string]bool{"and is found": true, "and is not found": false} {
		t.Run(name, func(t *testing.T) {
			tokens := &fakeRevoker{}
			redis := &slowRedis{recordStore: &recordStore{records: map[string]*Record{}}}
			id := Identity{UserID: "ann", TokenID: "t1"}
			w, _ := newHistoryWorld(t, 1, func(c *Config) {
				c.Recovery.Remote, c.Revoker = redis, tokens
				c.Auth = authFunc(func(_ string, _ time.Time, done func(Identity, error)) { done(id, nil) })
			})
			ann := w.recoveringClient("ann")
			w.forgetSessions()
			if !known {
				clear(redis.records)
			}
			ann.dial(w)
			w.obey(Order{User: "ann", TokenID: "t1", Until: startTime.Add(time.Hour)})
			for _, take := range redis.taking {
				take()
			}
			w.settle()
			if got := ann.next(); got != `44{"message":"Authentication error: jwt revoked"}` {
				t.Errorf("got %s, want a refusal", got)
			}
			if n := w.hub.Members(UserRoom("ann")); n != 0 {
				t.Errorf("%d members of the user's room, want none", n)
			}
			id.TokenID = "t2"
			ann.text(`0{"token":"ann"}`)
			w.settle()
			ann.wantConnected()
		})
	}
}
