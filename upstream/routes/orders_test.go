package routes

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/rooms"
)

// Each body of an order becomes the order with its user, token id and times. Times
// that are missing or implausible are replaced, and orders without a user or token id
// are refused.
func TestOrders(t *testing.T) {
	table, err := NewTable(nil)
	if err != nil {
		t.Fatal(err)
	}
	published := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	late := published.Add(revokedFor)
	long := strings.Repeat("x", 2*maxReason)
	for _, c := range []struct {
		key, body string
		want      rooms.Order
		reason    Reason // of the Poison error, if want is empty
	}{
		{key: "user.disconnect", body: `{"userId":42}`, want: rooms.Order{User: "42", Reason: "disconnected"}},
		{key: "user.disconnect", body: `{"userId":"ann","reason":"blocked","jti":"t1","exp":1}`, want: rooms.Order{User: "ann", Reason: "blocked"}},
		{key: "user.disconnect", body: `{"userId":"ann","reason":"` + long + `"}`, want: rooms.Order{User: "ann", Reason: long[:maxReason]}},
		{key: "user.logout", body: `{"userId":"ann"}`, want: rooms.Order{User: "ann", Issued: published, Until: late, Reason: "logged out"}},
		{key: "user.logout", body: `{"userId":"ann","timestamp":"2026-01-01T00:00:00.500Z"}`,
			want: rooms.Order{User: "ann", Issued: time.Date(2026, 1, 1, 0, 0, 0, 5e8, time.UTC), Until: late, Reason: "logged out"}},
		{key: "user.logout", body: `{"userId":"ann","timestamp":"yesterday","exp":"never"}`, want: rooms.Order{User: "ann", Issued: published, Until: late, Reason: "logged out"}},
		{key: "user.logout", body: `{"userId":"ann","jti":7,"exp":1800000000}`, want: rooms.Order{User: "ann", TokenID: "7", Until: at(1800000000), Reason: "logged out"}},
		{key: "token.revoked", body: `{"jti":"t1","exp":1800000000.9}`, want: rooms.Order{TokenID: "t1", Until: at(1800000000), Reason: "token revoked"}},
		{key: "token.revoked", body: `{"jti":"t1","userId":"ann","exp":"2027-01-15T08:00:00Z"}`, want: rooms.Order{User: "ann", TokenID: "t1", Until: at(1800000000), Reason: "token revoked"}},
		{key: "token.revoked", body: `{"eventType":"token.revoked","timestamp":"2026-01-01T00:00:00Z","data":{"userId":"ann","exp":1800000000}}`,
			want: rooms.Order{User: "ann", Issued: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Until: at(1800000000), Reason: "token revoked"}},
		{key: "user.logout", body: `{"userId":"ann","timestamp":1767225600123,"exp":1800000000000}`, // times in milliseconds
			want: rooms.Order{User: "ann", Issued: at(1767225600), Until: at(1800000000), Reason: "logged out"}},
		{key: "user.logout", body: `{"userId":"ann","timestamp":1767225600.9}`, want: rooms.Order{User: "ann", Issued: at(1767225600), Until: late, Reason: "logged out"}},
		{key: "user.logout", body: `{"userId":"ann","timestamp":"1767225600"}`, want: rooms.Order{User: "ann", Issued: at(1767225600), Until: late, Reason: "logged out"}},
		{key: "user.logout", body: `{"userId":"ann","timestamp":"2999-01-01T00:00:00Z","exp":1}`, want: rooms.Order{User: "ann", Issued: published, Until: late, Reason: "logged out"}},
		{key: "user.logout", body: `{"userId":"ann","timestamp":1}`, want: rooms.Order{User: "ann", Issued: published, Until: late, Reason: "logged out"}},
		{key: "user.logout", body: `{"userId":"ann","timestamp":"1970-01-01T00:00:00Z"}`, want: rooms.Order{User: "ann", Issued: published, Until: late, Reason: "logged out"}},
		{key: "user.disconnect", body: `{"userId":-7.0}`, want: rooms.Order{User: "-7", Reason: "disconnected"}},
		{key: "token.revoked", body: `{"jti":4.2e1}`, want: rooms.Order{TokenID: "42", Until: late, Reason: "token revoked"}},
		{key: "token.revoked", body: `{"jti":"t1","exp":1e300}`, want: rooms.Order{TokenID: "t1", Until: late, Reason: "token revoked"}},

		{key: "user.disconnect", body: `{}`, reason: ReasonNoRoom},
		{key: "user.disconnect", body: `{"jti":"t1"}`, reason: ReasonNoRoom},
		{key: "user.logout", body: `{"jti":"t1"}`, reason: ReasonNoRoom},
		{key: "token.revoked", body: `{"userId":"","jti":null}`, reason: ReasonNoRoom},
		{key: "token.revoked", body: `{"userId":{"id":1}}`, reason: ReasonBadID},
		{key: "token.revoked", body: `{"jti":[1]}`, reason: ReasonBadID},
		{key: "token.revoked", body: `[]`, reason: ReasonNotObject},
	} {
		e, err := NewEncoder(table, 10_000).Encode(c.key, []byte(c.body), published)
		if c.want == (rooms.Order{}) {
			if bad, ok := errors.AsType[*Poison](err); !ok || bad.Reason != c.reason {
				t.Errorf("%s %s: %v, want %v", c.key, c.body, err, c.reason)
			}
			continue
		}
		if err != nil || e.Message != nil || e.Order == nil {
			t.Errorf("%s %s: %+v, %v", c.key, c.body, e, err)
			continue
		}
		got := *e.Order
		if !got.Issued.Equal(c.want.Issued) || !got.Until.Equal(c.want.Until) {
			t.Errorf("%s %s: issued %v until %v, want %v and %v", c.key, c.body, got.Issued, got.Until, c.want.Issued, c.want.Until)
		}
		got.Issued, got.Until = c.want.Issued, c.want.Until
		if got != c.want {
			t.Errorf("%s %s: %+v, want %+v", c.key, c.body, got, c.want)
		}
	}
}

func TestARouteCannotReplaceAnOrder(t *testing.T) {
	route := Route{Event: "user.logout", Rooms: []string{"user:{userId}"}, Emit: "bye", All: true}
	if _, err := NewTable([]Route{route}); err == nil {
		t.Error("a route for user.logout was accepted, want an error")
	}
	route.Event = "user.*" // other events that match the pattern are not orders
	table, err := NewTable([]Route{route})
	if err != nil {
		t.Fatal(err)
	}
	if !table.Find("user.logout").IsOrder() || table.Find("user.moved").IsOrder() {
		t.Error("user.logout must stay an order, and user.moved must be an event of the pattern")
	}
}
