package codec

import (
	"encoding/json"
	"strings"
	"testing"
)

// validJSON and invalidJSON are texts. The tests also ask encoding/json about each, so
// that the tables cannot be wrong.
var validJSON = []string{
	"{}", "[]", " [ ] ", "\t{\r\n}", "null", "true", "false", "0", "-0", "-0.0", "1", "10", "1.5", "1e9", "1E-9", "1.25e+10",
	`""`, `"a"`, `"\"\\\/\b\f\n\r\t"`, `"\u00e9\uD83D\ude00"`, `"\ud800"`, `"é€😀"`, "\"\x7f\"", "\"\xff\"",
	`[1,2,3]`, `[[],{},"",0,null]`, `{"a":1}`, `{"a":{"b":[{"c":null}]}}`, "{ \"a\" : 1 , \"b\" : 2 }", `{"":0}`, `{"a":1,"a":2}`,
	`"1234567"`, `"12345678"`, `"123456789"`, `"1234567\n"`, `"12345678\n"`, `"1234567é890123\"45"`, `"éééééééééé"`,
	`["typing",{"roomType":"conversation","roomId":"42"}]`,
}

var invalidJSON = []string{
	"", " ", "x", "nul", "nulll", "True", "tru", "fals", "NaN", "Infinity", "undefined", "'a'",
	"-", "+1", "01", "-01", "1.", ".5", "1e", "1e+", "0x1", "1_0", "1 2", "--1", "١",
	`"`, `"a`, `a"`, `"\"`, `"\x"`, `"\u"`, `"\u12"`, `"\u123`, `"\u123g"`, `"\`, `"\U0041"`, "\"\n\"", "\"\x00\"", "\"1234567\x1f90123456\"", `"a"b"`,
	"[", "]", "[,]", "[1,]", "[1 2]", "[1", "[1}", "[1,,2]", "[]]",
	"{", "}", "{,}", `{"a"}`, `{"a":}`, `{"a":1,}`, `{"a" 1}`, `{a:1}`, `{1:1}`, `{"a":1`, `{"a":1]`, `{"a":1 "b":2}`, `{"a"::1}`, `{"a",1}`, `{"a":1,,"b":2}`,
	"\ufeff{}", "{}\x00", "[1]//", "/**/1",
}

func TestValidJSON(t *testing.T) {
	for _, text := range validJSON {
		if !ValidJSON([]byte(text)) || !json.Valid([]byte(text)) {
			t.Errorf("%q is refused", text)
		}
	}
	for _, text := range invalidJSON {
		if ValidJSON([]byte(text)) || json.Valid([]byte(text)) {
			t.Errorf("%q is accepted", text)
		}
	}
}

func TestValidJSONCutShort(t *testing.T) {
	for _, text := range validJSON {
		text = strings.TrimSpace(text)
		if c := text[0]; c == '-' || c >= '0' && c <= '9' { // the beginning of a number is a number
			continue
		}
		for i := range len(text) {
			if ValidJSON([]byte(text[:i])) {
				t.Errorf("first %d bytes of %q are accepted", i, text)
			}
		}
	}
}

// Each byte at each position of short strings, some shorter and some longer than the
// words the scanner reads, gets the same result as in encoding/json.
func TestValidJSONSeesEveryByte(t *testing.T) {
	for length := range 20 {
		for at := range length {
			for c := range 256 {
				text := []byte(`"` + strings.Repeat("é", length/2) + strings.Repeat("x", length%2) + `"`)
				text[1+at] = byte(c)
				if got, want := ValidJSON(text), json.Valid(text); got != want {
					t.Fatalf("%q: %v, want %v", text, got, want)
				}
			}
		}
	}
}

func TestValidJSONLimitsDepth(t *testing.T) {
	for _, tt := range []struct {
		open, shut string
		levels     int
	}{
		{"[", "]", 1},
		{`{"a":`, "}", 1},
		{`[{"a":`, "}]", 2},
	} {
		nested := func(levels int) []byte {
			n := levels / tt.levels
			return []byte(strings.Repeat(tt.open, n) + "0" + strings.Repeat(tt.shut, n))
		}
		if !ValidJSON(nested(maxJSONDepth)) {
			t.Errorf("%d levels of %s are refused", maxJSONDepth, tt.open)
		}
		if ValidJSON(nested(maxJSONDepth + tt.levels)) {
			t.Errorf("%d levels of %s are accepted", maxJSONDepth+tt.levels, tt.open)
		}
		if ValidJSON([]byte(strings.Repeat(tt.open, 1<<20))) {
			t.Errorf("endless %s is accepted", tt.open)
		}
	}
	if ValidJSON([]byte(strings.Repeat("[", maxJSONDepth+1) + strings.Repeat("]", maxJSONDepth+1))) {
		t.Error("an empty array below the deepest level is accepted")
	}
}

func TestMembers(t *testing.T) {
	type member struct{ key, value string }
	for _, tt := range []struct {
		object string
		want   []member
	}{
		{"{}", nil},
		{" { } ", nil},
		{`{"a":1}`, []member{{"a", "1"}}},
		{`{"roomType":"conversation","roomId":42}`, []member{{"roomType", `"conversation"`}, {"roomId", "42"}}},
		{"\t{ \"a\" : [1, 2] ,\n\"b\":{\"c\":{}}, \"\":null }", []member{{"a", "[1, 2]"}, {"b", `{"c":{}}`}, {"", "null"}}},
		{`{"a":1,"a":2}`, []member{{"a", "1"}, {"a", "2"}}},
		{`{"room\u0049d":"x","a\"b":"}"}`, []member{{"roomId", `"x"`}, {`a"b`, `"}"`}}},
		{`{"constructor":{"__proto__":1}}`, []member{{"constructor", `{"__proto__":1}`}}},
	} {
		var got []member
		for key, value := range Members([]byte(tt.object)) {
			got = append(got, member{string(key), string(value)})
		}
		if len(got) != len(tt.want) {
			t.Errorf("%s: members %q, want %q", tt.object, got, tt.want)
			continue
		}
		for i := range got {
			if got[i] != tt.want[i] {
				t.Errorf("%s: member %d is %q, want %q", tt.object, i, got[i], tt.want[i])
			}
		}
	}
}

// Anything but an object has no fields, and invalid text ends the iteration.
func TestMembersOfOtherThings(t *testing.T) {
	for _, text := range []string{
		"", " ", "null", "1", `"a"`, "[]", `["a",1]`, "}", `"a":1`, "{", `{"`, `{"a`, `{"a"`, `{"a"}`, `{"a":`, `{"a":}`,
		`{"a" 1}`, `{"ax1}`, `{"a";1}`, `{"\x":1}`, "{a:1}", "{1:1}", `{"a":x}`, `{"a":"`,
	} {
		for key, value := range Members([]byte(text)) {
			t.Errorf("%q: member %q: %q", text, key, value)
		}
	}
}

func TestElements(t *testing.T) {
	for text, want := range map[string]string{
		"[]": "", " [ ] ": "", "[1]": "1", ` [ "a" , {"b":[2]},[3] ] `: `"a"|{"b":[2]}|[3]`, "[1,1]": "1|1",
		"": "", "1": "", `{"a":1}`: "", `"[1]"`: "", ",1]": "", "[1,x]": "1", "[x]": "", "[": "",
	} {
		var got []string
		for element := range Elements([]byte(text)) {
			got = append(got, string(element))
		}
		if strings.Join(got, "|") != want {
			t.Errorf("%s: elements %q, want %q", text, got, want)
		}
	}
}

func TestIteratorsStop(t *testing.T) {
	for range Members([]byte(`{"a":1,"b":2}`)) {
		break
	}
	for range Elements([]byte("[1,2]")) {
		break
	}
}

// ScanObject accepts the same texts as encoding/json: each text of the tables alone,
// in an object, and truncated. It finds the same fields as Members.
func TestScanObjectAgreesWithEncodingJSON(t *testing.T) {
	var texts []string
	for _, text := range append(validJSON, invalidJSON...) {
		for _, text := range []string{text, `{"a":` + text + `}`, ` { "a" : ` + text + ` , "b":1 } `, `{"a":1,` + text + `}`, `{"a":` + text + `}x`} {
			texts = append(texts, text)
			for i := range len(text) {
				texts = append(texts, text[:i])
			}
		}
	}
	for _, text := range texts {
		var got, want []string
		valid := ScanObject([]byte(text), func(key, value []byte) { got = append(got, string(key), string(value)) })
		if object := json.Valid([]byte(text)) && strings.TrimSpace(text)[0] == '{'; valid != object {
			t.Fatalf("%q: an object %v, encoding/json says %v", text, valid, object)
		}
		for key, value := range Members([]byte(text)) {
			want = append(want, string(key), string(value))
		}
		if valid && strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("%q: members %q, want %q", text, got, want)
		}
	}
}

func TestText(t *testing.T) {
	for _, tt := range []struct{ value, want string }{
		{`""`, ""},
		{`"a"`, "a"},
		{`"Zoë 😀"`, "Zoë 😀"},
		{`"a\"b\\c\/d\b\f\n\r\t"`, "a\"b\\c/d\b\f\n\r\t"},
		{`"\u0041\u00e9\u20ac"`, "Aé€"},
		{`"\ud83d\ude00"`, "😀"},
		{`"\u0000"`, "\x00"},
		{`"\ud800"`, "\xed\xa0\x80"},
		{`"\udfff"`, "\xed\xbf\xbf"},
		{`"\ude00\ud83d"`, "\xed\xb8\x80\xed\xa0\xbd"},
		{`"\ud800\ud83d\ude00"`, "\xed\xa0\x80😀"},
		{`"\uD83D\uDE00\u00E9x"`, "😀éx"},
		{`"\ud800x"`, "\xed\xa0\x80x"},
		{`"\ud800\u0041"`, "\xed\xa0\x80A"},
	} {
		got, ok := Text([]byte(tt.value))
		if !ok || string(got) != tt.want {
			t.Errorf("%s decodes to %q (%v), want %q", tt.value, got, ok, tt.want)
		}
	}
	for _, value := range []string{"", `"`, "1", "null", "[]", `{"a":"b"}`, `'a'`, `"a`, `a"`, `"\`, `"\"`, `"\x"`, `"\u12"`, `"\ud800\u12"`, `"\n"x"`} {
		if got, ok := Text([]byte(value)); ok || got != nil {
			t.Errorf("%s decodes to %q, want it refused", value, got)
		}
	}
}

func TestAppendString(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", `""`},
		{"conversation:42", `"conversation:42"`},
		{`a"b\c/d`, `"a\"b\\c/d"`},
		{"\x00\x1f\n\x7f", "\"\\u0000\\u001f\\u000a\x7f\""},
		{"Zoë 😀 \u2028", "\"Zoë 😀 \u2028\""},
		{"<&>", `"<&>"`},
		{"\ufffd", "\"\ufffd\""},
		{"a\xffb", "\"a\ufffdb\""},
		{"\xff\xfe", "\"\ufffd\ufffd\""},
		{"cut \xf0\x9f\x98", "\"cut \ufffd\ufffd\ufffd\""},
		{"\xed\xa0\x80", `"\ud800"`}, // unpaired surrogates, as JSON.stringify writes them
		{"a\xed\xa0\xbdb\xed\xbf\xbf", `"a\ud83db\udfff"`},
		{"\xed\x9f\xbf", "\"\ud7ff\""}, // the last character before the surrogates
		{"\xed\xa0", "\"\ufffd\ufffd\""},
		{"\xc0\x80", "\"\ufffd\ufffd\""}, // an overlong NUL
	} {
		if got := string(AppendString([]byte("x"), tt.text)); got != "x"+tt.want {
			t.Errorf("%q is written as %s, want %s", tt.text, got[1:], tt.want)
		}
	}
}

func TestJSONTextKeepsSurrogates(t *testing.T) {
	for _, value := range []string{`"\ud83d"`, `"a\udfff\"b"`, `"Zoë 😀"`, `""`} {
		var text JSONText
		if err := json.Unmarshal([]byte(value), &text); err != nil {
			t.Fatalf("%s: %v", value, err)
		}
		back, err := json.Marshal(text)
		if err != nil || string(back) != value {
			t.Errorf("%s read and written: %s, %v", value, back, err)
		}
	}
	var text JSONText
	if err := json.Unmarshal([]byte("42"), &text); err == nil {
		t.Errorf("a number is the text %q", text)
	}
}

func TestValidText(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "Zoë": "Zoë", "a\xff\xfeb": "a\ufffdb", "\xed\xa0\xbd": "\xed\xa0\xbd",
		"\xff\xed\xa0\xbd\xed\xb0\x80\xffx": "\ufffd\xed\xa0\xbd\xed\xb0\x80\ufffdx", "\xed\xa0": "\ufffd",
	} {
		if got := ValidText([]byte(text)); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
