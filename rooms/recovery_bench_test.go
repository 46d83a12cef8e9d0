package rooms

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/hometrip/gateway/codec"
)

// maxRecoveryBytes is the number of bytes that a client with recovery may cost
// more than one without, while it is idle in one room. A client without
// recovery has a nil pointer.
const maxRecoveryBytes = 64

// The heap of 20,000 clients with recovery is compared with that of 20,000
// without. It counts the session, its place in the table of sessions and
// everything else that a client with recovery needs.
func TestMemoryOfASessionWithRecovery(t *testing.T) {
	const n = 20_000
	cost := func(auth string) float64 {
		before := heap()
		w, past, crowd := newRecoveryCrowd(t, n, auth)
		after := heap()
		runtime.KeepAlive(w)
		runtime.KeepAlive(past)
		runtime.KeepAlive(crowd)
		return float64(after-before) / n
	}
	cost(`,"recovery":true`) // the first run allocates what all runs share
	plain, asked := cost(""), cost(`,"recovery":true`)
	t.Logf("%.1f bytes a client, %.1f with recovery", plain, asked)
	if asked-plain > maxRecoveryBytes {
		t.Errorf("a client with recovery costs %.1f bytes more, want at most %d", asked-plain, maxRecoveryBytes)
	}
}

// A client returns to the node that has its session while Redis does not
// answer. The client must be recovered at once.
func TestReturnToTheSameNodeDoesNotWaitForRedis(t *testing.T) {
	w, past, redis := newRecordStore(t)
	w.hub.Reachable(true, w.now)
	ann := w.recoveringClient("ann")
	ann.join("1")
	redis.held = true
	for range 3 {
		ann.hangUp()
		past.publish(w, "conversation:1")
		ann.reconnect(w)
		ann.wantResult(RecoveryDone)
	}
	ann.wantGot("e1", "e2", "e3")
}

// newRecoveryCrowd is newCrowd with more members in the clients' auth object,
// such as `,"recovery":true`.
func newRecoveryCrowd(tb testing.TB, n int, auth string) (*world, *fakeHistory, []*Socket) {
	w, past := newHistoryWorld(tb, 1, func(c *Config) { c.MaxMailbox = 1 << 20 })
	var crowd []*Socket
	for i := range n {
		s := w.hub.Shard(0).Open(discardSink{}, "", startTime)
		s.Text(fmt.Appendf(nil, `0{"token":"user%d"%s}`, i, auth), startTime)
		s.Text([]byte(`2["join_room",`+conversation("1")+`]`), startTime)
		crowd = append(crowd, s)
	}
	w.settle()
	return w, past, crowd
}

// BenchmarkFanOutWithOffsets measures a broadcast to a room without clients
// that asked for recovery, and to one in which all did.
func BenchmarkFanOutWithOffsets(b *testing.B) {
	const members = 1000
	for name, auth := range map[string]string{"none asked": "", "all asked": `,"recovery":true`} {
		b.Run(name, func(b *testing.B) {
			w, _, _ := newRecoveryCrowd(b, members, auth)
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

// BenchmarkIdleSession measures the memory of a client in one room.
func BenchmarkIdleSession(b *testing.B) {
	const n = 10_000
	for name, auth := range map[string]string{"did not ask": "", "asked": `,"recovery":true`} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				before := heap()
				w, past, crowd := newRecoveryCrowd(b, n, auth)
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

// A pidSink is a Sink that keeps the pid from the answer to CONNECT.
type pidSink struct {
	discardSink
	pid string
}

func (l *pidSink) Send(m *codec.Message) {
	if l.pid != "" {
		return
	}
	var answer struct{ PID string }
	if b := m.AppendPayload(nil); len(b) > 2 && string(b[:2]) == "40" && json.Unmarshal(b[2:], &answer) == nil {
		l.pid = answer.PID
	}
}

// BenchmarkReturns measures 10,000 clients that connect and join a room of ten, and
// 10,000 that return to their sessions in such rooms.
func BenchmarkReturns(b *testing.B) {
	const n = 10_000
	for _, kind := range []string{"connect and join", "come back"} {
		b.Run(kind, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				w, _ := newHistoryWorld(b, 1, func(c *Config) { c.MaxMailbox = 1 << 20 })
				sinks := make([]pidSink, n)
				sockets := make([]*Socket, n)
				open := func(i int, more string) {
					sockets[i] = w.hub.Shard(0).Open(&sinks[i], "", startTime)
					sockets[i].Text(fmt.Appendf(nil, `0{"token":"user%d","recovery":true%s}`, i, more), startTime)
				}
				join := func(i int) { sockets[i].Text([]byte(`2["join_room",`+conversation(fmt.Sprint(i/10))+`]`), startTime) }
				for i := range n {
					if kind == "come back" {
						open(i, "")
						join(i)
						sockets[i].Closed(startTime)
					}
					sinks[i].pid += "." // further packets are ignored
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
					b.Fatalf("%d clients recovered, want all", got)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/client")
		})
	}
}
