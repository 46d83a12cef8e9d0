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
		{"issued in a later part of that second", rooms.Order{User: "ann", Issued: at(now - 10).Add(100 * time.Millisecond), Until: at(now + later)}, fmt.Sprintf(`{"id":"ann","iat":%d.9}`, now-10), true},
		{"issued by a clock that is a little ahead", rooms.Order{User: "ann", Issued: at(now - 10), Until: at(now + later)}, fmt.Sprintf(`{"id":"ann","iat":%d.9}`, now-8), true},
		{"issued after", rooms.Order{User: "ann", Issued: at(now - 10), Until: at(now + later)}, fmt.Sprintf(`{"id":"ann","iat":%d}`, now-7), false},
		{"issued in milliseconds, before", rooms.Order{User: "ann", Issued: at(now - 10), Until: at(now + later)}, fmt.Sprintf(`{"id":"ann","iat":%d}`, (now-11)*1000), true},
		{"issued in milliseconds, after", rooms.Order{User: "ann", Issued: at(now - 10), Until: at(now + later)}, fmt.Sprintf(`{"id":"ann","iat":%d}`, (now-7)*1000), false},
		{"issued in a year's time", rooms.Order{User: "ann", Issued: at(now - 10), Until: at(now + later)}, fmt.Sprintf(`{"id":"ann","iat":%d}`, now+365*86400), true},
		{"by a number as its id", rooms.Order{TokenID: "42", Until: at(now + later)}, `{"id":"ann","jti":42}`, true},
		{"by a number in another form", rooms.Order{TokenID: "42", Until: at(now + later)}, `{"id":"ann","jti":4.2e1}`, true},
		{"of a user with a number", rooms.Order{User: "-7", Issued: at(now), Until: at(now + later)}, `{"id":-7.0}`, true},
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

// Check tells whether a valid identity has expired or was revoked since it was
// verified.
func TestCheckOfAVerifiedIdentity(t *testing.T) {
	v := newVerifier(t, Config{Secret: testSecret})
	now := testNow.Unix()
	id, err := v.Verify(sign(fmt.Sprintf(`{"id":"ann","jti":7,"iat":%d,"exp":%d}`, now-5, now+5)), testNow)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Check(id, testNow); err != nil {
		t.Errorf("before any revocation: %v, want no error", err)
	}
	if err := v.Check(id, testNow.Add(5*time.Second)); err != errExpired {
		t.Errorf("at the end: %v, want %v", err, errExpired)
	}
	until := testNow.Add(time.Hour)
	for _, o := range []rooms.Order{{User: "ann", Issued: testNow, Until: until}, {TokenID: "7", Until: until}} {
		v := newVerifier(t, Config{Secret: testSecret})
		v.Revoke(o)
		if err := v.Check(id, testNow); err != errRevoked {
			t.Errorf("after %+v: %v, want %v", o, err, errRevoked)
		}
	}
}

func TestRevocationsAddUp(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	v := newVerifier(t, Config{Secret: testSecret})
	now := testNow.Unix()
	v.Revoke(rooms.Order{User: "ann", Issued: at(now), Until: at(now + 100)})
	v.Revoke(rooms.Order{User: "ann", Issued: at(now - 50), Until: at(now + 50)}) // arrives later and revokes less
	token := sign(fmt.Sprintf(`{"id":"ann","iat":%d}`, now))
	for after, want := range map[int64]error{0: errRevoked, 60: errRevoked, 99: errRevoked, 100: nil} {
		if _, err := v.Verify(token, at(now+after)); err != want {
			t.Errorf("after %d s: %v, want %v", after, err, want)
		}
	}
}

func TestExpiredRevocationsAreRemoved(t *testing.T) {
	var b blacklist
	now := testNow
	for i := range 3 * pruneEvery {
		b.add(rooms.Order{TokenID: fmt.Sprint("t", i), Until: now.Add(time.Second)}, now)
		b.add(rooms.Order{User: fmt.Sprint("u", i), Until: now.Add(time.Second)}, now)
		now = now.Add(10 * time.Millisecond)
	}
	if n := b.len(); n > 2*pruneEvery {
		t.Errorf("%d of %d entries are kept, all of which ended after a second", n, 6*pruneEvery)
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
