package doctor

import (
	"strings"
	"testing"

	"github.com/redis/rueidis"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/internal/testkit/redistest"
	"github.com/hometrip/gateway/rooms/cluster"
)

// Node servers on the same Redis are found by the channels they subscribe to. The
// doctor must warn if the gateway does not share their adapter key, or if they use
// another adapter.
func TestNodeServersAreFound(t *testing.T) {
	t.Parallel()
	server, err := redistest.Start(nil)
	testkit.Need(t, err)
	t.Cleanup(server.Close)
	open := func() (rueidis.Client, error) {
		return cluster.Server{Addresses: []string{server.Addr}}.Open(0, nil)
	}
	client, err := open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	conn, release := client.Dedicate()
	t.Cleanup(release)
	conn.SetPubSubHooks(rueidis.PubSubHooks{OnSubscription: func(rueidis.PubSubSubscription) {}})
	find := func(key, check string) Finding {
		t.Helper()
		for _, f := range NodeServers(t.Context(), open, key) {
			if f.Check == check {
				return f
			}
		}
		t.Fatalf("no check %q", check)
		return Finding{}
	}
	want := func(key, check string, verdict Verdict, text string) {
		t.Helper()
		if f := find(key, check); f.Verdict != verdict || !strings.Contains(f.Found+f.Do, text) {
			t.Errorf("key %q: %+v, want %s with %q", key, f, verdict, text)
		}
	}
	want("", "classic adapter", OK, "no Node servers")
	want("socket.io", "classic adapter", OK, "no Node server")
	if err := conn.Do(t.Context(), conn.B().Subscribe().Channel("chat-request#/#").Build()).Error(); err != nil {
		t.Fatal(err)
	}
	want("", "classic adapter", Warn, "SOCKETIO_ADAPTER_KEY=chat")
	want("socket.io", "classic adapter", Warn, "SOCKETIO_ADAPTER_KEY=chat")
	want("chat", "classic adapter", OK, "1 members")
	want("chat", "other adapters", OK, "none")
	if err := client.Do(t.Context(), client.B().Xadd().Key("chat").Id("*").FieldValue().FieldValue("uid", "a").Build()).Error(); err != nil {
		t.Fatal(err)
	}
	want("chat", "other adapters", Warn, "createAdapter")
}
