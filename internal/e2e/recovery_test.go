package e2e

import "testing"

func TestClientsComeBackToWhatTheyMissed(t *testing.T) {
	clients(t, start(t, "EVENT_LOG=memory", "USE_RABBITMQ=false", "USE_REDIS=false", "EVENT_LOOPS=3", "PUBLISH_TOKEN=publisher"), "recovery.mjs")
}
