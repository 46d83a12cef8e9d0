package auth

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/hometrip/gateway/rooms"
)

const testSecret = "a secret of these tests, no other use"

var testNow = time.Unix(1767225600, 0)

func newVerifier(t testing.TB, cfg Config) *Verifier {
	t.Helper()
	v, err := New(cfg)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(v.Close)
	return v
}

// sign returns an HS256 token with this payload.
func sign(payload string) string {
	return signWith(jwt.SigningMethodHS256, []byte(testSecret), "", payload)
}

func signWith(method jwt.SigningMethod, key any, kid, payload string) string {
	header := `{"alg":"` + method.Alg() + `","typ":"JWT"`
	if kid != "" {
		header += `,"kid":"` + kid + `"`
	}
	text := encode(header+"}") + "." + encode(payload)
	signature, err := method.Sign(text, key)
	if err != nil {
		panic(err)
	}
	return text + "." + encode(string(signature))
}

func encode(s string) string { return (&jwt.Token{}).EncodeSegment([]byte(s)) }

type nodeTable struct {
	Now    int64
	Secret string
	RSA    string
	EC     string
	Rows   []struct {
		Name, Token, Key, Issuer, Audience, Want string
	}
}

// testdata/jsonwebtoken.json has tokens with the result of the npm package
// jsonwebtoken. The verifier must return the same, both new and after it has verified
// all other tokens.
func TestResultsEqualThoseOfTheNodeLibrary(t *testing.T) {
	file, err := os.ReadFile("testdata/jsonwebtoken.json")
	if err != nil {
		t.Fatal(err)
	}
	var table nodeTable
	if err := json.Unmarshal(file, &table); err != nil {
		t.Fatal(err)
	}
	for _, row := range table.Rows {
		t.Run(row.Name, func(t *testing.T) {
			cfg := Config{Issuer: row.Issuer, Audience: row.Audience}
			switch row.Key {
			case "secret":
				cfg.Secret = table.Secret
			case "rsa":
				cfg.PublicKey = table.RSA
			case "ec":
				cfg.PublicKey = table.EC
			}
			fresh, experienced := newVerifier(t, cfg), newVerifier(t, cfg)
			for _, earlier := range table.Rows {
				_, _ = experienced.Verify(earlier.Token, time.Unix(table.Now, 0))
			}
			for _, v := range []*Verifier{fresh, experienced} {
				id, err := v.Verify(row.Token, time.Unix(table.Now, 0))
				got := ""
				if err != nil {
					got = err.Error()
				}
				if got != row.Want {
					t.Fatalf("got %q, Node says %q\n%s", got, row.Want, row.Token)
				}
				if want := row.Want == ""; (id.UserID == "ann") != want {
					t.Fatalf("identity %+v after verdict %q", id, row.Want)
				}
			}
		})
	}
}

func TestUserIDComesFromTheFirstClaimThatExists(t *testing.T) {
	v := newVerifier(t, Config{Secret: testSecret})
	for _, row := range []struct{ payload, want string }{
		{`{"id":"a","userId":"b","sub":"c"}`, "a"},
		{`{"sub":"c","userId":"b","id":"a"}`, "a"},
		{`{"userId":"b","sub":"c"}`, "b"},
		{`{"sub":"c"}`, "c"},
		{`{"id":null,"userId":"","sub":"c"}`, "c"},
		{`{"ID":"x","Id":"y","userid":"z","sub":"c"}`, "c"},
		{`{"id":42}`, "42"},
		{`{"id":12345678901234567890123}`, "12345678901234567890123"},
		{`{"id":-7}`, "-7"},
		{`{"id":0}`, "0"},
		{`{"id":-0}`, "0"},
		{`{"id":42.0}`, "42"},
		{`{"id":4.2e1}`, "42"},
		{`{"sub":1e21}`, "1e+21"},
		{` { "id" : 42 } `, "42"},
		{`{"id":"42"}`, "42"},
		{`{"\u0069d":"esc\u0061ped"}`, "escaped"},
		{`{"id":"Zoë \ud83d\ude00"}`, "Zoë 😀"},
		{`{"x":{"id":"inner"},"y":["id",{"id":1}],"id":"outer"}`, "outer"},
		{`{"x":"\"}","id":"after a quote"}`, "after a quote"},
		{`{"id":"first","id":"last"}`, "last"},
	} {
		id, err := v.Verify(sign(row.payload), testNow)
		if err != nil || id.UserID != row.want {
			t.Errorf("%s: got %q, %v; want %q", row.payload, id.UserID, err, row.want)
		}
	}
}

func TestTokenThatNamesNoUserIsRefused(t *testing.T) {
	v := newVerifier(t, Config{Secret: testSecret})
	for _, payload := range []string{
		`{}`, `{"id":null}`, `{"id":""}`, `{"id":1e999}`, `{"id":{}}`, `{"id":["a"]}`,
		`{"id":true}`, `{"id":{},"sub":"c"}`, `{"email":"a@b.c"}`, `null`, `[]`, `"ann"`, `5`,
	} {
		id, err := v.Verify(sign(payload), testNow)
		if err != errNobody || !reflect.DeepEqual(id, rooms.Identity{}) {
			t.Errorf("%s: got %+v, %v; want %v", payload, id, err, errNobody)
		}
	}
}

func TestEmailRoleAndExpiryAreKept(t *testing.T) {
	v := newVerifier(t, Config{Secret: testSecret})
	for _, row := range []struct {
		payload string
		want    rooms.Identity
	}{
		{`{"id":"a","email":"a@b.c","role":"host","exp":1767225660}`,
			rooms.Identity{UserID: "a", Email: "a@b.c", Role: "host", Expires: time.Unix(1767225660, 0)}},
		{`{"id":"a","email":5,"role":["host"]}`, rooms.Identity{UserID: "a"}},
		{`{"id":"a","exp":1767225660.25}`, rooms.Identity{UserID: "a", Expires: time.Unix(1767225661, 0)}},
		{`{"id":"a","exp":1e300}`, rooms.Identity{UserID: "a"}},
		{`{"id":"a","rooms":["conversation:1","notification:*",7,null]}`, rooms.Identity{UserID: "a", Rooms: []string{"conversation:1", "notification:*"}}},
		{`{"id":"a","rooms":"conversation:1"}`, rooms.Identity{UserID: "a", Rooms: []string{"conversation:1"}}},
		{`{"id":"a","rooms":[]}`, rooms.Identity{UserID: "a", Rooms: []string{}}},
		{`{"id":"a","rooms":{"conversation:1":true}}`, rooms.Identity{UserID: "a", Rooms: []string{}}},
	} {
		id, err := v.Verify(sign(row.payload), testNow)
		if err != nil || !reflect.DeepEqual(id, row.want) {
			t.Errorf("%s: got %+v, %v; want %+v", row.payload, id, err, row.want)
		}
	}
}

func TestClockLeewayIsForNotBeforeOnly(t *testing.T) {
	v := newVerifier(t, Config{Secret: testSecret})
	token := sign(`{"id":"a","nbf":1767225605,"exp":1767225610}`)
	for _, row := range []struct {
		after time.Duration
		want  error
	}{
		{-time.Second, errNotActive},
		{0, nil},
		{9 * time.Second, nil},
		{10*time.Second - time.Nanosecond, nil},
		{10 * time.Second, errExpired},
	} {
		if _, err := v.Verify(token, testNow.Add(row.after)); err != row.want {
			t.Errorf("at %v: got %v, want %v", row.after, err, row.want)
		}
	}
}

func TestUnreadableClaimsAreAnInvalidToken(t *testing.T) {
	v := newVerifier(t, Config{Secret: testSecret})
	for _, payload := range []string{`{`, `{"id":"a"}x`, `{"id":NaN}`, "{\"id\":\"\x01\"}", `nonsense`} {
		if _, err := v.Verify(sign(payload), testNow); err != errInvalid {
			t.Errorf("%q: got %v, want %v", payload, err, errInvalid)
		}
	}
}

func TestTokenBeyondTheLengthLimitIsNotParsed(t *testing.T) {
	v := newVerifier(t, Config{Secret: testSecret})
	pad := func(n int) string { return sign(`{"id":"a","pad":"` + strings.Repeat("x", n) + `"}`) }
	n := 5000
	for len(pad(n+1)) <= MaxTokenLen {
		n++
	}
	if _, err := v.Verify(pad(n), testNow); err != nil {
		t.Errorf("%d bytes: %v", len(pad(n)), err)
	}
	if _, err := v.Verify(pad(n+1), testNow); err != errMalformed {
		t.Errorf("%d bytes: got %v, want %v", len(pad(n+1)), err, errMalformed)
	}
}

func TestOutcomesAreCounted(t *testing.T) {
	v := newVerifier(t, Config{Secret: testSecret, Issuer: "us"})
	for _, token := range []string{
		sign(`{"id":"a","iss":"us"}`), sign(`{"id":"a","iss":"us"}`), sign(`{"id":"a"}`), sign(`{"iss":"us"}`),
		sign(`{"id":"a","exp":1}`), sign(`{"id":"a","nbf":9e9}`), "junk", sign(`{}`) + "x",
		signWith(jwt.SigningMethodHS512, []byte(testSecret), "", `{}`),
	} {
		v.Authenticate([]byte(token), rooms.Presenter{}, testNow, func(rooms.Identity, error) {})
	}
	want := map[Outcome]uint64{
		Accepted: 2, WrongParty: 1, Nobody: 1, Expired: 1, NotActive: 1, Malformed: 1, BadSignature: 1, BadAlgorithm: 1,
	}
	for _, count := range v.Counts() {
		if count.N != want[count.Outcome] {
			t.Errorf("%v: got %d, want %d", count.Outcome, count.N, want[count.Outcome])
		}
	}
}

func TestEveryOutcomeHasAName(t *testing.T) {
	seen := map[string]bool{}
	for o := range outcomes {
		if name := o.String(); name == "" || seen[name] {
			t.Errorf("outcome %d has the name %q", o, name)
		} else {
			seen[name] = true
		}
	}
}

func TestMintedTokenIsAccepted(t *testing.T) {
	v := newVerifier(t, Config{Secret: testSecret, Issuer: "us", Audience: "chat"})
	token, err := Mint(testSecret, Grant{
		UserID: "ann", Email: "a@b.c", Role: "host", Rooms: []string{"conversation:*"}, TokenID: "t1", Issuer: "us", Audience: "chat",
		Issued: testNow, TTL: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := rooms.Identity{UserID: "ann", Email: "a@b.c", Role: "host", Rooms: []string{"conversation:*"},
		TokenID: "t1", Issued: time.Unix(testNow.Unix(), 0), Expires: testNow.Add(time.Hour)}
	id, err := v.Verify(token, testNow)
	id.Issued, id.Expires = id.Issued.UTC(), id.Expires.UTC()
	want.Issued, want.Expires = want.Issued.UTC(), want.Expires.UTC()
	if err != nil || !reflect.DeepEqual(id, want) {
		t.Fatalf("got %+v, %v; want %+v", id, err, want)
	}
	if _, err := Mint("", Grant{UserID: "ann"}); err == nil {
		t.Error("a token was minted without a secret, want an error")
	}
	if _, err := Mint(testSecret, Grant{}); err == nil {
		t.Error("a token was minted without a user, want an error")
	}
}

func TestLocalKeyAnswersBeforeReturning(t *testing.T) {
	v := newVerifier(t, Config{Secret: testSecret})
	for _, token := range []string{sign(`{"id":"a"}`), "junk"} {
		calls := 0
		v.Authenticate([]byte(token), rooms.Presenter{}, testNow, func(rooms.Identity, error) { calls++ })
		if calls != 1 {
			t.Errorf("%s: done called %d times before Authenticate returned", token, calls)
		}
	}
}

// Verifying an HS256 token allocates little, because each connection pays for it.
func TestVerifyHS256Allocs(t *testing.T) {
	v := newVerifier(t, Config{Secret: testSecret})
	token := typicalToken()
	if _, err := v.Verify(token, testNow); err != nil { // the first token makes the verifier remember its header
		t.Fatal(err)
	}
	got := testing.AllocsPerRun(200, func() {
		if _, err := v.Verify(token, testNow); err != nil {
			t.Fatal(err)
		}
	})
	if got > maxVerifyAllocs {
		t.Errorf("%v allocations, want at most %d", got, maxVerifyAllocs)
	}
}

// maxVerifyAllocs covers the claims, three strings of the identity, and some more
// because pools drop entries at random under the race detector. golang-jwt's parser
// alone needs 34.
const maxVerifyAllocs = 12

func typicalToken() string {
	return sign(`{"id":"65f1c0ffee","email":"ann@example.com","role":"guest","iat":1767225600,"exp":1767312000}`)
}

func BenchmarkVerifyHS256(b *testing.B) {
	v := newVerifier(b, Config{Secret: testSecret})
	token := typicalToken()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(token, testNow); err != nil {
			b.Fatal(err)
		}
	}
}
