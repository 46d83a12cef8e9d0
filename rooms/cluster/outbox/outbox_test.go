package outbox

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

// A fakeDirectory has the holders of rooms. Rooms that are not in the map are
// unknown.
type fakeDirectory map[string][]int64

func (k fakeDirectory) Holders(room string) ([]int64, bool) { s, ok := k[room]; return s, ok }
func (k fakeDirectory) Tell(string, bool) (int, bool)       { return 5, false }

var b, c = wire.Session(8, 1), wire.Session(9, 1)

func newOutbox() *Outbox {
	return New(Config{Names: wire.NewNames("ws:", 1), Node: 7, Messages: 1024, Bytes: 1 << 20})
}

func text(s string) *codec.Message { return codec.NewText([]byte(s)) }

// sent returns for each command of a batch its receiver, and the rooms, counts
// and messages.
func sent(t *testing.T, b wire.Batch) (all []string) {
	t.Helper()
	for _, command := range b.Commands {
		_, records, err := wire.Parse([]byte(command.Args[0]))
		if err != nil {
			t.Fatal(err)
		}
		line := strings.TrimPrefix(command.Keys[0], "ws:1:to:") + ":"
		for _, r := range records {
			room, members := r.Of()
			line += fmt.Sprint(" ", room, "=", members)
			if m, ok := r.(wire.Message); ok {
				line += string(m.Frames.AppendPayload(nil))
			}
		}
		all = append(all, line)
	}
	return all
}

func receivers(b wire.Batch, n int64) []wire.Reply {
	replies := make([]wire.Reply, len(b.Commands))
	for i := range replies {
		replies[i].Int = n
	}
	return replies
}

func TestRoomsAreFlushedTogether(t *testing.T) {
	o := newOutbox()
	k := fakeDirectory{"r": {b, c}, "s": {b}, "nobody": {}}
	o.Say("r", "ann", true, text("1"))
	o.Say("s", "ann", true, text("2"))
	o.Say("nobody", "ann", true, text("3"))
	o.Say("r", "ann", true, text("4"))
	batch, ok := o.Take(1, k)
	if got, want := sent(t, batch), []string{"8: r=51 r=54 s=52", "9: r=51 r=54"}; !ok || !slices.Equal(got, want) {
		t.Errorf("sent %q, want %q", got, want)
	}
	if o.Queued() != 3 {
		t.Errorf("%d messages queued, want 3", o.Queued())
	}
	o.Reply(1, receivers(batch, 1))
	if o.Queued() != 0 || o.Stats.Published != 5 || o.Stats.Publishes != 2 || len(o.rooms) != 0 {
		t.Errorf("after the reply: %d queued, %+v, %d rooms; want 0 queued, 5 published in 2, no room", o.Queued(), o.Stats, len(o.rooms))
	}
}

// A room must not be in two flushes at a time, so that its messages keep their
// order. Other rooms may be flushed meanwhile.
func TestRoomIsInOneFlushAtATime(t *testing.T) {
	o := newOutbox()
	k := fakeDirectory{"r": {b}, "s": {b}}
	o.Say("r", "ann", true, text("1"))
	first, _ := o.Take(1, k)
	o.Say("r", "ann", true, text("2"))
	o.Say("s", "ann", true, text("3"))
	second, _ := o.Take(2, k)
	if got := sent(t, second); !slices.Equal(got, []string{"8: s=53"}) {
		t.Errorf("sent %q during the first flush, want only s", got)
	}
	o.Reply(1, receivers(first, 1))
	third, _ := o.Take(3, k)
	if got := sent(t, third); !slices.Equal(got, []string{"8: r=52"}) {
		t.Errorf("sent %q after the first flush, want r", got)
	}
}

func TestRoomThatWaitsForItsHoldersDoesNotDelayOthers(t *testing.T) {
	o := newOutbox()
	k := fakeDirectory{"s": {b}}
	o.Say("r", "ann", false, text("1"))
	o.Say("s", "ann", true, text("2"))
	batch, _ := o.Take(1, k)
	if got := sent(t, batch); !slices.Equal(got, []string{"8: s=52"}) {
		t.Errorf("sent %q before the holders of r are known, want only s", got)
	}
	k["r"] = []int64{b}
	o.Known("r")
	batch, _ = o.Take(2, k)
	if got := sent(t, batch); !slices.Equal(got, []string{"8: r=51"}) || len(o.waits) != 0 {
		t.Errorf("sent %q, waiting rooms %v; want r and none", got, o.waits)
	}
}

func TestLostMessagesAreCountedAndNotRepeated(t *testing.T) {
	o := newOutbox()
	k := fakeDirectory{"r": {b}}
	o.Say("r", "ann", true, text("1"))
	batch, _ := o.Take(1, k)
	replies := receivers(batch, 0)
	replies[0].Err = errors.New("connection lost")
	o.Reply(1, replies)
	if failed := o.Failed(); o.Stats.Lost != 1 || o.Ready() || !slices.Equal(failed, []string{"r"}) {
		t.Errorf("after an error: %+v, failed rooms %v; want 1 lost, r failed, nothing to send", o.Stats, failed)
	}
	o.Say("r", "ann", true, text("2"))
	batch, _ = o.Take(2, k)
	o.Reply(2, receivers(batch, 0))
	if o.Stats.NoReceiver != 1 || o.Queued() != 0 {
		t.Errorf("without a receiver: %+v, %d queued; want 1 without a receiver, none queued", o.Stats, o.Queued())
	}
}

func TestQueueIsBounded(t *testing.T) {
	o := newOutbox()
	soft := text("v")
	soft.Volatile = true
	for range 600 {
		o.Say("r", "ann", true, soft)
	}
	for range 600 {
		o.Say("r", "ann", true, text("1"))
	}
	if o.Queued() != 1024 || o.Stats.Full != 88+88 {
		t.Errorf("%d queued and %d dropped, want 1024 and 176: volatile messages fill half of the queue at most", o.Queued(), o.Stats.Full)
	}
}

// A user sends to many rooms whose holders are unknown. Its messages may take a
// share of the queue only, so that another user's message is still queued.
func TestMessagesOfOneUserDoNotFillTheQueue(t *testing.T) {
	o := newOutbox()
	for i := range 1000 {
		o.Say(fmt.Sprint("r", i), "eve", false, text("1"))
	}
	o.Say("other", "ann", false, text("1"))
	if most := 1024 / waitingShare; o.Queued() != most+1 || o.Stats.Full != int64(1000-most) {
		t.Errorf("%d queued and %d dropped, want %d queued and the message of ann not dropped", o.Queued(), o.Stats.Full, most+1)
	}
}

func TestLargeFlushesAreSplit(t *testing.T) {
	o := New(Config{Names: wire.NewNames("ws:", 1), Node: 7, Messages: 1024, Bytes: 64 << 20})
	k := fakeDirectory{"r": {b}}
	large := text(strings.Repeat("x", 100<<10))
	for range 5 {
		o.Say("r", "ann", true, large)
	}
	total := 0
	for id := uint64(1); o.Ready(); id++ {
		batch, _ := o.Take(id, k)
		for _, command := range batch.Commands {
			if n := len(command.Args[0]); n > envelopeBytes {
				t.Errorf("an envelope has %d bytes, want %d at most", n, envelopeBytes)
			}
		}
		total += len(strings.Fields(strings.Join(sent(t, batch), " "))) - len(batch.Commands)
		o.Reply(id, receivers(batch, 1))
	}
	if total != 5 {
		t.Errorf("%d messages were sent, want 5", total)
	}
}
