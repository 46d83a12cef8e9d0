package presence

import (
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/rooms/cluster/wire"
)

const lease = 5 * time.Second

// take returns all batches that a core sends now, and the names of their
// scripts and commands.
func take(t *testing.T, n *Core, now time.Time) (batches []Batch, names []string) {
	t.Helper()
	for {
		b, ok := n.Take(now)
		if !ok {
			return batches, names
		}
		batches = append(batches, b)
		for _, c := range b.Commands {
			names = append(names, c.Script.String()+c.Name)
		}
	}
}

func answer(n *Core, b Batch, now time.Time, text string) {
	replies := make([]wire.Reply, len(b.Commands))
	for i := range replies {
		replies[i].Text = text
	}
	n.Reply(b.ID, replies, now)
}

func TestPausedNodeRenewsItsSessionBeforeItWrites(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	n := New(Config{Names: wire.NewNames("test:", 0), Node: "node", Lease: lease})
	batches, names := take(t, n, now)
	if len(names) != 1 || names[0] != "renew" {
		t.Fatalf("at the start sent %q, want a renewal", names)
	}
	answer(n, batches[0], now, "")
	n.Counted("user:1", 1, now)
	if _, names = take(t, n, now); len(names) != 1 || names[0] != "write" {
		t.Fatalf("with a session sent %q, want a write", names)
	}

	now = now.Add(lease) // the lease has ended: other nodes may have removed the session
	n.Counted("user:2", 1, now)
	if batches, names = take(t, n, now); len(names) != 1 || names[0] != "renew" {
		t.Fatalf("after a pause of a lease sent %q, want only a renewal", names)
	}
	answer(n, batches[0], now, "gone")
	if batches, names = take(t, n, now); len(names) != 1 || names[0] != "renew" {
		t.Fatalf("when the session was removed sent %q, want a renewal of the next one", names)
	}
	args := batches[0].Commands[0].Args
	if args[0] != "node.2" || args[len(args)-1] != "node.1" {
		t.Errorf("the next session is written with %q, want node.2 and its former session", args)
	}
	answer(n, batches[0], now, "")
	if _, names = take(t, n, now); strings.Join(names, " ") != "write" {
		t.Errorf("in the next session sent %q, want the count of user:2", names)
	}
}
