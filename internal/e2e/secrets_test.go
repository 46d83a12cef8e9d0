package e2e

import (
	"strings"
	"testing"

	"github.com/hometrip/gateway/internal/gatewaytest"
)

// Secrets in addresses and keys appear neither in the log nor in the output of
// commands, with valid settings and with invalid ones.
func TestSecretsAreNotPrinted(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it has no such settings")
	g := start(t, "JWT_SECRET=", "JWT_JWKS_URL=http://127.0.0.1:1/keys?key=sesame", "LOG_LEVEL=debug",
		"USE_RABBITMQ=true", "RABBITMQ_URL=amqp://guest:sesame@127.0.0.1:1",
		"USE_REDIS=true", "REDIS_URL=redis://u:sesame@127.0.0.1:1/0",
		"ROOM_POLICY=webhook", "ROOM_AUTH_URL=http://127.0.0.1:1/may?key=sesame", "ROOM_AUTH_TOKEN=sesame")
	gatewaytest.Await(t, "keys that are not fetched", func() bool { return strings.Contains(g.Out.String(), "signing keys could not be fetched") })
	shown, err := g.Run("config")
	if err != nil {
		t.Error(err)
	}
	doctor, _ := g.Run("doctor") // it reports many failures
	broken := gatewaytest.New(t, "JWT_SECRET=", "JWT_PUBLIC_KEY=sesame")
	refused, err := broken.Run()
	if err == nil || !strings.Contains(refused, "neither PEM text") {
		t.Errorf("an invalid public key: %v %s, want a refusal", err, refused)
	}
	malformed, err := gatewaytest.New(t, "JWT_SECRET=", "JWT_JWKS_URL=htp://h/?key=sesame", "REDIS_URL=redis://u:%zzsesame@h").Run()
	if err == nil {
		t.Errorf("malformed addresses are accepted: %s", malformed)
	}
	for where, text := range map[string]string{
		"the log": g.Out.String(), "gateway config": shown, "gateway doctor": doctor,
		"the refusal of a key": refused, "the refusal of an address": malformed,
	} {
		if i := strings.Index(text, "sesame"); i >= 0 {
			t.Errorf("%s shows a secret: %s", where, text[max(0, i-200):i+10])
		}
	}
}
