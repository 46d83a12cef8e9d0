package load

import (
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// world is a Loop whose clients write to /dev/null and receive what the test gives
// them.
type world struct {
	t *testing.T
	l *Loop
}

func newWorld(t *testing.T, conns int) *world {
	t.Helper()
	l, err := newLoop()
	if err != nil {
		t.Fatal(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = null.Close() })
	l.dialect = socketIO{}
	l.conns = make([]conn, conns)
	for i := range l.conns {
		l.conns[i] = conn{fd: int32(null.Fd()), step: stepReady}
	}
	return &world{t, l}
}

// hear makes connection i receive a Socket.IO packet.
func (w *world) hear(i int, packet string) {
	w.l.now = clock()
	w.l.packets(&w.l.conns[i], serverFrame(opText, packet))
}

func (w *world) message(seq int) string {
	return fmt.Sprintf(`42["new_message",{"message":"#%d@%d#"}]`, seq, clock())
}

func typingAt(ms int) string {
	return fmt.Sprintf(`42["user_typing",{"userId":"u","timestamp":"2026-01-02T03:04:05.%03dZ"}]`, ms)
}

// listened runs a room of two members that expect three events. Member 0 receives the
// events seqs, member 1 all of them.
func listened(t *testing.T, seqs ...int) *Result {
	w := newWorld(t, 2)
	f := newFanout(w.l, FanoutArgs{Source: SourceListen, Last: 2, Expect: 3})
	w.l.phase = f
	for _, seq := range seqs {
		w.hear(0, w.message(seq))
	}
	for seq := range 3 {
		w.hear(1, w.message(seq))
	}
	r := new(Result)
	f.finish(r)
	return r
}

func TestPublishedEventsAreCheckedByNumber(t *testing.T) {
	for _, tt := range []struct {
		name                   string
		seqs                   []int
		lost, doubled, swapped uint64
	}{
		{"all in order", []int{0, 1, 2}, 0, 0, 0},
		{"last one lost", []int{0, 1}, 1, 0, 0},
		{"first one lost", []int{1, 2}, 1, 0, 1},
		{"one doubled", []int{0, 1, 1, 2}, 0, 1, 0},
		{"two swapped", []int{0, 2, 1}, 1, 1, 1},
		{"nothing came", nil, 3, 0, 0},
	} {
		r := listened(t, tt.seqs...)
		if r.Lost != tt.lost || r.Doubled != tt.doubled || r.Swapped != tt.swapped {
			t.Errorf("%s: lost %d, doubled %d, swapped %d", tt.name, r.Lost, r.Doubled, r.Swapped)
		}
		if (r.Wrong() > 0) != (tt.lost+tt.doubled+tt.swapped > 0) {
			t.Errorf("%s: Wrong() = %d", tt.name, r.Wrong())
		}
	}
}

func TestTypingIsCheckedByCountAndTimestamp(t *testing.T) {
	for _, tt := range []struct {
		name   string
		stamps []int
		want   Result
	}{
		{"both, in order", []int{1, 2}, Result{}},
		{"one missing", []int{1}, Result{Lost: 1}},
		{"one too many", []int{1, 2, 3}, Result{Doubled: 1}},
		{"time goes back", []int{2, 1}, Result{Swapped: 1}},
	} {
		w := newWorld(t, 2)
		f := newFanout(w.l, FanoutArgs{Source: SourceTyping, First: 1, Last: 2, Window: 2, For: time.Hour})
		w.l.phase = f
		f.tick(clock())
		for _, ms := range tt.stamps {
			w.hear(1, typingAt(ms))
		}
		r := new(Result)
		f.finish(r)
		if r.Lost != tt.want.Lost || r.Doubled != tt.want.Doubled || r.Swapped != tt.want.Swapped {
			t.Errorf("%s: lost %d, doubled %d, swapped %d", tt.name, r.Lost, r.Doubled, r.Swapped)
		}
	}
}

func TestAnEventSentBackToItsSenderIsAStray(t *testing.T) {
	w := newWorld(t, 2)
	f := newFanout(w.l, FanoutArgs{Source: SourceTyping, First: 1, Last: 2, Window: 1, For: time.Hour})
	w.l.phase = f
	f.tick(clock())
	w.hear(0, typingAt(1))
	r := new(Result)
	if f.finish(r); r.Strays != 1 {
		t.Errorf("strays %d, want 1", r.Strays)
	}
}

// Of two members that join a room at least one gets user_joined about the other, and
// none gets it twice.
func TestJoinsAreAnnouncedToOneOfEachPairAndNeverTwice(t *testing.T) {
	for _, tt := range []struct {
		name  string
		heard [3][]int // whom each of three members hears of
		right bool
	}{
		{"one after the other", [3][]int{{1, 2}, {2}, {}}, true},
		{"in another order", [3][]int{{}, {0, 2}, {0}}, true},
		{"two at the same time", [3][]int{{1, 2}, {0, 2}, {}}, true},
		{"one missing", [3][]int{{1}, {2}, {}}, false},
		{"one twice", [3][]int{{1, 2, 2}, {2}, {}}, false},
		{"sum right, members wrong", [3][]int{{1}, {0}, {0}}, false},
		{"of itself", [3][]int{{1, 2}, {2}, {2}}, false},
		{"of nobody there", [3][]int{{1, 2}, {2}, {9}}, false},
	} {
		w := newWorld(t, 3)
		for i := range w.l.conns {
			w.l.conns[i].user = int32(i)
		}
		j := newJoiner(w.l, JoinArgs{Last: 3, RoomSize: 3})
		w.l.phase = j
		j.tick(clock())
		for i, heard := range tt.heard {
			w.hear(i, `430[{"success":true}]`)
			for _, user := range heard {
				w.hear(i, fmt.Sprintf(`42["user_joined",{"socketId":"s","userId":"u%d"}]`, user))
			}
		}
		r := new(Result)
		if j.finish(r); (r.Wrong() == 0) != tt.right {
			t.Errorf("%s: lost %d, doubled %d, strays %d", tt.name, r.Lost, r.Doubled, r.Strays)
		}
	}
}

func TestRoomsOfAJoinPhaseAreDistinguished(t *testing.T) {
	w := newWorld(t, 4)
	for i := range w.l.conns {
		w.l.conns[i].user = int32(i)
	}
	j := newJoiner(w.l, JoinArgs{Last: 4, RoomSize: 2})
	w.l.phase = j
	j.tick(clock())
	for i := range w.l.conns {
		w.hear(i, `430[{"success":true}]`)
	}
	w.hear(0, `42["user_joined",{"userId":"u1"}]`)
	w.hear(3, `42["user_joined",{"userId":"u1"}]`) // of a member of the other room
	r := new(Result)
	if j.finish(r); r.Strays != 1 || r.Lost != 1 {
		t.Errorf("strays %d, lost %d: want 1 and 1", r.Strays, r.Lost)
	}
}

func TestRefusedJoinIsAProblem(t *testing.T) {
	w := newWorld(t, 1)
	j := newJoiner(w.l, JoinArgs{Last: 1, RoomSize: 1})
	w.l.phase = j
	j.tick(clock())
	w.hear(0, `430[{"error":"Invalid roomType"}]`)
	if w.l.failures != 1 {
		t.Errorf("failures %d, want 1", w.l.failures)
	}
}

func TestChatChecksDeliveryAndAck(t *testing.T) {
	for _, tt := range []struct {
		name  string
		acks  []string
		heard int
		want  Result
	}{
		{"both", []string{"0"}, 1, Result{}},
		{"no ack", nil, 1, Result{Lost: 1}},
		{"no delivery", []string{"0"}, 0, Result{Lost: 1}},
		{"delivered twice", []string{"0"}, 2, Result{Doubled: 1}},
		{"ack of another", []string{"7"}, 1, Result{Swapped: 1}},
	} {
		w := newWorld(t, 2)
		k := newChat(w.l, ChatArgs{Last: 2, Window: 1, For: time.Hour})
		w.l.phase = k
		k.tick(clock()) // connection 0 types
		for _, id := range tt.acks {
			w.hear(0, `43`+id+`[{"success":true}]`)
		}
		for range tt.heard {
			w.hear(1, typingAt(1))
		}
		r := new(Result)
		k.finish(r)
		if r.Lost != tt.want.Lost || r.Doubled != tt.want.Doubled || r.Swapped != tt.want.Swapped {
			t.Errorf("%s: lost %d, doubled %d, swapped %d", tt.name, r.Lost, r.Doubled, r.Swapped)
		}
	}
}

func TestPacedChatTimesFromWhenAnEventWasDue(t *testing.T) {
	w := newWorld(t, 6)
	k := newChat(w.l, ChatArgs{Last: 6, Rate: 1000, For: time.Hour})
	for n := range uint64(60) {
		index := k.senders[n%6]
		if got, want := k.sentAt(nil, index, uint32(n/6)), k.due(n); got != want {
			t.Fatalf("event %d of connection %d: %d, want %d", n, index, got, want)
		}
	}
}

// The publisher's socket is full. The rest of the events must be sent when the server
// reads again.
func TestEventsThatASlowServerDoesNotReadAreSentLater(t *testing.T) {
	w := newWorld(t, 1)
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(ends[0]); _ = unix.Close(ends[1]) })
	w.l.pub = &publisher{fd: int32(ends[0])}
	const events, pad = 20, 100_000 // more than the socket's buffer holds
	f := newFanout(w.l, FanoutArgs{Source: SourceUser, Last: 1, Burst: events, Pad: pad, For: time.Hour})
	w.l.phase = f
	f.tick(clock())
	if len(w.l.pub.out) == 0 {
		t.Fatal("the socket accepted all events, so nothing is left to send later")
	}
	arrived, b := 0, make([]byte, 1<<20)
	for len(w.l.pub.out) > 0 {
		n, err := unix.Read(ends[1], b)
		if err != nil {
			t.Fatalf("%d bytes of %d events arrived, then: %v", arrived, events, err)
		}
		arrived += n
		f.tick(f.until) // sends nothing new
	}
	for n, _ := unix.Read(ends[1], b); n > 0; n, _ = unix.Read(ends[1], b) {
		arrived += n
	}
	if arrived < events*pad {
		t.Errorf("%d bytes, want %d and more", arrived, events*pad)
	}
}

func TestIdleReportsTheFewestPings(t *testing.T) {
	w := newWorld(t, 3)
	w.l.conns[2].step = stepClosed
	p := newIdler(w.l, time.Hour)
	w.l.phase = p
	for range 3 {
		w.hear(0, "2")
	}
	w.hear(1, "2")
	r := new(Result)
	if p.finish(r); r.Least != 1 || w.l.pings != 4 {
		t.Errorf("fewest pings %d, pings %d: want 1 and 4", r.Least, w.l.pings)
	}
}

func TestConnectionCostsLessThan300Bytes(t *testing.T) {
	const limit = 300
	w := newWorld(t, 1)
	if size := ConnSize; size > limit/2 {
		t.Errorf("a conn is %d bytes: want room for half a frame within %d", size, limit)
	}
	w.l.packets(&w.l.conns[0], nil)
	if w.l.conns[0].part != nil {
		t.Error("an idle connection keeps a buffer")
	}
}
