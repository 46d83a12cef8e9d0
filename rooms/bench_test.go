package rooms

import (
	"fmt"
	"testing"
	"time"

	"github.com/hometrip/gateway/codec"
)

// A discardSink is a Sink that does nothing.
type discardSink struct{}

func (discardSink) Send(*codec.Message) {}
func (discardSink) Close(Reason)        {}
func (discardSink) Wake()               {}
func (discardSink) Source() uint64      { return 0 }

// newCrowd returns a world with n sockets in conversation:1, and the sockets.
func newCrowd(tb testing.TB, shards, n int) (*world, []*Socket) {
	w := newWorld(tb, shards, func(c *Config) { c.MaxMailbox = 1 << 20 })
	var crowd []*Socket
	for i := range n {
		s := w.hub.Shard(i%shards).Open(discardSink{}, "", startTime)
		s.Text(fmt.Appendf(nil, `0{"token":"user%d"}`, i), startTime)
		s.Text([]byte(`2["join_room",`+conversation("1")+`]`), startTime)
		crowd = append(crowd, s)
	}
	w.settle()
	return w, crowd
}

func TestDeliveryAllocatesNothing(t *testing.T) {
	w, _ := newCrowd(t, 1, 1000)
	b := Broadcast{Room: "conversation:1", Message: news("news")}
	allocs := testing.AllocsPerRun(100, func() {
		w.hub.Deliver(b)
		w.hub.Shard(0).Drain(1 << 20)
	})
	if allocs != 0 {
		t.Errorf("%v allocations for a broadcast to 1,000 members, want none", allocs)
	}
}

// typingAllocs is the number of allocations of an event that is sent to others: the
// message and its bytes.
const typingAllocs = 2

func TestTypingAllocatesLittle(t *testing.T) {
	packet := []byte(`2["typing",` + conversation("1") + `]`)
	for _, members := range []int{2, 1000} {
		_, crowd := newCrowd(t, 1, members)
		allocs := testing.AllocsPerRun(100, func() { crowd[0].Text(packet, startTime) })
		if allocs > typingAllocs {
			t.Errorf("%v allocations for typing among %d, want at most %d", allocs, members, typingAllocs)
		}
	}
}

// An event of a client in a room without other members is not encoded.
func TestTypingAloneAllocatesNothing(t *testing.T) {
	packet := []byte(`2["typing",` + conversation("1") + `]`)
	_, crowd := newCrowd(t, 1, 1)
	if allocs := testing.AllocsPerRun(100, func() { crowd[0].Text(packet, startTime) }); allocs > 0 {
		t.Errorf("%v allocations for typing in a room without other members, want none", allocs)
	}
}

func TestRefusalAllocatesNothingWithoutAck(t *testing.T) {
	packet := []byte(`2["typing",` + conversation("elsewhere") + `]`)
	_, crowd := newCrowd(t, 1, 1)
	if allocs := testing.AllocsPerRun(100, func() { crowd[0].Text(packet, startTime) }); allocs > 0 {
		t.Errorf("%v allocations for an event that is refused, want none", allocs)
	}
}

func BenchmarkBroadcast(b *testing.B) {
	for _, members := range []int{1, 100, 1000, 10_000} {
		b.Run(fmt.Sprint(members), func(b *testing.B) {
			w, _ := newCrowd(b, 1, members)
			broadcast := Broadcast{Room: "conversation:1", Message: news("news")}
			b.ReportAllocs()
			for b.Loop() {
				broadcast.Position++
				w.hub.Deliver(broadcast)
				w.hub.Shard(0).Drain(1 << 20)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*members), "ns/member")
		})
	}
}

func BenchmarkJoinLeave(b *testing.B) {
	for _, members := range []int{0, 1000} {
		b.Run(fmt.Sprintf("among %d", members), func(b *testing.B) {
			w, _ := newCrowd(b, 1, members)
			s := w.hub.Shard(0).Open(discardSink{}, "", startTime)
			s.Text([]byte(`0{"token":"ann"}`), startTime)
			join, leave := []byte(`21["join_room",`+conversation("1")+`]`), []byte(`22["leave_room",`+conversation("1")+`]`)
			b.ReportAllocs()
			for b.Loop() {
				s.Text(join, startTime)
				s.Text(leave, startTime)
			}
		})
	}
}

func BenchmarkTyping(b *testing.B) {
	for _, members := range []int{1, 2, 100} {
		b.Run(fmt.Sprintf("among %d", members), func(b *testing.B) {
			_, crowd := newCrowd(b, 1, members)
			packet := []byte(`2["typing",` + conversation("1") + `]`)
			now := time.Now()
			b.ReportAllocs()
			for b.Loop() {
				crowd[0].Text(packet, now)
			}
		})
	}
}
