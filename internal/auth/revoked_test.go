package auth

import (
	"fmt"
	"testing"
	"time"

	"github.com/hometrip/gateway/rooms"
)

func TestRevokedTokensAreRefused(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	now := testNow.Unix()
	const later = 1000
	for _, c := range []struct {
		name    string
		order   rooms.Order
		payload string
		revoked bool
	}{
		{"by its id", rooms.Order{TokenID: "t1", Until: at(now + later)}, `{"id":"ann","jti":"t1"}`, true},
		{"another id", rooms.Order{TokenID: "t1", Until: at(now + later)}, `{"id":"ann","jti":"t2"}`, false},
		{"no id", rooms.Order{TokenID: "t1", Until: at(now + later)}, `{"id":"ann"}`, false},
		{"an id, of which the user is named too", rooms.Order{User: "ann", TokenID: "t1", Until: at(now + later)}, `{"id":"ann","jti":"t2"}`, false},
		{"issued before", rooms.Order{User: "ann", Issued: at(now - 10), Until: at(now + later)}, fmt.Sprintf(`{"id":"ann","iat":%d}`, now-11), true},
		{"issued in that second", rooms.Order{User: "ann", Issued: at(now - 10), Until: at(now + later)}, fmt.Sprintf(`{"id":"ann","iat":%d}`, now-10), true},
		{"issued after", rooms.Order{User: "ann", Issued: at(now - 10), Until: at(now + later)}, fmt.Sprintf(`{"id":"ann","iat":%d}`, now-9), false},
		{"issued nobody knows when", rooms.Order{User: "ann", Issued: at(now - 10), Until: at(now + later)}, `{"id":"ann"}`, true},
		{"issued at nonsense", rooms.Order{User: "ann", Issued: at(now - 10), Until: at(now + later)}, `{"id":"ann","iat":"soon"}`, true},
		{"another user", rooms.Order{User: "ann", Issued: at(now), Until: at(now + later)}, `{"id":"bob"}`, false},
		{"no longer", rooms.Order{TokenID: "t1", Until: at(now)}, `{"id":"ann","jti":"t1"}`, false},
		{"a user no longer", rooms.Order{User: "ann", Issued: at(now), Until: at(now)}, `{"id":"ann"}`, false},
	} {
		v := newVerifier(t, Config{Secret: testSecret})
		v.Revoke(c.order)
		_, err := v.Verify(sign(c.payload), testNow)
		if (err == errRevoked) != c.revoked || err != nil && err != errRevoked {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestRevocationsAddUp(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	v := newVerifier(t, Config{Secret: testSecret})
	now := testNow.Unix()
	v.Revoke(rooms.Order{User: "ann", Issued: at(now), Until: at(now + 100)})
	v.Revoke(rooms.Order{User: "ann", Issued: at(now - 50), Until: at(now + 50)}) // late, and weaker
	token := sign(fmt.Sprintf(`{"id":"ann","iat":%d}`, now))
	for after, want := range map[int64]error{0: errRevoked, 60: errRevoked, 99: errRevoked, 100: nil} {
		if _, err := v.Verify(token, at(now+after)); err != want {
			t.Errorf("after %d s: %v, want %v", after, err, want)
		}
	}
}

func TestRevocationsThatHaveEndedAreForgotten(t *testing.T) {
	var b blacklist
	now := testNow
	for i := range 3 * pruneEvery {
		b.add(rooms.Order{TokenID: fmt.Sprint("t", i), Until: now.Add(time.Second)}, now)
		b.add(rooms.Order{User: fmt.Sprint("u", i), Until: now.Add(time.Second)}, now)
		now = now.Add(10 * time.Millisecond)
	}
	if n := b.len(); n > 2*pruneEvery {
		t.Errorf("%d entries are kept of %d that ended after a second", n, 6*pruneEvery)
	}
}

func TestTheListOfRevocationsIsBounded(t *testing.T) {
	b := blacklist{tokens: make(map[string]int64, maxRevoked)}
	until := testNow.Add(time.Hour)
	for i := range maxRevoked {
		b.tokens[fmt.Sprint(i)] = until.Unix()
	}
	if b.add(rooms.Order{TokenID: "one more", Until: until}, testNow) {
		t.Error("a full list takes one more")
	}
}
