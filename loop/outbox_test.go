package loop

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/hometrip/gateway/codec"
)

func TestOutboxAgreesWithAModel(t *testing.T) {
	for seed := range uint64(10) {
		random := rand.New(rand.NewPCG(seed, 3))
		var o outbox
		queues := make([]queue, 20)
		model := make([][]*codec.Message, len(queues))
		waiting := 0
		for range 20_000 {
			i := random.IntN(len(queues))
			q := &queues[i]
			switch random.IntN(20) {
			case 0:
				o.drop(q)
				waiting -= len(model[i])
				model[i] = nil
			case 1, 2:
				if n := len(model[i]); n > 0 {
					at := random.IntN(n)
					node := q.first
					for range at {
						node = o.nodes[node].next
					}
					if got := o.remove(q, node); got != model[i][at] {
						t.Fatalf("seed %d: removed %v, want %v", seed, got, model[i][at])
					}
					model[i] = slices.Delete(model[i], at, at+1)
					waiting--
				}
			case 3, 4, 5, 6, 7, 8, 9:
				var want *codec.Message
				if len(model[i]) > 0 {
					want, model[i] = model[i][0], model[i][1:]
					waiting--
				}
				if got := o.pop(q); got != want {
					t.Fatalf("seed %d: popped %v, want %v", seed, got, want)
				}
			default:
				m := codec.NewText(make([]byte, random.IntN(300)))
				o.push(q, m)
				model[i] = append(model[i], m)
				waiting++
			}
			bytes := 0
			for _, m := range model[i] {
				bytes += m.Size()
			}
			if int(q.bytes) != bytes || o.used != waiting || (q.first == 0) != (bytes == 0) {
				t.Fatalf("seed %d: %d bytes in %d nodes, want %d in %d", seed, q.bytes, o.used, bytes, waiting)
			}
		}
	}
}

func TestOutboxFreesMemory(t *testing.T) {
	var o outbox
	var a, b queue
	m := codec.NewText([]byte("4x"))
	for range shrinkOutbox {
		o.push(&a, m)
	}
	o.push(&b, m)
	o.drop(&a)
	if len(o.nodes) < shrinkOutbox {
		t.Fatalf("%d nodes while a message waits, want %d at least", len(o.nodes), shrinkOutbox)
	}
	if got := o.pop(&b); got != m {
		t.Errorf("popped %v, want %v", got, m)
	}
	if len(o.nodes) != 0 || o.used != 0 {
		t.Errorf("%d nodes are kept, %d used, want none", len(o.nodes), o.used)
	}
	o.push(&a, m) // the outbox is usable again
	if o.pop(&a) != m || o.pop(&a) != nil || o.pop(&b) != nil {
		t.Error("the outbox does not work after it has shrunk")
	}
}

// Nodes of popped messages must not refer to them, so that they can be collected.
func TestOutboxKeepsNoReferenceToPoppedMessages(t *testing.T) {
	var o outbox
	var q queue
	for range 10 {
		o.push(&q, codec.NewText([]byte("4x")))
	}
	o.drop(&q)
	for i, n := range o.nodes {
		if n.message != nil {
			t.Errorf("node %d still refers to its message", i)
		}
	}
}

func TestOutboxAllocatesNothing(t *testing.T) {
	var o outbox
	queues := make([]queue, 100)
	m := codec.NewText([]byte("4x"))
	burst := func() {
		for i := range queues {
			o.push(&queues[i], m)
			o.push(&queues[i], m)
		}
		for i := range queues {
			o.drop(&queues[i])
		}
	}
	burst()
	if allocs := testing.AllocsPerRun(100, burst); allocs != 0 {
		t.Errorf("%v allocations for 200 messages, want none", allocs)
	}
}

func BenchmarkOutbox(b *testing.B) {
	for _, queued := range []int{1, 50} {
		b.Run(fmt.Sprint(queued), func(b *testing.B) {
			var o outbox
			var q queue
			m := codec.NewText([]byte("4x"))
			b.ReportAllocs()
			for b.Loop() {
				for range queued {
					o.push(&q, m)
				}
				o.drop(&q)
			}
		})
	}
}
