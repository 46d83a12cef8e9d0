package form

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden file of this version anew")

// everything returns a Loop in which each field has a different value.
func everything() *Loop {
	return &Loop{
		Index: 3,
		Conns: []Conn{
			{
				ID: 1, Kind: KindWebSocket, In: []byte{0x81, 0x85}, Out: []byte("owed"), Place: 1<<32 | 7,
				WebSocket: WebSocket{Ping: []byte("?"), HasPing: true, Ending: true, Waits: true, Left: time.Second,
					Ahead: 3 * time.Millisecond, Partial: []byte("half"), Op: 1},
			},
			{
				ID: 2, Kind: KindHTTP, In: []byte("GET /socket.io/?EIO"), Addr: []byte{10, 0, 0, 7}, Relayed: true, ProxyHeader: true,
				HTTP: HTTP{Timeout: 2, Left: -time.Millisecond, GiveUp: time.Minute, Served: true, Need: 99, Gathered: []byte("1\r\n"),
					Asked:    true,
					Exchange: Exchange{Method: "GET", Origin: "http://localhost", Preflight: "x-y", KeepAlive: true, HTTP10: true, Relayed: true}},
			},
			{ID: 1<<24 | 5, Kind: KindWebSocket},
		},
		Sessions: []Session{
			{
				WS: 1, Heartbeat: 25 * time.Second, Pinged: true, Closing: true, Reason: 8, Msgpack: true,
				Queue: []Message{{Frames: []byte{0x81, 1, '2'}, Volatile: true}},
				Socket: Socket{Phase: 2, Warned: true, Lead: 60_000, Issued: 1_800_000_000, Ahead: time.Millisecond,
					ID: "socket", UserID: "42", Until: 1_800_000_600_000, TokenID: 1 << 60,
					Rooms:    []Room{{Name: "user:42"}, {Name: "conversation:1", Announce: true, From: 17}},
					Position: 18, Recovers: true, Asks: true,
					Session:   Record{PID: "pid", Given: 18, Last: 16, At: 1_800_000_000_000, Fence: 77, Moves: 3, Unsaved: true, Lost: true, Gone: true},
					HasClaims: true, Email: "a@b", Role: "guest", NamesRooms: true, ClaimRooms: []string{"conversation:*"},
					Token: "token", Assembling: true, Packet: []byte("51-"), Attachments: [][]byte{{1, 2}}, Want: 2},
			},
			{
				WS: None, Polls: true, Heartbeat: -time.Second,
				Polling: Polling{SID: "AB01234567890123456789", Parked: 2, Post: None, Rest: []byte("4\x1e2"), Probe: 1<<24 | 5,
					Probed: true, Ahead: time.Second, Place: 3},
				Socket: Socket{Deadline: true, Left: 44 * time.Second},
			},
		},
		Departed: []Departed{{SID: "CD01234567890123456789", Left: time.Second}},
		Log:      "k3f9a",
		Absent:   []Absent{{Socket: Socket{Phase: 6, ID: "gone", Recovers: true, Session: Record{PID: "other"}}, Left: time.Second}},
	}
}

func everythingOfANode() *Node {
	return &Node{
		Rates:  []Rate{{Source: 1<<32 | 9, Ahead: time.Second}},
		Tokens: []Revoked{{Name: "jti", Until: 1_800_000_000}},
		Users:  []Revoked{{Name: "42", Issued: 1_700_000_000, Until: 1_800_000_000}},
		Log: Log{Identity: "k3f9a", Position: 18, Began: 3, Recent: []Event{{Hash: 1 << 63, Position: 17}}, InMemory: true, Last: 19,
			Entries: []Entry{{Position: 18, Exchange: "x", Key: "message.sent", ID: "i", App: "a", Trace: "t", Published: 1, Body: []byte("{}")}}},
		Vacant: []Vacancy{{Room: "conversation:1", User: "42", Left: time.Second}},
		Ended:  []Ended{{PID: "pid", User: "42", Record: []byte{1}, Age: time.Minute}},
		Cluster: Cluster{Member: true, Session: 1 << 40, Former: []int64{1<<40 - 1}, Live: true, Mark: "mark",
			Vacant:  []Vacancy{{Room: "conversation:2", User: "43", Left: time.Second}},
			Tallies: []Tally{{Room: "conversation:1", Node: 7, Members: 3}}, Orders: []string{"order"}},
		Counters: []Counter{{Name: "gateway_x_total", Value: 1 << 62}},
	}
}

func TestFormRoundTrip(t *testing.T) {
	body := AppendLoop(nil, everything())
	got, err := ReadLoop(body)
	if err != nil || !reflect.DeepEqual(got, everything()) {
		t.Errorf("read %+v, %v\nwrote %+v", got, err, everything())
	}
	node, err := ReadNode(AppendNode(nil, everythingOfANode()))
	if err != nil || !reflect.DeepEqual(node, everythingOfANode()) {
		t.Errorf("read %+v, %v", node, err)
	}
}

// The golden file was written by this version of the format. If the encoding differs
// from it, the format has changed, and Version must change.
func TestTheFormEqualsTheGoldenFile(t *testing.T) {
	for name, form := range map[string][]byte{
		"loop.v6.hex": AppendLoop(nil, everything()),
		"node.v6.hex": AppendNode(nil, everythingOfANode()),
	} {
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, []byte(hex.Dump(form)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		golden, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(golden) != hex.Dump(form) {
			t.Errorf("%s: encoded as\n%swant for version %d\n%s", name, hex.Dump(form), Version, golden)
		}
	}
}

func TestTruncatedAndExtendedFormsAreRefused(t *testing.T) {
	body := AppendLoop(nil, everything())
	for n := range body {
		if _, err := ReadLoop(body[:n]); !errors.Is(err, ErrForm) {
			t.Fatalf("the first %d of %d bytes: %v, want ErrForm", n, len(body), err)
		}
	}
	if _, err := ReadLoop(append(body, 0)); !errors.Is(err, ErrForm) {
		t.Errorf("with one byte more: %v, want ErrForm", err)
	}
	if _, err := ReadNode(nil); !errors.Is(err, ErrForm) {
		t.Errorf("an empty node: %v, want ErrForm", err)
	}
	long := bytes.Repeat([]byte{0xff}, 9)
	if _, err := ReadLoop(append(long, 0x7f)); err == nil || !strings.Contains(err.Error(), "not a form of this version") {
		t.Errorf("a list with a huge length: %v, want it refused", err)
	}
}

// Any input is either refused or decodes to a value that encodes to the same bytes.
func FuzzReadNode(f *testing.F) {
	f.Add(AppendNode(nil, everythingOfANode()))
	f.Add(AppendNode(nil, &Node{}))
	f.Fuzz(func(t *testing.T, body []byte) {
		n, err := ReadNode(body)
		if err != nil {
			return
		}
		if again := AppendNode(nil, n); !bytes.Equal(again, body) {
			t.Errorf("% x decodes to a value that encodes to % x", body, again)
		}
	})
}

// The same for a Loop.
func FuzzReadLoop(f *testing.F) {
	f.Add(AppendLoop(nil, everything()))
	f.Add(AppendLoop(nil, &Loop{}))
	f.Fuzz(func(t *testing.T, body []byte) {
		l, err := ReadLoop(body)
		if err != nil {
			return
		}
		if again := AppendLoop(nil, l); !bytes.Equal(again, body) {
			t.Errorf("% x decodes to a value that encodes to % x", body, again)
		}
	})
}
