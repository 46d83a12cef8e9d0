package wire

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/rooms"
)

func volatile(m *codec.Message) *codec.Message {
	m.Volatile = true
	return m
}

var records = []Record{
	Message{"conversation:1", 3, codec.NewText([]byte(`42["a",{}]`))},
	Message{"user:ü", 0, volatile(codec.NewText([]byte(`42["b"]`)))},
	Message{"", maxMembers, codec.NewAttached([]byte(`451-["c"]`), [][]byte{{1, 2}})},
	Message{strings.Repeat("r", 300), 1, codec.NewText([]byte("42" + strings.Repeat("x", 70_000)))},
	Count{"conversation:1", 7, false},
	Count{"conversation:2", 0, true},
}

func appendRecord(b []byte, r Record) []byte {
	switch r := r.(type) {
	case Message:
		return AppendMessage(b, r.Room, r.Members, r.Frames)
	case Count:
		return AppendCount(b, r)
	}
	return b
}

func sample() []byte {
	b := AppendHead(nil, 0xfedcba98)
	for _, r := range records {
		b = appendRecord(b, r)
	}
	return b
}

func TestEnvelopeRoundTrip(t *testing.T) {
	node, got, err := Parse(sample())
	if err != nil || node != 0xfedcba98 || len(got) != len(records) {
		t.Fatalf("node %x, %d records, %v", node, len(got), err)
	}
	for i, want := range records {
		m, isMessage := want.(Message)
		if !isMessage {
			if got[i] != want {
				t.Errorf("record %d: %+v, want %+v", i, got[i], want)
			}
			continue
		}
		g, ok := got[i].(Message)
		if !ok || g.Room != m.Room || g.Members != m.Members || g.Frames.Volatile != m.Frames.Volatile ||
			string(g.Frames.Frames()) != string(m.Frames.Frames()) {
			t.Errorf("record %d: %+v, want %+v", i, got[i], want)
		}
	}
}

func TestEnvelopeOfAnotherVersionIsRefused(t *testing.T) {
	b := sample()
	b[0]++
	if _, _, err := Parse(b); err == nil || !strings.Contains(err.Error(), "version 3, want 2") {
		t.Errorf("error %v, want one with both versions", err)
	}
}

func TestTruncatedEnvelopesAreRefused(t *testing.T) {
	for _, r := range []Record{records[1], records[4]} {
		whole := appendRecord(AppendHead(nil, 1), r)
		for cut := range len(whole) {
			if _, _, err := Parse(whole[:cut]); err == nil && cut != envelopeHead { // an envelope without records
				t.Errorf("an envelope cut to %d of %d bytes was accepted", cut, len(whole))
			}
		}
	}
}

func TestInvalidRecordsAreRefused(t *testing.T) {
	for name, record := range map[string][]byte{
		"an unknown kind":  {9, 0, 1, 'r'},
		"too many members": {kindCount, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 1, 'r'},
		"not frames":       {kindMessage, 1, 1, 'r', 2, 'x', 'y'},
	} {
		if _, got, err := Parse(append(sample(), record...)); err == nil || len(got) != len(records) {
			t.Errorf("%s: %d records and error %v, want the records before it and an error", name, len(got), err)
		}
	}
}

func FuzzEnvelope(f *testing.F) {
	f.Add(sample())
	for _, r := range records[:3] {
		f.Add(appendRecord(AppendHead(nil, 1), r))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		node, list, err := Parse(b)
		if err != nil {
			return
		}
		again := AppendHead(nil, node)
		for _, r := range list {
			again = appendRecord(again, r)
		}
		if _, second, err := Parse(again); err != nil || len(second) != len(list) {
			t.Errorf("encoded and parsed again: %d records, want %d; %v", len(second), len(list), err)
		}
	})
}

var startTime = time.Unix(1_800_000_000, 0)

// The time of issue in a stored order may be in milliseconds, or impossible.
// Milliseconds must be converted, and an impossible time read as now: as
// seconds it would be far in the future, and revoke all later tokens of the
// user.
func TestOrderWithATimeInMilliseconds(t *testing.T) {
	given := startTime.Add(-time.Minute)
	for seconds, want := range map[int64]time.Time{
		given.Unix():      given,
		given.UnixMilli(): given,
		1 << 62:           startTime,
	} {
		form := fmt.Appendf(nil, `{"user":"ann","iat":%d,"until":%d}`, seconds, given.Unix()+1000)
		o, err := ParseOrder(form, startTime)
		if err != nil {
			t.Fatal(err)
		}
		if off := o.Issued.Sub(want); off < -time.Second || off > time.Second {
			t.Errorf("%s: issued %v, want %v", form, o.Issued, want)
		}
	}
	if o, err := ParseOrder([]byte(`{"user":"ann"}`), startTime); err != nil || !o.Issued.IsZero() {
		t.Errorf("order %v, %v; want no time of issue", o, err)
	}
}

// Texts with half of a surrogate pair, or with characters that JSON escapes,
// must be the same after encoding and parsing.
func TestOrdersKeepTheirTexts(t *testing.T) {
	for _, text := range []string{"ann", "a\xed\xa0\xbd", "<\u2028>\"", "Zoë 😀"} {
		got, err := ParseOrder([]byte(Order(&rooms.Order{User: text, TokenID: text, Reason: text, Until: time.Unix(1<<40, 0)})), startTime)
		if err != nil || got.User != text || got.TokenID != text || got.Reason != text {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

func TestOrderRoundTrip(t *testing.T) {
	want := rooms.Order{User: "ann", TokenID: "x", Issued: time.Unix(1e9, 0), Until: time.Unix(2e9, 0), Reason: "gone"}
	if got, err := ParseOrder([]byte(Order(&want)), startTime); err != nil || *got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	for _, form := range []string{``, `{`, `[]`, `{}`, `{"reason":"for nobody"}`, `{"user":"ann","device":"phone"}`, `{"user":"ann"} {}`, `{"user":7}`} {
		if o, err := ParseOrder([]byte(form), startTime); err == nil {
			t.Errorf("%q was parsed as %+v, want an error", form, o)
		}
	}
}

func TestLeaseRoundTrip(t *testing.T) {
	for _, want := range []Lease{{}, {true, 12, 345}} {
		if got, ok := ParseLease(want.String()); !ok || got != want {
			t.Errorf("%q: %+v, want %+v", want, got, want)
		}
	}
	if _, ok := ParseLease(""); ok {
		t.Error("an empty text was parsed as a lease, want none")
	}
	if got, ok := ParseLease("9 something new"); !ok || got.Registered {
		t.Errorf("a lease of another version: %+v, %v, want a live node that has not registered", got, ok)
	}
}
