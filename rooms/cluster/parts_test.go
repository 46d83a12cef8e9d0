package cluster

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/rooms"
)

func message(text string, volatile bool) *codec.Message {
	m := codec.NewText([]byte(text))
	m.Volatile = volatile
	return m
}

var records = []rooms.Broadcast{
	{Room: "conversation:1", Message: message(`42["a",{}]`, false)},
	{Room: "user:ü", Message: message(`42["b"]`, true)},
	{Room: "", Message: codec.NewAttached([]byte(`451-["c"]`), [][]byte{{1, 2}})},
	{Room: rooms.EveryNode, Order: &rooms.Order{
		User: "ann", TokenID: "x", Issued: time.Unix(1e9, 0), Until: time.Unix(2e9, 0), Reason: "gone",
	}},
	{Room: strings.Repeat("r", 300), Message: message("42"+strings.Repeat("x", 70_000), false)},
}

func sampleEnvelope() []byte {
	b := appendEnvelopeHead(nil, 0xfedcba98, 7)
	for i := range records {
		b = appendRecord(b, uint64(i)<<20, i*100, &records[i])
	}
	b = appendSignal(b, 99, flagQuestion, 7, "conversation:1")
	return appendSignal(b, 99, flagAnswer, 7, "conversation:1")
}

func TestEnvelopeRoundTrip(t *testing.T) {
	from, rest, err := parseEnvelope(sampleEnvelope())
	if err != nil || from != (source{0xfedcba98, 7}) {
		t.Fatalf("from %+v, %v", from, err)
	}
	var got record
	for i, want := range records {
		if got, rest, err = nextRecord(rest); err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
		if want.Order != nil {
			if o, err := parseOrder(got.form); err != nil || *o != *want.Order || got.flags != flagOrder || got.Room != want.Room {
				t.Errorf("record %d: %+v, %v, want %+v", i, o, err, want.Order)
			}
			continue
		}
		if got.number != uint64(i)<<20 || got.members != i*100 || got.Room != want.Room || got.Message.Volatile != want.Message.Volatile ||
			string(got.Message.Frames()) != string(want.Message.Frames()) {
			t.Errorf("record %d: %+v, want %+v", i, got, want)
		}
	}
	for _, flags := range []byte{flagQuestion, flagAnswer} {
		if got, rest, err = nextRecord(rest); err != nil || got.number != 99 || got.members != 7 || got.flags != flags || got.Room != "conversation:1" {
			t.Errorf("%+v, %v, want number 99 and 7 members with flags %d", got, err, flags)
		}
	}
	if len(rest) != 0 {
		t.Errorf("%d bytes left", len(rest))
	}
}

func TestEnvelopeOfAnotherVersionIsRefused(t *testing.T) {
	b := sampleEnvelope()
	b[0]++
	if _, _, err := parseEnvelope(b); err == nil || !strings.Contains(err.Error(), "version 2, want 1") {
		t.Errorf("error %v", err)
	}
}

func TestCutEnvelopesAreRefused(t *testing.T) {
	whole := appendRecord(appendEnvelopeHead(nil, 1, 2), 3, 5, &records[1])
	for cut := range len(whole) {
		if cut == envelopeHead { // an envelope without records
			continue
		}
		if _, rest, err := parseEnvelope(whole[:cut]); err == nil {
			if _, _, err := nextRecord(rest); err == nil {
				t.Errorf("%d of %d bytes were accepted", cut, len(whole))
			}
		}
	}
}

func FuzzEnvelope(f *testing.F) {
	f.Add(sampleEnvelope())
	f.Add(appendRecord(appendEnvelopeHead(nil, 1, 2), 3, 5, &records[0]))
	f.Fuzz(func(t *testing.T, b []byte) {
		from, rest, err := parseEnvelope(b)
		if err != nil {
			return
		}
		again := appendEnvelopeHead(nil, from.node, int(from.lane))
		for len(rest) > 0 {
			var x record
			if x, rest, err = nextRecord(rest); err != nil {
				return
			}
			if x.form != nil {
				if x.Order, err = parseOrder(x.form); err != nil {
					continue
				}
			}
			if x.Order == nil && x.Message == nil {
				again = appendSignal(again, x.number, x.flags, x.members, x.Room)
			} else {
				again = appendRecord(again, x.number, x.members, &x.Broadcast)
			}
		}
		_, rest, err = parseEnvelope(again)
		for err == nil && len(rest) > 0 {
			_, rest, err = nextRecord(rest)
		}
		if err != nil {
			t.Errorf("written again: %v", err)
		}
	})
}

// TestWindowAgreesWithASet: numbers come in any order within the window.
func TestWindowAgreesWithASet(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		var w window
		seen := make(map[uint64]bool)
		top := uint64(random.IntN(1 << 20))
		for range 20_000 {
			number := top + uint64(random.IntN(40))
			if random.IntN(100) == 0 {
				number += uint64(random.IntN(3 * windowSize))
			} else if back := uint64(random.IntN(windowSize - 50)); back < number {
				number -= back
			}
			if number == 0 || number > top+4*windowSize {
				continue
			}
			top = max(top, number)
			if top-number >= windowSize {
				continue
			}
			if got := w.first(number); got == seen[number] {
				t.Fatalf("seed %d: %d first: %v, top %d", seed, number, got, top)
			}
			seen[number] = true
		}
		if w.first(top - windowSize) {
			t.Errorf("seed %d: a number that fell out of the window was taken for new", seed)
		}
	}
}

// TestSightOfARoom: when a node may take a room for its own alone.
func TestSightOfARoom(t *testing.T) {
	const room, mine, other = "conversation:1", int64(7) << generationBits, int64(8) << generationBits
	const no, yes = true, false // whether it is elsewhere
	first := func(l *lane) { l.read1(mine) }
	for name, x := range map[string]struct {
		do   func(l *lane)
		want bool
	}{
		"never looked":                          {func(l *lane) {}, no},
		"looked, nobody":                        {first, yes},
		"looked, somebody":                      {func(l *lane) { l.read1(mine, other) }, no},
		"changed since":                         {func(l *lane) { first(l); l.forget(room) }, no},
		"heard from another":                    {func(l *lane) { first(l); l.heard(room) }, no},
		"asked by another":                      {func(l *lane) { first(l); l.question(room, 8, 1) }, no},
		"heard from another while looking":      {func(l *lane) { l.begin1(false); l.heard(room); l.end1(mine) }, no},
		"changed while looking":                 {func(l *lane) { l.begin1(false); l.forget(room); l.end1(mine) }, no},
		"doubted, looked into memory":           {func(l *lane) { l.heard(room); l.read1(mine) }, no},
		"doubted, looked behind a fence":        {func(l *lane) { l.heard(room); l.read1(mine); l.begin1(true); l.end1(mine) }, yes},
		"doubted again before the fence is out": {func(l *lane) { l.heard(room); l.read1(mine); l.heard(room); l.begin1(true); l.end1(mine) }, no},
		"doubted again behind the fence":        {func(l *lane) { l.heard(room); l.read1(mine); l.begin1(true); l.heard(room); l.end1(mine) }, no},
		"being taken out of the directory":      {func(l *lane) { first(l); l.held[room].begin(room, false) }, no},
		"not in the directory yet":              {func(l *lane) { l.held[room].wrote = 0; first(l) }, no},
		"epoch over":                            {func(l *lane) { first(l); l.c.epoch.Add(1) }, no},
		"lease over":                            {func(l *lane) { first(l); l.c.config.Lease = 0 }, no},
		"another node registers":                {func(l *lane) { l.c.view.Load().open = []uint32{8}; first(l) }, no},
		"directory in doubt":                    {func(l *lane) { l.c.view.Load().doubt = true; first(l) }, no},
	} {
		c, l := entered(t, room, mine)
		l.reading.begin([]letter{{Broadcast: rooms.Broadcast{Room: room}}})
		x.do(l)
		if got := c.Elsewhere(room); got != x.want {
			t.Errorf("%s: elsewhere %v, want %v", name, got, x.want)
		}
	}
}

// entered makes a node, without a Redis, that has a room in the directory.
func entered(t *testing.T, room string, session int64) (*Cluster, *lane) {
	t.Helper()
	c, err := New(Config{Server: Server{Addresses: []string{"x:1"}}, Lease: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	c.node = nodeOf(session)
	c.away.Store(false)
	c.view.Store(&view{session: session, taken: time.Now()})
	l := c.lane(room)
	c.Occupied(room)
	l.changed, l.held[room].queued = nil, false
	l.registered(c.view.Load(), []change{{room: room, held: true}})
	return c, l
}

// TestJoinOfARoomOnItsWayOut: the other nodes have to be told, and asked, anew.
func TestJoinOfARoomOnItsWayOut(t *testing.T) {
	const room, session = "conversation:1", int64(7) << generationBits
	c, l := entered(t, room, session)
	if c.Occupied(room) {
		t.Error("known although nobody was asked")
	}
	w := &waiter{room: room, known: func() {}}
	l.asking(c.view.Load(), w)
	if !c.Occupied(room) || !w.told.Load() {
		t.Error("not known although nobody is left to answer")
	}
	l.vacated(room)
	l.held[room].begin(room, false)
	if c.Occupied(room) || len(l.changed) != 1 {
		t.Errorf("%d changes to be written, want one that enters the room again", len(l.changed))
	}
}

// read1 has a lane read its one room, from memory: these sessions hold it.
func (l *lane) read1(sessions ...int64) { l.begin1(false); l.end1(sessions...) }

func (l *lane) begin1(fenced bool) { l.recall(&l.reading, fenced) }

func (l *lane) end1(sessions ...int64) {
	l.reading.sessions[0] = sessions
	l.seen(l.c.view.Load(), &l.reading, l.c.epoch.Load())
}

func TestFlightsLandInOrder(t *testing.T) {
	fs := newFlights()
	var landed []string
	take := func(name string, letters int) (f *flight) {
		for range letters {
			f = fs.board()
		}
		closed := fs.close(func() { landed = append(landed, name) })
		fs.land(closed) // Sync is through
		return f
	}
	first, second, third := take("first", 2), take("second", 1), take("third", 0)
	if third != nil {
		t.Fatal("a flight without letters has one")
	}
	fs.land(second)
	fs.land(first)
	if len(landed) != 0 {
		t.Fatalf("landed %v, and the first waits for a letter", landed)
	}
	fs.hold(first)
	fs.land(first)
	fs.land(first)
	if got := fmt.Sprint(landed); got != "[first second third]" {
		t.Errorf("landed %v", got)
	}
	cancelled := fs.close(func() { t.Error("called although its Sync failed") })
	fs.hold(cancelled)
	fs.cancel(cancelled)
	fs.land(cancelled)
	take("fifth", 0)
	if got := fmt.Sprint(landed); got != "[first second third fifth]" {
		t.Errorf("landed %v", got)
	}
}

func TestParseURL(t *testing.T) {
	for text, want := range map[string]struct {
		addresses       string
		db              int
		user, password  string
		tls, unix       bool
		masters, secret string
	}{
		"redis://redis":                                {addresses: "[redis:6379]", db: -1},
		"redis://:p%40ss@redis:7000/3":                 {addresses: "[redis:7000]", db: 3, password: "p@ss"},
		"redis://ann:pw@redis?db=4":                    {addresses: "[redis:6379]", db: 4, user: "ann", password: "pw"},
		"rediss://redis:7000/":                         {addresses: "[redis:7000]", db: -1, tls: true},
		"redis://a:1?addr=b:2&addr=c:3":                {addresses: "[a:1 b:2 c:3]", db: -1},
		"redis://a:1/0?master_set=m":                   {addresses: "[a:1]", masters: "m"},
		"redis://a:1?master_set=m&sentinel_password=s": {addresses: "[a:1]", db: -1, masters: "m", secret: "s"},
		"unix:///run/redis.sock?db=5":                  {addresses: "[/run/redis.sock]", db: 5, unix: true},
	} {
		s, db, err := ParseURL(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if fmt.Sprint(s.Addresses) != want.addresses || db != want.db || s.Username != want.user || s.Password != want.password ||
			(s.TLS != nil) != want.tls || s.Unix != want.unix || s.MasterSet != want.masters || s.SentinelPassword != want.secret {
			t.Errorf("%s: %+v, database %d, want %+v", text, s, db, want)
		}
	}
	for _, text := range []string{"", "redis", "http://redis", "redis://redis/x", "redis://redis/1/2", "redis://u:secret@a b"} {
		if _, _, err := ParseURL(text); err == nil {
			t.Errorf("%q was accepted", text)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error tells the password: %v", err)
		}
	}
}

func TestLeaseRoundTrip(t *testing.T) {
	for _, want := range []lease{{}, {true, 12, 345}} {
		if got, ok := parseLease(want.String()); !ok || got != want {
			t.Errorf("%q: %+v, want %+v", want, got, want)
		}
	}
	if _, ok := parseLease(""); ok {
		t.Error("no lease was taken for one")
	}
	if got, ok := parseLease("9 something new"); !ok || got.registered {
		t.Errorf("a lease of another version: %+v, %v: want a node that gets everything", got, ok)
	}
}

func TestNewRefusesBraces(t *testing.T) {
	if _, err := New(Config{Prefix: "a{b}", Server: Server{Addresses: []string{"x:1"}}}); err == nil {
		t.Error("braces in the prefix were accepted")
	}
}
