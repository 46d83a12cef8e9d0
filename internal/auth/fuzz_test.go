package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// FuzzVerify checks for any input that an accepted token is signed with the secret and
// names a user.
func FuzzVerify(f *testing.F) {
	v := newVerifier(f, Config{Secret: testSecret})
	agree := agreement(f)
	for _, seed := range []string{
		sign(`{"id":"ann","exp":1767312000}`), sign(`{}`), sign(`{"id":`), sign(`null`), "", ".", "..", "a.b.c", "a.b.",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		agree(t, token)
		id, err := v.Verify(token, testNow)
		if err != nil {
			if id.UserID != "" || outcomeOf(err) == Accepted {
				t.Fatalf("refused with %v, but identity %+v", err, id)
			}
			return
		}
		signed, signature, _ := cutLast(token)
		mac := hmac.New(sha256.New, []byte(testSecret))
		mac.Write([]byte(signed))
		if want := base64.RawURLEncoding.EncodeToString(mac.Sum(nil)); signature != want || id.UserID == "" {
			t.Fatalf("accepted as %+v: %q", id, token)
		}
	})
}

// agreement returns a check that a verifier which has remembered a header treats a
// token as a verifier does that has not.
func agreement(f *testing.F) func(t *testing.T, token string) {
	experienced, fresh := newVerifier(f, Config{Secret: testSecret}), newVerifier(f, Config{Secret: testSecret})
	return func(t *testing.T, token string) {
		if _, err := experienced.Verify(typicalToken(), testNow); err != nil {
			t.Fatal(err)
		}
		fresh.keys.Load().familiar.Store(nil)
		id, err := experienced.Verify(token, testNow)
		if other, otherErr := fresh.Verify(token, testNow); !reflect.DeepEqual(id, other) || !reflect.DeepEqual(err, otherErr) {
			t.Fatalf("%q: %+v, %v with a remembered header, without %+v, %v", token, id, err, other, otherErr)
		}
	}
}

func cutLast(token string) (before, after string, ok bool) {
	i := strings.LastIndexByte(token, '.')
	return token[:max(i, 0)], token[i+1:], i >= 0
}

// FuzzPayload compares the parsing of claims with encoding/json for any payload. It
// must not panic. The signed token must get the same result with and without a
// remembered header.
func FuzzPayload(f *testing.F) {
	for _, seed := range []string{
		`{"id":"a","x":[{"id":"b"},"}"],"sub":"c"}`, `{"id":1,"id":"\u0061"}`, ` {"\u0069d" : "x" } `, `{}`, `[]`,
		`{"id":"\\"}`, `{"id":-0}`, "{\"id\":\"\xff\"}", `{"":{"":[]},"id":"a"}`,
	} {
		f.Add([]byte(seed))
	}
	agree := agreement(f)
	f.Fuzz(func(t *testing.T, payload []byte) {
		agree(t, sign(string(payload)))
		c := claims{party: &party{}}
		if !json.Valid(payload) {
			c.UnmarshalJSON(payload) // must not panic
			return
		}
		var members map[string]json.RawMessage
		if json.Unmarshal(payload, &members) != nil {
			return // not an object
		}
		if err := json.Unmarshal(payload, &c); err != nil {
			t.Fatalf("%s: %v", payload, err)
		}
		if want := userIDOf(members["id"], members["userId"], members["sub"]); c.userID != want {
			t.Fatalf("%s: user id %q, want %q", payload, c.userID, want)
		}
		email, _ := text(members["email"])
		if c.email != email {
			t.Fatalf("%s: email %q, want %q", payload, c.email, email)
		}
	})
}
