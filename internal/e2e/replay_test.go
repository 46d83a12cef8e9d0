package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/sioclient"
)

// A client that comes back gets up to RECOVERY_MAX_BYTES of missed events, and is not
// closed as a slow client although they exceed MAX_PENDING_BYTES. With more missed
// events it is not recovered.
func TestRecoveryReplaysUpToRecoveryMaxBytes(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it has no such bound")
	const each = 100_000 // bytes
	g := start(t, "EVENT_LOOPS=2", "MAX_PENDING_BYTES=300000", "RECOVERY_MAX_BYTES=3200000")
	for name, polling := range map[string]bool{"websocket": false, "polling": true} {
		for events, recovered := range map[int]bool{31: true, 33: false} {
			t.Run(fmt.Sprint(name, " ", events), func(t *testing.T) {
				t.Parallel()
				user := fmt.Sprint(name, events)
				auth := map[string]any{"token": gatewaytest.Token(t, user), "recovery": true}
				ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
				defer cancel()
				ann, err := sioclient.Connect(ctx, g.URL, sioclient.Options{Polling: polling, Auth: auth})
				if err != nil {
					t.Fatal(err)
				}
				pid := ann.PID()
				ann.Kill()
				for n := range events {
					body := fmt.Sprintf(`{"userId":%q,"notificationId":"%d","message":%q}`, user, n, strings.Repeat("x", each))
					if status, answer, err := g.Post("notification.created", body); err != nil || status != 202 {
						t.Fatal(status, string(answer), err)
					}
				}
				auth["pid"] = pid
				if ann, err = sioclient.Connect(ctx, g.URL, sioclient.Options{Polling: polling, Auth: auth}); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(ann.Kill)
				if (ann.PID() == pid) != recovered {
					t.Fatalf("recovered %v, want %v", ann.PID() == pid, recovered)
				}
				for n := 0; recovered && n < events; n++ {
					e, err := ann.Next(ctx)
					var body struct{ NotificationID json.Number }
					if err == nil {
						err = e.Decode(&body)
					}
					if err != nil || body.NotificationID.String() != fmt.Sprint(n) {
						t.Fatalf("event %d has notificationId %s, %v", n, body.NotificationID, err)
					}
				}
			})
		}
	}
}
