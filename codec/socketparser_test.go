package codec

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/hometrip/gateway/internal/testkit"
)

// FuzzAgainstSocketIOParser compares ParseSocketPacket and ParseEvent with the npm
// package socket.io-parser, in the version of internal/e2e/js. A packet that it
// refuses must be refused, and a packet that both accept must have the same meaning.
// stricter lists the packets that only socket.io-parser accepts.
func FuzzAgainstSocketIOParser(f *testing.F) {
	for _, sample := range socketSamples {
		f.Add(sample.text)
	}
	for _, refused := range refusedPackets {
		f.Add(refused.text)
	}
	for _, sample := range eventSamples {
		f.Add("2" + sample.data)
	}
	for _, d := range stricter {
		for _, packet := range d.packets {
			f.Add(packet)
		}
	}
	for _, text := range slices.Concat(validJSON, invalidJSON) {
		f.Add(`2/x,7["a",` + text + `]`)
		f.Add(`0{"token":` + text + `,"token":"b"}`)
	}
	f.Fuzz(func(t *testing.T, packet string) {
		if !utf8.ValidString(packet) {
			return // the transports refuse other text
		}
		theirs := theirDecoder(t).decode(t, packet)
		p, name, args, err := parsePacketAndEvent(packet)
		switch {
		case theirs.Refused && err == nil:
			t.Errorf("%.200q: refused by socket.io-parser, %+v here", packet, p)
		case !theirs.Refused && err != nil:
			if why := stricterAbout(packet, &theirs); why == "" {
				t.Errorf("%.200q: refused here (%v), %+v by socket.io-parser", packet, err, theirs)
			}
		case err == nil:
			wantSameMeaning(t, packet, &p, name, args, &theirs)
		}
	})
}

func parsePacketAndEvent(packet string) (p SocketPacket, name, args []byte, err error) {
	p, err = ParseSocketPacket([]byte(packet))
	if err == nil && (p.Type == SocketEvent || p.Type == SocketBinaryEvent) {
		name, args, err = ParseEvent(p.Data)
	}
	return p, name, args, err
}

// decoded is a packet as socket.io-parser decodes it.
type decoded struct {
	Refused     bool
	Type        int
	NSP         string
	ID          string // as JavaScript prints the number; -1: none
	Attachments int
	Name        string  // an unpaired surrogate in a string, which has no UTF-8
	Data        *string // see canonical; nil: none
	Unpaired    bool    // a string has half a surrogate pair, which has no UTF-8
}

func wantSameMeaning(t *testing.T, packet string, p *SocketPacket, name, args []byte, theirs *decoded) {
	t.Helper()
	namespace := string(p.Namespace)
	if p.IsRoot() {
		namespace = RootNamespace
	}
	if p.ID == NoAck && theirs.ID == "0" && spaceForDigits.MatchString(packet) {
		theirs.ID = "-1" // socket.io-parser reads the space before the data as a zero
	}
	if int(p.Type-'0') != theirs.Type || namespace != theirs.NSP || strconv.FormatInt(p.ID, 10) != theirs.ID || p.Attachments != theirs.Attachments {
		t.Errorf("%.200q: %+v, socket.io-parser has %+v", packet, p, theirs)
	}
	if (p.Data == nil) != (theirs.Data == nil) {
		t.Fatalf("%.200q: data %q, socket.io-parser has %v", packet, p.Data, theirs.Data)
	}
	if p.Data == nil || theirs.Unpaired {
		return
	}
	data := canonicalData(t, p, name, args)
	if data != *theirs.Data {
		t.Errorf("%.200q: data %s, socket.io-parser has %s", packet, data, *theirs.Data)
	}
}

// canonicalData encodes data as this package reads it: the event's name and each
// argument, or each field of an object.
func canonicalData(t *testing.T, p *SocketPacket, name, args []byte) string {
	t.Helper()
	switch p.Type {
	case SocketConnect:
		members := make(map[string]any)
		for key, value := range Members(p.Data) {
			members[string(key)] = unmarshal(t, value)
		}
		return canonical(members)
	case SocketEvent, SocketBinaryEvent:
		values := []any{string(name)}
		for arg, rest := NextArg(args); arg != nil; arg, rest = NextArg(rest) {
			values = append(values, unmarshal(t, arg))
		}
		return canonical(values)
	}
	return canonical(unmarshal(t, p.Data))
}

func unmarshal(t *testing.T, text []byte) (value any) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber() // a float64 cannot hold 1e999, which is infinite in JavaScript
	if err := dec.Decode(&value); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return value
}

// canonical is the Go version of the function of this name in
// testdata/socketparser.cjs.
func canonical(value any) string {
	switch v := value.(type) {
	case json.Number:
		n, _ := strconv.ParseFloat(string(v), 64) // out of range: infinite, as in JavaScript
		return fmt.Sprintf("n%016x", math.Float64bits(n))
	case string:
		return "s" + hex.EncodeToString([]byte(v))
	case []any:
		items := make([]string, len(v))
		for i := range v {
			items[i] = canonical(v[i])
		}
		return "[" + strings.Join(items, ",") + "]"
	case map[string]any:
		var members []string
		for key, member := range v {
			members = append(members, canonical(key)+":"+canonical(member))
		}
		slices.Sort(members)
		return "{" + strings.Join(members, ",") + "}"
	case nil:
		return "null"
	}
	return fmt.Sprint(value) // true and false
}

// jsSpace matches what JavaScript's Number reads as white space: "" and " " are 0.
const jsSpace = `[\t\n\v\f\r \x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}]`

var (
	spaceForType   = regexp.MustCompile(`^(` + jsSpace + `|$)`)
	plainCount     = regexp.MustCompile(`^[56][0-9]{1,3}-`)
	spaceForDigits = regexp.MustCompile(`^[0-6]([^-]*-)?(/[^,]*,)?[0-9]*` + jsSpace)
)

// stricter lists what socket.io-parser accepts and this package refuses, with
// examples. No known client sends any of it.
var stricter = []struct {
	why     string
	is      func(packet string, theirs *decoded) bool
	packets []string
}{
	{
		"nothing, or white space, is no packet type: it reads it as CONNECT",
		func(packet string, _ *decoded) bool { return spaceForType.MatchString(packet) },
		[]string{"", " ", "\n{}", "\u00a0/x,"},
	},
	{
		"a count of attachments is one to three digits: it takes 1e0, 0x1 and 0001",
		func(packet string, theirs *decoded) bool {
			return theirs.Attachments > 0 && !plainCount.MatchString(packet)
		},
		[]string{`51e0-["a"]`, `50x1-["a"]`, `50001-["a"]`, `5 1-["a"]`},
	},
	{
		"an ack id is digits, with JSON's white space around: it takes any white space for zeros",
		func(packet string, _ *decoded) bool { return spaceForDigits.MatchString(packet) },
		[]string{"2\u00a0[\"a\"]", "21\v[\"a\"]", `21 2["a"]`, "0/x,\ufeff{}", "1/x,1\f"},
	},
	{
		"an ack id is below 2^53: it takes any, and rounds",
		func(_ string, theirs *decoded) bool {
			id, err := strconv.ParseFloat(theirs.ID, 64)
			return err == nil && id > maxAckID
		},
		[]string{`29007199254740992["a"]`, `2` + strings.Repeat("9", 400) + `["a"]`},
	},
	{
		"events and acks have data: it takes them without",
		func(_ string, theirs *decoded) bool {
			return theirs.Data == nil && strings.Contains("\x02\x03\x05\x06", string(rune(theirs.Type)))
		},
		[]string{"2", "3", "312", "2/x,", "51-", "61-/x,1"},
	},
	{
		"a client sends no CONNECT_ERROR",
		func(_ string, theirs *decoded) bool { return theirs.Type == 4 },
		[]string{"4", `4{"message":"x"}`, `4/x,"x"`},
	},
	{
		"the name of an event is a string: it takes numbers",
		func(_ string, theirs *decoded) bool { return theirs.Name == "number" },
		[]string{`2[1]`, `51-[1.5e3,{"_placeholder":true,"num":0}]`, `21[-0]`},
	},
	{
		"data is nested 512 deep at most",
		func(packet string, _ *decoded) bool {
			return strings.Count(packet, "[")+strings.Count(packet, "{") > maxJSONDepth
		},
		[]string{`2["a",` + strings.Repeat("[", maxJSONDepth) + strings.Repeat("]", maxJSONDepth) + `]`},
	},
}

func stricterAbout(packet string, theirs *decoded) (why string) {
	for _, d := range stricter {
		if d.is(packet, theirs) {
			return d.why
		}
	}
	return ""
}

// socket.io-parser accepts every example of stricter, and this package refuses it.
func TestStricterThanSocketIOParser(t *testing.T) {
	for _, d := range stricter {
		for _, packet := range d.packets {
			theirs := theirDecoder(t).decode(t, packet)
			if theirs.Refused || !d.is(packet, &theirs) {
				t.Errorf("%.40q: %+v, but %s", packet, theirs, d.why)
			}
			if p, _, _, err := parsePacketAndEvent(packet); err == nil {
				t.Errorf("%.40q: %+v, but %s", packet, p, d.why)
			}
		}
	}
}

// decoder is a Node process that runs as long as the test binary. It is owned by the
// test that runs.
type decoder struct {
	in  io.Writer
	out *bufio.Reader
}

var startDecoder = sync.OnceValues(func() (*decoder, error) {
	packages := filepath.Join("..", "internal", "e2e", "js")
	if _, err := os.Stat(filepath.Join(packages, "node_modules", "socket.io-parser")); err != nil {
		return nil, testkit.Missing("socket.io-parser")
	}
	if _, err := exec.LookPath("node"); err != nil {
		return nil, testkit.Missing("node")
	}
	script, err := filepath.Abs("testdata/socketparser.cjs")
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("node", script)
	cmd.Dir, cmd.Stderr = packages, os.Stderr
	in, err := cmd.StdinPipe() // the process ends when its input ends
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &decoder{in, bufio.NewReader(out)}, cmd.Start()
})

func theirDecoder(t *testing.T) *decoder {
	t.Helper()
	d, err := startDecoder()
	testkit.Need(t, err)
	return d
}

func (d *decoder) decode(t *testing.T, packet string) (theirs decoded) {
	t.Helper()
	if _, err := io.WriteString(d.in, base64.StdEncoding.EncodeToString([]byte(packet))+"\n"); err != nil {
		t.Fatalf("socket.io-parser: %v", err)
	}
	line, err := d.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &theirs)
	}
	if err != nil {
		t.Fatalf("socket.io-parser about %q: %q, %v", packet, line, err)
	}
	return theirs
}
