package rooms

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/hometrip/gateway/codec"
)

// asking is how many bytes more a client may cost that asked for recovery,
// while it is idle in one room. A client that did not ask has a nil pointer.
const asking = 64

// TestASessionIsSmall counts the session, its place in the table of sessions and
// everything else that a client costs more which asked.
func TestASessionIsSmall(t *testing.T) {
	const n = 20_000
	cost := func(auth string) float64 {
		before := heap()
		w, past, crowd := newAskers(t, n, auth)
		after := heap()
		runtime.KeepAlive(w)
		runtime.KeepAlive(past)
		runtime.KeepAlive(crowd)
		return float64(after-before) / n
	}
	cost(`,"recovery":true`) // what the first run makes for all
	plain, asked := cost(""), cost(`,"recovery":true`)
	t.Logf("%.1f bytes, %.1f of a client that asked", plain, asked)
	if asked-plain > asking {
		t.Errorf("a client that asked costs %.1f bytes more, want at most %d", asked-plain, asking)
	}
}

// TestAReturnToTheSameNodeWaitsForNobody: Redis does not answer.
func TestAReturnToTheSameNodeWaitsForNobody(t *testing.T) {
	w, past, redis := newRecordStore(t)
	w.hub.Reachable(true, w.now)
	ann := w.recoveringClient("ann")
	ann.join("1")
	redis.held = true
	for range 3 {
		ann.hangUp()
		past.publish(w, "conversation:1")
		ann.comeOn(w)
		ann.wantResult(RecoveryDone)
	}
	ann.wantGot("e1", "e2", "e3")
}

// newAskers is newCrowd with clients that ask for recovery.
func newAskers(tb testing.TB, n int, auth string) (*world, *pastLog, []*Socket) {
	w, past := newPast(tb, 1, func(c *Config) { c.MaxMailbox = 1 << 20 })
	var crowd []*Socket
	for i := range n {
		s := w.hub.Shard(0).Open(deaf{}, "", dawn)
		s.Text(fmt.Appendf(nil, `0{"token":"user%d"%s}`, i, auth), dawn)
		s.Text([]byte(`2["join_room",`+conversation("1")+`]`), dawn)
		crowd = append(crowd, s)
	}
	w.settle()
	return w, past, crowd
}

// BenchmarkFanOutWithOffsets compares a room in which nobody asked for recovery
// with one in which everybody did.
func BenchmarkFanOutWithOffsets(b *testing.B) {
	const members = 1000
	for name, auth := range map[string]string{"nobody asked": "", "all asked": `,"recovery":true`} {
		b.Run(name, func(b *testing.B) {
			w, _, _ := newAskers(b, members, auth)
			broadcast := Broadcast{Room: "conversation:1"}
			b.ReportAllocs()
			for b.Loop() {
				broadcast.Position++
				broadcast.Message = news("news") // each event is encoded
				w.hub.Deliver(broadcast)
				w.hub.Shard(0).Drain(1 << 20)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*members), "ns/member")
		})
	}
}

// BenchmarkIdleSession says what a client in one room costs in memory.
func BenchmarkIdleSession(b *testing.B) {
	const n = 10_000
	for name, auth := range map[string]string{"did not ask": "", "asked": `,"recovery":true`} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				before := heap()
				w, past, crowd := newAskers(b, n, auth)
				b.ReportMetric(float64(heap()-before)/n, "B/client")
				runtime.KeepAlive(w)
				runtime.KeepAlive(past)
				runtime.KeepAlive(crowd)
			}
		})
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A listener keeps the pid of its client.
type listener struct {
	deaf
	pid string
}

func (l *listener) Send(m *codec.Message) {
	if l.pid != "" {
		return
	}
	var answer struct{ PID string }
	if b := m.AppendPayload(nil); len(b) > 2 && string(b[:2]) == "40" && json.Unmarshal(b[2:], &answer) == nil {
		l.pid = answer.PID
	}
}

// BenchmarkReturns compares 10,000 clients that connect and join a room of ten
// with as many that come back to one.
func BenchmarkReturns(b *testing.B) {
	const n = 10_000
	for _, kind := range []string{"connect and join", "come back"} {
		b.Run(kind, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				w, _ := newPast(b, 1, func(c *Config) { c.MaxMailbox = 1 << 20 })
				sinks := make([]listener, n)
				sockets := make([]*Socket, n)
				open := func(i int, more string) {
					sockets[i] = w.hub.Shard(0).Open(&sinks[i], "", dawn)
					sockets[i].Text(fmt.Appendf(nil, `0{"token":"user%d","recovery":true%s}`, i, more), dawn)
				}
				join := func(i int) { sockets[i].Text([]byte(`2["join_room",`+conversation(fmt.Sprint(i/10))+`]`), dawn) }
				for i := range n {
					if kind == "come back" {
						open(i, "")
						join(i)
						sockets[i].Closed(dawn)
					}
					sinks[i].pid += "." // nothing more is listened to
				}
				w.settle()
				b.StartTimer()
				for i := range n {
					if kind == "come back" {
						open(i, `,"pid":"`+strings.TrimSuffix(sinks[i].pid, ".")+`"`)
						continue
					}
					open(i, "")
					join(i)
				}
				w.settle()
				if got := w.hub.Recoveries()[RecoveryDone]; kind == "come back" && got != n {
					b.Fatalf("%d came back", got)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/client")
		})
	}
}
