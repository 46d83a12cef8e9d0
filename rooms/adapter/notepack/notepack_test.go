package notepack

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/internal/testkit"
)

// node is a Node process that says what a Socket.IO server makes of a message.
type node struct {
	in  io.Writer
	out *bufio.Scanner
}

func startNode(t *testing.T) *node {
	t.Helper()
	const dir = "../../../internal/e2e/js"
	testkit.NeedProgram(t, "node")
	testkit.NeedFile(t, dir+"/node_modules/notepack.io", "notepack.io of npm")
	cmd := exec.CommandContext(t.Context(), "node", "notepack.mjs")
	cmd.Dir = dir
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<24)
	return &node{in, lines}
}

func (n *node) ask(t *testing.T, message []byte) string {
	t.Helper()
	fmt.Fprintf(n.in, "%x\n", message)
	if !n.out.Scan() {
		t.Fatalf("no answer from Node: %v", n.out.Err())
	}
	return n.out.Text()
}

// packet is what our own clients are sent, in the form of node's answers.
func packet(message []byte) string {
	v, err := Decode(message)
	if err != nil {
		return "error"
	}
	text, binaries := v.AppendJSON([]byte{'['}, nil)
	text = append(text, ']')
	head := "2"
	if len(binaries) > 0 {
		head = fmt.Sprintf("5%d-", len(binaries))
	}
	parts := []string{hex.EncodeToString(append([]byte(head), text...))}
	for _, b := range binaries {
		parts = append(parts, hex.EncodeToString(b))
	}
	return strings.Join(parts, " ")
}

func TestReadsWhatNodeReads(t *testing.T) {
	n := startNode(t)
	cases := []struct{ name, message string }{
		{"undefined of version 2", "d40000"},
		{"undefined in an object", "82a161d40000a16201"},
		{"date of version 2", "d7000000018bcfe56800"},
		{"date of version 2 before 1970", "d700ffffffffffffffff"},
		{"array buffer of eight bytes", "c708000102030405060708"},
		{"timestamp 32", "d6ff65920080"},
		{"timestamp 64", "d7ff0000000165920080"},
		{"timestamp 96 with a far year", "c70cff00000000000000e8d4a51000"},
		{"timestamp 96 before the year 0", "c70cff1dcd6500fffffff0f0000000"},
		{"invalid date", "c70cff000000007fffffff00000000"},
		{"unknown extension", "d40501"},
		{"2^53+1", "cf0020000000000001"},
		{"-2^63", "d38000000000000000"},
		{"1e21 as a float", "cb444b1ae4d6e2ef50"},
		{"small float", "cb3e7ad7f29abcaf48"},
		{"minus zero", "cb8000000000000000"},
		{"not a number", "cb7ff8000000000000"},
		{"float32", "ca3dcccccd"},
		{"index keys come first", "83a16201a23130c0a13102"},
		{"the same key twice", "82a16101a16102"},
		{"__proto__", "82a95f5f70726f746f5f5f81a161c3a16201"},
		{"a numeric key", "8101a161"},
		{"escapes", "ab08090a0c0d1f7f225c2f41"},
		{"U+2028", "a3e280a8"},
		{"lone surrogate", "a3eda080"},
		{"cut character", "a4e2826141"},
		{"stray bytes", "a6ff80c0aff5f0"},
		{"trailing byte", "c000"},
		{"nothing", ""},
		{"reserved", "c1"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			message, err := hex.DecodeString(c.message)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := packet(message), n.ask(t, message); got != want {
				t.Errorf("got  %s\nwant %s", readable(got), readable(want))
			}
		})
	}
	t.Run("random values", func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 2))
		for range 3000 {
			message := randomValue(r, nil, 0)
			if got, want := packet(message), n.ask(t, message); got != want {
				t.Fatalf("%x\ngot  %s\nwant %s", message, readable(got), readable(want))
			}
		}
	})
}

func readable(packet string) string {
	text, _, _ := strings.Cut(packet, " ")
	raw, err := hex.DecodeString(text)
	if err != nil {
		return packet
	}
	return string(raw)
}

// randomValue appends a message that notepack could have written, or nearly.
func randomValue(r *rand.Rand, b []byte, depth int) []byte {
	kinds := 12
	if depth < 4 {
		kinds = 16
	}
	switch k := r.IntN(kinds); k {
	case 0:
		return append(b, nilByte)
	case 1:
		return append(b, falseByte+byte(r.IntN(2)))
	case 2:
		return AppendInt(b, int64(r.Uint64())>>r.IntN(64))
	case 3:
		return binary.BigEndian.AppendUint64(append(b, float64Byte), math.Float64bits(math.Ldexp(r.NormFloat64(), r.IntN(200)-100)))
	case 4:
		return binary.BigEndian.AppendUint64(append(b, uint8Byte+3), r.Uint64())
	case 5, 6:
		return AppendString(b, randomText(r))
	case 7:
		n := r.IntN(9)
		b = append(b, bin8, byte(n))
		return appendRandom(r, b, n)
	case 8:
		n := r.IntN(9)
		return appendRandom(r, append(b, ext8, byte(n), 0), n)
	case 9:
		return append(b, fixExt1, 0, byte(r.IntN(2)))
	case 10:
		return binary.BigEndian.AppendUint64(append(b, fixExt1+3, 0), uint64(r.Int64N(1<<50)-1<<49))
	case 11:
		return binary.BigEndian.AppendUint32(append(b, fixExt1+2, 0xff), r.Uint32())
	case 12, 13:
		n := r.IntN(20)
		b = AppendArray(b, n)
		for range n {
			b = randomValue(r, b, depth+1)
		}
		return b
	default:
		n := r.IntN(20)
		b = AppendMap(b, n)
		for range n {
			b = AppendString(b, []string{"a", "b", "7", "07", "10", "", "é", "_", "4294967295", "toString"}[r.IntN(10)])
			b = randomValue(r, b, depth+1)
		}
		return b
	}
}

func appendRandom(r *rand.Rand, b []byte, n int) []byte {
	for range n {
		b = append(b, byte(r.Uint32()))
	}
	return b
}

func randomText(r *rand.Rand) []byte {
	var b []byte
	for range r.IntN(40) {
		switch r.IntN(4) {
		case 0:
			b = append(b, byte(r.Uint32()))
		case 1:
			b = append(b, string(rune(r.IntN(0x110000)))...)
		default:
			b = append(b, byte(r.IntN(128)))
		}
	}
	return b
}

func TestNodeReadsWhatIsWritten(t *testing.T) {
	n := startNode(t)
	for _, text := range []string{
		`null`, `true`, `false`, `0`, `-1`, `127`, `128`, `-32`, `-33`, `65536`, `4294967296`, `-4294967297`,
		`9007199254740991`, `1.5`, `1e+21`, `1e-7`, `""`, `"é\n\u2028"`, `[]`, `{}`, `[1,[2,{"a":[]}]]`,
		`{"b":1,"a":{"c":"` + strings.Repeat("x", 300) + `"}}`,
		`["` + strings.Repeat("y", 70000) + `"]`,
		"[" + strings.Repeat("1,", 70000) + "1]",
	} {
		message := AppendFromJSON(nil, []byte(text))
		// Node's own JSON.stringify of the text has neither spaces nor escapes that are not needed.
		want := strings.ReplaceAll(text, `\u2028`, "\u2028")
		if got := readable(n.ask(t, message)); got != "2["+want+"]" {
			t.Errorf("%.60s: Node reads %.80s", text, got)
		}
	}
}

func TestHostileLengthsAreRefusedBeforeMemoryIsTaken(t *testing.T) {
	for _, message := range []string{
		"c9ffffffff00", "ddffffffff", "dfffffffff", "dbffffffff", "c6ffffffff", "dcffff00", "deffff00",
		strings.Repeat("91", MaxDepth+1) + "c0",
	} {
		b, _ := hex.DecodeString(message)
		if allocs := testing.AllocsPerRun(1, func() {
			if _, err := Decode(b); err == nil {
				t.Errorf("%.20s was read", message)
			}
		}); allocs > 2*MaxDepth {
			t.Errorf("%.20s: %v allocations", message, allocs)
		}
	}
	if _, err := Decode([]byte{nilByte, 0}); !errors.Is(err, ErrTrailing) {
		t.Errorf("a byte behind the value: %v", err)
	}
}

// A message of 100 KB once took 1 GB: each of its arrays was given room for as
// many elements as bytes were left.
func TestArraysThatLieAboutTheirLengthsTakeLittle(t *testing.T) {
	var b []byte
	for range MaxDepth {
		b = binary.BigEndian.AppendUint32(append(b, array16+1), 50_000)
	}
	b = append(b, make([]byte, 100_000)...)
	b[len(b)-1] = 0xc1 // no value begins with it
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := Decode(b); err == nil {
		t.Error("was read")
	}
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 64<<20 {
		t.Errorf("%d MB were allocated for %d bytes", took>>20, len(b))
	}
}

// A text whose depth is the limit of codec.ValidJSON is read once, not once for
// each array around a value: 100 KB took 2 s.
func TestDeepTextsAreWrittenInOnePass(t *testing.T) {
	const depth, numbers = 500, 50_000
	deep := []byte(strings.Repeat("[", depth) + strings.Repeat("1,", numbers) + "1" + strings.Repeat("]", depth))
	flat := []byte("[" + strings.Repeat("1,", numbers+depth) + "1]")
	quickest := func(text []byte) (best time.Duration) {
		for range 3 {
			began := time.Now()
			AppendFromJSON(nil, text)
			if took := time.Since(began); best == 0 || took < best {
				best = took
			}
		}
		return best
	}
	if d, f := quickest(deep), quickest(flat); d > 50*f {
		t.Errorf("%v for a text of %d bytes and %d arrays, %v for one of a single array", d, len(deep), depth, f)
	}
}

func FuzzDecode(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 40 {
		f.Add(randomValue(r, nil, 0))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := Decode(b)
		if err != nil {
			return
		}
		text, _ := v.AppendJSON(nil, nil)
		if !codec.ValidJSON(text) {
			t.Fatalf("% x became %q", b, text)
		}
		again, err := Decode(AppendFromJSON(nil, text))
		if err != nil {
			t.Fatalf("%q written and read again: %v", text, err)
		}
		if second, _ := again.AppendJSON(nil, nil); !bytes.Equal(second, text) {
			t.Fatalf("%q became %q", text, second)
		}
	})
}
