package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/hometrip/gateway/internal/explain"
	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/testkit"
)

// explained is a fleet of two nodes, a and b. A client on a, the witness, gets every
// event, which tells the test each event's offset.
type explained struct {
	t       *testing.T
	a, b    *gateway
	reader  *testkit.Proxy // b reads the log through it
	publish func(room string, n int64) error
	witness *crowd
	count   int64
	admin   string // admin address of a
}

func newExplained(t *testing.T) *explained {
	settings, publish := fleetSettings(t, "rabbitmq")
	broker := settings[slices.IndexFunc(settings, func(s string) bool { return strings.HasPrefix(s, "RABBITMQ_URL=") })]
	before, rest, _ := strings.Cut(broker, "@")
	address, after, _ := strings.Cut(rest, "/")
	reader, err := testkit.NewProxy(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(reader.Close)
	admin := func() string { return fmt.Sprint("127.0.0.1:", gatewaytest.FreePort(t)) }
	settings = append(settings, "RECOVERY_WINDOW=600000", "METRICS_TOKEN=a token for metrics", "NODE_LEASE=60000")
	x := &explained{t: t, reader: reader, publish: publish, admin: admin()}
	x.a = start(t, append(settings, "ADMIN_ADDR="+x.admin)...)
	x.b = x.a.startPeer(t, append(settings, "ADMIN_ADDR="+admin(), before+"@"+reader.Addr+"/"+after))
	gatewaytest.Await(t, "the answer of the other node", func() bool { _, all := x.ask(1, "nobody"); return len(all.Nodes) == 2 })
	x.witness = x.a.crowd(t, "default", "explain.mjs", "witness:1")
	x.witness.want("connected", 1)
	return x
}

// event publishes an event to conversation 1 and returns its offset.
func (x *explained) event() string {
	x.t.Helper()
	x.count++
	if err := x.publish("1", x.count); err != nil {
		x.t.Fatal(err)
	}
	s := x.witness.want("message", 1)[0]
	if s.Event != fmt.Sprint(x.count) || s.Args == "" {
		x.t.Fatalf("the witness got %+v, want message %d with its offset", s, x.count)
	}
	return s.Args
}

// ask runs gateway explain on node a. It returns the user's last connection and the
// whole answer. want is the exit code.
func (x *explained) ask(want int, user string, position ...string) (last explain.Connection, all explain.Answer) {
	x.t.Helper()
	out, err := x.a.Run(append([]string{"explain", "--json", user}, position...)...)
	code := 0
	if exit, ok := err.(*exec.ExitError); ok {
		code = exit.ExitCode()
	}
	text, _, _ := strings.Cut(out, "\n")
	if err := json.Unmarshal([]byte(text), &all); err != nil || code != want {
		x.t.Fatalf("explain %s %s: exit code %d, want %d; %v: %s", user, position, code, want, err, out)
	}
	if n := len(all.Connections); n > 0 {
		last = all.Connections[n-1]
	}
	return last, all
}

// wants checks what node a reports about the last connection of a user.
func (x *explained) wants(user, position string, state explain.State, got explain.Verdict, why string) explain.Connection {
	x.t.Helper()
	code := 1
	if got == explain.Given {
		code = 0
	}
	c, _ := x.ask(code, user, position)
	if c.State != state || c.Verdict != got || !strings.Contains(c.Why, why) {
		x.t.Errorf("%s, %s: %q, %q: %q; want %q, %q: %q", user, position, c.State, c.Verdict, c.Why, state, got, why)
	}
	return c
}

// Clients of both nodes get an event, miss it, recover it, or lose their node. Node a
// must report for each connection whether it got the event, and why not.
func TestExplainReportsDeliveryOnAllNodes(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it has no such command")
	x := newExplained(t)
	line, err := testkit.NewProxy(x.b.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(line.Close)
	through := *x.b
	through.Gateway = &gatewaytest.Gateway{URL: "http://" + line.Addr, Out: x.b.Out}
	ann := through.crowd(t, "default", "explain.mjs", "ann:1")
	id := ann.want("connected", 1)[0].Letters
	others := x.b.crowd(t, "default", "explain.mjs", "bob:-", "plain:1:plain")
	others.want("connected", 2)

	first := x.event()
	ann.want("message", 1)
	others.want("message", 1)
	c := x.wants("ann", first, explain.Connected, explain.Given, "it was in conversation:1; it was sent")
	_, all := x.ask(0, "ann", first)
	if b := all.Nodes[1]; c.Node != b.ID || c.Socket != id || c.Transport != "websocket" || c.Address != "127.0.0.1" || c.Since.IsZero() || c.Session == "" {
		t.Errorf("on node %s: %+v, want socket %s", b.ID, c, id)
	}
	x.wants("bob", first, explain.Connected, explain.Not, "it was not in conversation:1")
	x.wants("plain", first, explain.Connected, explain.Unknown, "known only of clients that ask for recovery")
	late := x.b.crowd(t, "default", "explain.mjs", "carl:1")
	late.want("connected", 1)
	x.wants("carl", first, explain.Connected, explain.Not, "it joined conversation:1 later")
	if _, all := x.ask(1, "nobody"); len(all.Connections) > 0 {
		t.Errorf("connections of an unknown user: %+v, want none", all.Connections)
	}

	line.Cut()
	ann.want("disconnect", 1)
	gatewaytest.Await(t, "the end of the connection", func() bool { c, _ := x.ask(0, "ann"); return c.State == explain.Away })
	missed := x.event()
	late.want("message", 1)
	x.wants("ann", missed, explain.Away, explain.Later, "it is replayed if the client comes back until")
	line.Retarget(x.a.Addr)
	line.Heal()
	ann.want("message", 1)
	if s := ann.want("connected", 1)[0]; s.Before != 1 {
		t.Fatalf("ann reconnected with %+v, want her recovered", s)
	}
	x.wants("ann", missed, explain.Connected, explain.Given, "it was replayed when the client came back")
	x.wants("ann", first, explain.Connected, explain.Given, "the client had it when it came back")
	if _, all := x.ask(0, "ann"); len(all.Connections) != 2 || all.Connections[0].State != explain.Recovered || !strings.HasPrefix(all.Connections[0].End.Reason, "transport_") {
		t.Errorf("ann's connections: %+v, want 2; the first one ended with %+v, want recovered after a transport error", all.Connections, all.Connections[0].End)
	}

	response, err := http.Get("http://" + x.admin + "/explain/ann")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusUnauthorized {
		t.Errorf("status %d without METRICS_TOKEN, want 401", response.StatusCode)
	}

	x.reader.Hold()
	behind := x.event()
	x.wants("carl", behind, explain.Connected, explain.Later, "its node is behind")
	x.b.Kill()
	late.want("disconnect", 1)
	if _, left := x.ask(0, "carl"); !slices.Equal(left.Silent, []string{all.Nodes[1].ID}) {
		t.Errorf("nodes without an answer: %v, want %s", left.Silent, all.Nodes[1].ID)
	}
	c = x.wants("carl", behind, "node gone", explain.Unknown, "its node does not answer")
	if len(c.Rooms) != 2 {
		t.Errorf("carl's rooms: %+v, want 2", c.Rooms)
	}
	if out, _ := x.a.Run("explain", "carl", behind); !strings.Contains(out, "got it") || !strings.Contains(out, "node gone") {
		t.Errorf("explain as text: %s, want \"got it\" and \"node gone\"", out)
	}
}
