package rabbitmodel

import "testing"

// kinds returns the kinds of the events sent to a connection, and removes them.
func kinds(c *Conn) (list []Kind) {
	for _, e := range c.Out {
		list = append(list, e.Kind)
	}
	c.Out = nil
	return list
}

// want compares the kinds of the events sent to a connection.
func want(t *testing.T, c *Conn, list ...Kind) {
	t.Helper()
	got := kinds(c)
	if len(got) != len(list) {
		t.Fatalf("sent: %v, want %v", got, list)
	}
	for i := range got {
		if got[i] != list[i] {
			t.Fatalf("sent: %v, want %v", got, list)
		}
	}
}

func newStream(b *Broker) *Channel {
	ch := b.Connect().Channel()
	ch.QueueDeclare("s", Args{Type: Stream})
	ch.Confirms()
	ch.conn.Out = nil
	return ch
}

func TestRestartLosesUnconfirmedMessages(t *testing.T) {
	b := New()
	ch := newStream(b)
	ch.Publish(Message{Key: "s", Body: "kept"}, false)
	b.Queue("s").Flush()
	want(t, ch.conn, Confirm)
	ch.Publish(Message{Key: "s", Body: "lost"}, false)
	want(t, ch.conn)
	b.Restart()
	want(t, ch.conn, ConnectionClosed)
	if q := b.Queue("s"); q.NextOffset() != 1 || q.Pending() != 0 {
		t.Errorf("the stream has %d messages and %d pending, want 1 and 0", q.NextOffset(), q.Pending())
	}
}

func TestAlarmBlocksConnectionsThatPublish(t *testing.T) {
	b := New()
	ch := newStream(b)
	b.Alarm(true)
	ch.Publish(Message{Key: "s"}, false)
	ch.Qos(5)
	want(t, ch.conn, Blocked)
	b.Alarm(false)
	b.Queue("s").Flush()
	want(t, ch.conn, Unblocked, Done, Confirm)
}

func TestConsumerOfADeletedStreamIsCancelled(t *testing.T) {
	b := New()
	ch := newStream(b)
	ch.Qos(1)
	ch.Consume("s", "reader", false, Next)
	ch.conn.Out = nil
	b.Queue("s").Delete()
	want(t, ch.conn, Cancelled)
	ch.QueueDeclare("s", Args{Type: Stream})
	ch.Publish(Message{Key: "s"}, false)
	b.Queue("s").Flush()
	if next := b.Queue("s").NextOffset(); next != 1 {
		t.Errorf("the stream that was declared again has %d messages, want 1", next)
	}
}

func TestNextConsumerBecomesActiveWhenTheActiveOneEnds(t *testing.T) {
	b := New()
	one, two := b.Connect().Channel(), b.Connect().Channel()
	one.QueueDeclare("q", Args{Type: Quorum, Single: true})
	for _, ch := range []*Channel{one, two} {
		ch.Qos(1)
		ch.Consume("q", "c", false, Begin{})
		ch.conn.Out = nil
	}
	one.Publish(Message{Key: "q"}, false)
	want(t, one.conn, Delivery)
	one.Kill(406, "PRECONDITION_FAILED - delivery acknowledgement timed out")
	want(t, two.conn, Delivery)
	if b.Queue("q").Active() != two {
		t.Error("the second consumer is not active after the first has ended")
	}
}

func TestReaderWithChunkHeadGetsTheWholeChunk(t *testing.T) {
	for _, head := range []bool{false, true} {
		b := New()
		b.ChunkHead = head
		ch := newStream(b)
		for range 3 {
			ch.Publish(Message{Key: "s"}, false)
		}
		b.Queue("s").Flush()
		ch.Qos(10)
		ch.conn.Out = nil
		ch.Consume("s", "reader", false, Begin{Offset: 2})
		n := len(kinds(ch.conn)) - 1
		if wanted := map[bool]int{false: 1, true: 3}[head]; n != wanted {
			t.Errorf("with ChunkHead %v a reader from position 2 gets %d messages, want %d", head, n, wanted)
		}
	}
}
