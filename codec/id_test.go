package codec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	"github.com/hometrip/gateway/internal/testkit"
)

// JSON strings and numbers become ids as JavaScript prints them, except that whole
// numbers are not rounded. Other values, and ids that are too long, are refused.
func TestID(t *testing.T) {
	for value, want := range map[string]string{
		`"42"`: "42", `42`: "42", `42.0`: "42", `4.2e1`: "42", `420e-1`: "42", `0.42E+2`: "42",
		`-7`: "-7", `-7.00`: "-7", `0`: "0", `-0`: "0", `-0.0`: "0", `0e5`: "0", `1e-999`: "0",
		`1e21`: "1e+21", `1000000000000000000000`: "1e+21", `1e20`: "100000000000000000000", `-1e21`: "-1e+21",
		`1.5`: "1.5", `1.50`: "1.5", `0.000001`: "0.000001", `0.0000001`: "1e-7", `1.25e-10`: "1.25e-10", `1e300`: "1e+300",
		`9007199254740992`: "9007199254740992", `123456789012345`: "123456789012345", `1234567890123456`: "1234567890123456",

		// numbers that JavaScript would round
		`9007199254740993`: "9007199254740993", `9007199254740993.0`: "9007199254740993", `-9007199254740993`: "-9007199254740993",
		`900719925474099300e-2`: "9007199254740993", `9007199254740993e2`: "900719925474099300",
		`12345678901234567890123`: "12345678901234567890123",

		`"\u00e9"`: "é", `"a:b"`: "a:b", `" "`: " ",
	} {
		if got, ok := ID([]byte(value)); !ok || string(got) != want {
			t.Errorf("%s is id %q, %v; want %q", value, got, ok, want)
		}
	}
	long := strings.Repeat("x", MaxID)
	if id, ok := ID([]byte(`"` + long + `"`)); !ok || string(id) != long {
		t.Errorf("a string of %d bytes is no id, want it accepted", len(long))
	}
	for _, value := range []string{
		``, `null`, `true`, `false`, `{}`, `[42]`, `""`, `1e309`, `-1e309`, `1e99999999999999999999`,
		`"x` + long + `"`, strings.Repeat("1", MaxID+1),
	} {
		if id, ok := ID([]byte(value)); ok {
			t.Errorf("%.40s is id %q", value, id)
		}
	}
}

// Two whole numbers are the same id if and only if they are the same number.
func TestDistinctWholeNumbersHaveDistinctIDs(t *testing.T) {
	seen := make(map[string]string)
	for _, base := range []string{"90071992547409", "11529215046068469", "1000000000000000000", "-90071992547409"} {
		for n := range 1000 {
			value := fmt.Sprintf("%s%03d", base, n)
			id, ok := ID([]byte(value))
			if other, twice := seen[string(id)]; !ok || twice {
				t.Fatalf("%s is id %q, as is %q", value, id, other)
			}
			seen[string(id)] = value
			if again, _ := ID([]byte(value + ".0")); !bytes.Equal(again, id) {
				t.Fatalf("%s.0 is id %q, without .0 %q", value, again, id)
			}
		}
	}
}

// A number that JavaScript does not round has the id that JavaScript prints.
func TestIDsOfNumbersEqualJavaScriptsText(t *testing.T) {
	testkit.NeedProgram(t, "node")
	var numbers []string
	r := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		numbers = append(numbers,
			fmt.Sprint(r.Int64N(1<<53)), fmt.Sprint(-r.Int64N(1<<53)), fmt.Sprintf("%d.0", r.IntN(1e6)),
			fmt.Sprintf("%de%d", r.IntN(1e6), r.IntN(8)), fmt.Sprintf("%.*fe%d", r.IntN(12), r.Float64(), r.IntN(40)-20),
			fmt.Sprintf("%d.%de%d", r.IntN(10), r.IntN(1000), r.IntN(600)-300))
	}
	cmd := exec.Command("node", "-e", `
		const numbers = JSON.parse(require("fs").readFileSync(0, "utf8"))
		console.log(JSON.stringify(numbers.map(n => String(JSON.parse(n)))))`)
	input, _ := json.Marshal(numbers)
	cmd.Stdin = bytes.NewReader(input)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	if err := json.Unmarshal(out, &texts); err != nil || len(texts) != len(numbers) {
		t.Fatalf("%d texts for %d numbers: %v", len(texts), len(numbers), err)
	}
	for i, number := range numbers {
		if got, ok := ID([]byte(number)); !ok || string(got) != texts[i] {
			t.Errorf("%s is id %q, %v; JavaScript has %q", number, got, ok, texts[i])
		}
	}
}

func FuzzID(f *testing.F) {
	for _, seed := range []string{`42`, `-0`, `1e21`, `"x"`, `9007199254740993.00e1`, `null`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		if !ValidJSON(value) {
			return
		}
		id, ok := ID(bytes.TrimSpace(value))
		if ok && (len(id) == 0 || len(id) > MaxID) {
			t.Fatalf("%q is an id of %d bytes", value, len(id))
		}
	})
}

func BenchmarkID(b *testing.B) {
	for _, value := range []string{`42`, `"42"`, `42.0`} {
		b.Run(value, func(b *testing.B) {
			v := []byte(value)
			b.ReportAllocs()
			for b.Loop() {
				ID(v)
			}
		})
	}
}
