package rooms

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hometrip/gateway/codec"
)

func news(event string) *codec.Message { return codec.NewText([]byte(`42["` + event + `",{}]`)) }

// deliver delivers an event without a body to a room.
func (w *world) deliver(room, event string) int {
	w.t.Helper()
	n := w.hub.Deliver(Broadcast{Room: room, Message: news(event)})
	w.settle()
	return n
}

func TestDeliverReachesMembersOnly(t *testing.T) {
	onShards(t, func(t *testing.T, w *world) {
		ann, bob, eve := w.connect("ann"), w.connect("bob"), w.connect("eve")
		ann.emit("join_room", conversation("1"))
		bob.emit("join_room", conversation("1"))
		ann.next()
		if got, want := w.deliver("conversation:1", "new_message"), min(2, w.hub.config.Shards); got != want {
			t.Errorf("delivered to %d shards, want %d", got, want)
		}
		ann.want("new_message", "{}")
		bob.want("new_message", "{}")
		eve.wantNothing()
		if got := w.deliver("conversation:2", "new_message"); got != 0 {
			t.Errorf("delivered to %d shards, want none: the room has no members", got)
		}
		if s := w.hub.Stats(); s.Deliveries != 3 || s.Broadcasts != 2 { // user_joined is one of each
			t.Errorf("%d deliveries of %d broadcasts counted, want 3 of 2", s.Deliveries, s.Broadcasts)
		}
	})
}

func TestEventToSeveralRoomsIsSentOnce(t *testing.T) {
	onShards(t, func(t *testing.T, w *world) {
		ann, bob, eve := w.connect("ann"), w.connect("bob"), w.connect("eve")
		for _, room := range []string{"1", "2"} {
			ann.emit("join_room", conversation(room))
		}
		bob.emit("join_room", conversation("2"))
		ann.next() // user_joined of bob
		for i, event := range []string{"a", "b"} {
			for _, room := range []string{"conversation:1", "conversation:2", "user:bob", "user:eve"} {
				w.hub.Deliver(Broadcast{Room: room, Message: news(event), Position: uint64(i + 7), Shared: true})
			}
		}
		w.hub.Deliver(Broadcast{Room: "conversation:2", Message: news("c"), Position: 9})
		w.settle()
		for _, c := range []*client{ann, bob, eve} {
			c.want("a", "{}")
			c.want("b", "{}")
			if c != eve {
				c.want("c", "{}")
			}
			c.wantNothing()
		}
		if s := w.hub.Stats(); s.Deliveries != 9 { // user_joined is one of them
			t.Errorf("%d deliveries counted, want 9", s.Deliveries)
		}
	})
}

// A client that recovered on this node may have got events from a node that was
// further in the log. Its socket must get only events above its position; after
// another log was opened, positions start again.
func TestSocketGetsOnlyEventsAboveItsPosition(t *testing.T) {
	w := newWorld(t, 1)
	ann, bob := w.connect("ann"), w.connect("bob")
	for _, c := range []*client{ann, bob} {
		c.emit("join_room", conversation("1"))
	}
	ann.inbox = nil
	ann.socket.raise(8)
	give := func(position uint64) {
		w.hub.Deliver(Broadcast{Room: "conversation:1", Message: news(fmt.Sprint(position)), Position: position})
		w.hub.Passed(position)
		w.settle()
	}
	for p := uint64(7); p <= 9; p++ {
		give(p)
	}
	for _, want := range []string{"7", "8", "9"} {
		bob.want(want, "{}")
	}
	ann.want("9", "{}")
	ann.wantNothing()
	if p, q := ann.socket.Position(), bob.socket.Position(); p != 9 || q != 9 {
		t.Errorf("positions %d and %d, want 9 and 9", p, q)
	}

	w.hub.Anew("other", 0) // positions of this log are not comparable with the earlier ones
	give(1)
	ann.want("1", "{}")
	bob.want("1", "{}")
	if p := ann.socket.Position(); p != 1 {
		t.Errorf("position %d in another log, want 1", p)
	}
}

// A shard's position must not be above an event that one of its sockets has not
// been sent yet.
func TestShardPositionIsNotAheadOfItsSockets(t *testing.T) {
	w := newWorld(t, 2)
	w.connect("ann") // on the first shard
	want := func(first, second uint64) {
		t.Helper()
		if p, q := w.hub.Shard(0).Position(), w.hub.Shard(1).Position(); p != first || q != second {
			t.Errorf("shards at positions %d and %d, want %d and %d", p, q, first, second)
		}
	}
	want(0, 0)
	w.hub.Passed(4) // events for rooms without members
	want(4, 4)
	w.hub.Deliver(Broadcast{Room: "user:ann", Message: news("x"), Position: 6})
	want(4, 4) // event 5 may still be delivered to the other shard
	w.hub.Passed(6)
	want(4, 6)
	w.hub.Shard(0).Drain(1 << 20)
	want(6, 6)
	w.hub.Anew("other", 0)
	want(6, 6)
	w.settle()
	want(0, 0)
}

// A live world has a goroutine for each shard, instead of an event loop.
type live struct {
	*world
	stop context.CancelFunc
	done sync.WaitGroup
}

// goLive starts the goroutines of the shards. Until halt, no other goroutine
// may use the sockets.
func (w *world) goLive() *live {
	ctx, cancel := context.WithCancel(context.Background())
	w.live = true
	l := &live{world: w, stop: cancel}
	for _, sh := range w.hub.shards {
		wakeup := make(chan struct{}, 1)
		sh.Attach(func() { wakeup <- struct{}{} })
		l.done.Go(func() {
			for more := true; ; {
				if !more {
					select {
					case <-wakeup:
					case <-ctx.Done():
						return
					}
				}
				sh.Tasks(startTime)
				more = sh.Drain(4<<10) == 0
			}
		})
	}
	return l
}

func (l *live) halt() {
	l.stop()
	l.done.Wait()
}

// sync waits until the sinks have got everything that was delivered.
func (l *live) sync() {
	for l.hub.Stats().MailboxWaiting > 0 {
		time.Sleep(time.Millisecond)
	}
	for _, sh := range l.hub.shards { // a task runs after the messages that were taken out of the mailbox
		done := make(chan struct{})
		sh.Post(func(time.Time) { close(done) })
		<-done
	}
}

// Several goroutines deliver events into rooms that they share, through
// mailboxes that are often full. Every member must get every message once, and
// those of one goroutine in order.
func TestDeliverKeepsOrder(t *testing.T) {
	const publishers, events, rooms = 4, 500, 3
	w := newWorld(t, 4, func(c *Config) { c.MaxMailbox = 50 }) // small, so that it is often full
	var members []*client
	for i := range 12 {
		c := w.connect(fmt.Sprint("user", i))
		c.emit("join_room", conversation(fmt.Sprint(i%rooms)))
		members = append(members, c)
	}
	for _, c := range members {
		c.inbox = nil
	}
	l := w.goLive()
	var publishing sync.WaitGroup
	for p := range publishers {
		publishing.Go(func() {
			for i := range events {
				b := Broadcast{
					Room:    fmt.Sprint("conversation:", i%rooms),
					Message: codec.NewText(fmt.Appendf(nil, `42["%d",%d]`, p, i)),
				}
				if err := w.hub.Wait(t.Context()); err != nil {
					t.Error(err)
				}
				if n := w.hub.Deliver(b); n != 4 {
					t.Errorf("delivered to %d shards, want 4", n)
				}
			}
		})
	}
	publishing.Wait()
	l.sync()
	l.halt()
	for i, c := range members {
		next := [publishers]int{}
		for p := range next {
			next[p] = i % rooms
		}
		for _, packet := range c.inbox {
			var p, n int
			if _, err := fmt.Sscanf(packet, `42["%d",%d]`, &p, &n); err != nil {
				t.Fatalf("%s got %s: %v", c.name, packet, err)
			}
			if n != next[p] {
				t.Fatalf("%s got %d of publisher %d, want %d", c.name, n, p, next[p])
			}
			next[p] += rooms
		}
		for p, n := range next {
			if n < events {
				t.Errorf("%s has not got message %d of publisher %d", c.name, n, p)
			}
		}
	}
	if s := w.hub.Stats(); s.MailboxFull != 0 || s.MailboxWaiting != 0 {
		t.Errorf("%d broadcasts lost, %d waiting, want none", s.MailboxFull, s.MailboxWaiting)
	}
}

// Hub.Wait must block while a mailbox is full. Deliver itself does not wait:
// messages above the limit are queued and not lost.
func TestWaitBlocksWhileAMailboxIsFull(t *testing.T) {
	w := newWorld(t, 2, func(c *Config) { c.MaxMailbox = 2 })
	ann := w.connect("ann")
	b := Broadcast{Room: "user:ann", Message: news("news")}
	for i := range 5 {
		if full := w.hub.Full(); full != (i >= 2) {
			t.Fatalf("with %d of 2 messages: Full returns %v", i, full)
		}
		w.hub.Deliver(b)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.hub.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait with a canceled context: got %v, want context.Canceled", err)
	}
	arrived := make(chan error)
	for range 3 {
		go func() { arrived <- w.hub.Wait(t.Context()) }()
	}
	sh := w.hub.Shard(0)
	for range 4 { // one message is left
		if !w.hub.Full() {
			t.Error("Full returns false with two messages or more")
		}
		sh.Drain(1) // one message at a time
	}
	for range 3 {
		if err := <-arrived; err != nil {
			t.Fatal(err)
		}
	}
	w.settle()
	if len(ann.inbox) != 5 || w.hub.Full() || w.hub.Stats().MailboxFull != 0 {
		t.Errorf("got %d messages, want 5 and no full mailbox: %q", len(ann.inbox), ann.inbox)
	}
}

// An event loop cannot wait for another one. Broadcasts of clients to a shard
// with a full mailbox must be dropped and counted; members on the sender's
// shard get them.
func TestFullMailboxLosesClientBroadcasts(t *testing.T) {
	w := newWorld(t, 2, func(c *Config) { c.MaxMailbox = 3 })
	ann, bob, near := w.connect("ann"), w.connect("bob"), w.connect("near")
	for _, c := range []*client{ann, bob, near} {
		c.emit("join_room", conversation("1"))
	}
	ann.inbox, bob.inbox = nil, nil
	for range 5 { // without a drain in between
		ann.socket.Text([]byte(`21["typing",`+conversation("1")+`]`), w.now)
	}
	if len(ann.inbox) != 5 || len(near.inbox) != 5 {
		t.Errorf("%d acks and %d messages on the same loop, want 5 each", len(ann.inbox), len(near.inbox))
	}
	w.settle()
	if len(bob.inbox) != 3 {
		t.Errorf("%d messages on the other loop, want 3", len(bob.inbox))
	}
	if s := w.hub.Stats(); s.MailboxFull != 2 {
		t.Errorf("%d broadcasts counted as lost, want 2", s.MailboxFull)
	}
}

func TestDrainStopsAtItsBudget(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.connect("ann")
	size := news("news").Size()
	for range 10 {
		w.hub.Deliver(Broadcast{Room: "user:ann", Message: news("news")})
	}
	sh := w.hub.Shard(0)
	if left := sh.Drain(0); left != 0 || len(ann.inbox) != 0 {
		t.Errorf("with no budget: %d left, %d messages sent, want 0 and 0", left, len(ann.inbox))
	}
	if left := sh.Drain(3 * size); left != 0 || len(ann.inbox) != 3 {
		t.Errorf("with a budget for 3: %d left, %d messages sent, want 0 and 3", left, len(ann.inbox))
	}
	if left := sh.Drain(1); left != 0 || len(ann.inbox) != 4 {
		t.Errorf("with a budget for part of one: %d left, %d messages sent, want 0 and 4", left, len(ann.inbox))
	}
	if left := sh.Drain(100 * size); left != 94*size || len(ann.inbox) != 10 {
		t.Errorf("with more than enough: %d left, want %d; %d messages sent, want 10", left, 94*size, len(ann.inbox))
	}
}

func TestLoopIsWokenOnceForSeveralTasks(t *testing.T) {
	w := newWorld(t, 1)
	sh := w.hub.Shard(0)
	ran, wakeups := 0, 0
	task := func(time.Time) { ran++ }
	sh.Post(task) // before there is a loop
	sh.Attach(func() { wakeups++ })
	if wakeups != 1 {
		t.Fatalf("%d wakeups for the task that was posted before Attach, want 1", wakeups)
	}
	sh.Post(task)
	sh.Post(task)
	if wakeups != 1 {
		t.Errorf("%d wakeups, want 1: the loop has not run its tasks yet", wakeups)
	}
	sh.Tasks(startTime)
	sh.Post(task)
	if ran != 3 || wakeups != 2 {
		t.Errorf("%d tasks run, %d wakeups, want 3 and 2", ran, wakeups)
	}
}

func TestTasksMayPostTasks(t *testing.T) {
	w := newWorld(t, 1)
	sh := w.hub.Shard(0)
	var order []string
	sh.Post(func(time.Time) {
		order = append(order, "first")
		sh.Post(func(time.Time) { order = append(order, "third") })
	})
	sh.Post(func(time.Time) { order = append(order, "second") })
	sh.Tasks(startTime)
	if got := strings.Join(order, " "); got != "first second" {
		t.Fatalf("ran %s, want the tasks that were posted before the call", got)
	}
	sh.Tasks(startTime)
	sh.Tasks(startTime)
	if got := strings.Join(order, " "); got != "first second third" {
		t.Errorf("ran %s, want first second third", got)
	}
}

// A task panics and the loop recovers. The tasks after it must run in the next
// turn.
func TestTasksRunAfterOneThatPanicked(t *testing.T) {
	w := newWorld(t, 1)
	sh := w.hub.Shard(0)
	var wakeups atomic.Int32
	sh.Attach(func() { wakeups.Add(1) })
	ran := 0
	sh.Post(func(time.Time) { ran++ })
	sh.Post(func(time.Time) { panic("a bug") })
	sh.Post(func(time.Time) { ran++ })
	turn := func() {
		defer func() { _ = recover() }()
		sh.Tasks(startTime)
	}
	turn()
	turn()
	if ran != 2 {
		t.Errorf("%d tasks have run, want the 2 that do not panic", ran)
	}
}
