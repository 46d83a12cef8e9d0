package fleet

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/sioclient"
)

// refuses returns the reason why a gateway refuses a user, "" if it does not.
func (g *gateway) refuses(user string) string {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	c, err := sioclient.Connect(ctx, g.URL, sioclient.Options{Token: gatewaytest.Token(g.t, user)})
	if err != nil {
		return err.Error()
	}
	c.Close()
	return ""
}

// Orders are published over HTTP on one gateway. The user must be disconnected
// from every gateway. A revocation must also hold on a gateway that starts
// later.
func TestOrdersOverHTTPApplyToEveryGateway(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.service("orders")
	gateways := []*gateway{f.start(), f.start()}
	for _, key := range []string{"user.disconnect", "token.revoked"} {
		var anns []*client
		for _, g := range gateways {
			anns = append(anns, connect(t, g, "ann"))
		}
		bob := connect(t, gateways[1], "bob")
		if status, answer, err := gateways[0].Post(key, `{"userId":"ann"}`); err != nil || status != http.StatusAccepted {
			t.Fatalf("%s: %d %s %v", key, status, answer, err)
		}
		for _, ann := range anns {
			if event, err := ann.next(patience); err != nil || !strings.HasPrefix(event, "session_ended") {
				t.Errorf("%s: got %q, %v, want session_ended", key, event, err)
			}
			if event, err := ann.next(patience); err != sioclient.ErrDisconnected {
				t.Errorf("%s: got %q, %v, want a DISCONNECT", key, event, err)
			}
		}
		if err := bob.do("join_room", "1"); err != nil {
			t.Errorf("%s: bob, to whom the order does not apply: %v", key, err)
		}
	}
	for i, g := range append(gateways, f.start()) {
		if why := g.refuses("ann"); why != "Authentication error: jwt revoked" {
			t.Errorf("gateway %d answers a revoked token with %q", i, why)
		}
		if why := g.refuses("bob"); why != "" {
			t.Errorf("gateway %d refuses a valid token: %q", i, why)
		}
	}
}
