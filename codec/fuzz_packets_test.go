package codec

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzPayload checks that a long-polling body is split as strings.Split does, and
// tests the encoding of each packet.
func FuzzPayload(f *testing.F) {
	for _, sample := range payloadSamples {
		f.Add([]byte(sample.body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		want := bytes.Split(body, []byte{payloadSeparator})
		rest := body
		for i := 0; i == 0 || rest != nil; i++ {
			var packet []byte
			packet, rest = NextPacket(rest)
			if i >= len(want) || !bytes.Equal(packet, want[i]) {
				t.Fatalf("packet %d of %q is %q", i, body, packet)
			}
			if (rest == nil) != (i == len(want)-1) {
				t.Fatalf("packet %d of %d: rest %q", i, len(want), rest)
			}
			fuzzEnginePacket(t, packet)
		}
	})
}

func fuzzEnginePacket(t *testing.T, packet []byte) {
	typ, content, err := ParseEnginePacket(packet)
	if valid := len(packet) > 0 && packet[0] >= '0' && packet[0] <= '6'; valid != (err == nil) {
		t.Errorf("packet %q: %v", packet, err)
	} else if valid && string(typ)+string(content) != string(packet) {
		t.Errorf("packet %q: type %c, content %q", packet, typ, content)
	}
	data, err := DecodeBinaryPacket(packet)
	if !IsBinaryPacket(packet) {
		if err == nil {
			t.Errorf("text packet %q decoded to % x", packet, data)
		}
		return
	}
	want, wantErr := base64.StdEncoding.DecodeString(string(packet[1:]))
	if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(data, want) {
		t.Errorf("packet %q: % x, %v; want % x, %v", packet, data, err, want, wantErr)
	}
	if err == nil {
		again, err := DecodeBinaryPacket(newBinary(data).AppendPayload(nil))
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("% x written and read again: % x, %v", data, again, err)
		}
	}
}

// FuzzParseSocketPacket encodes a parsed packet again. The result must be the same
// bytes, except for zeros before numbers and the name of the root namespace.
func FuzzParseSocketPacket(f *testing.F) {
	for _, sample := range socketSamples {
		f.Add([]byte(sample.text))
	}
	for _, refused := range refusedPackets {
		f.Add([]byte(refused.text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseSocketPacket(b)
		if err != nil {
			return
		}
		if p.Data != nil && !json.Valid(p.Data) {
			t.Errorf("%q: data %q is not JSON", b, p.Data)
		}
		if p.Attachments < 0 || p.Attachments > MaxAttachments || p.ID < NoAck || p.ID > maxAckID {
			t.Errorf("%q: %+v", b, p)
		}
		again := appendSocketPacket(nil, &p)
		q, err := ParseSocketPacket(again)
		if err != nil || !samePacket(&p, &q) {
			t.Errorf("%q: %+v, written as %q: %+v, %v", b, p, again, q, err)
		}
		if !bytes.HasSuffix(b, p.Data) || len(again) > len(b)+1 {
			t.Errorf("%q: written as %q", b, again)
		}
	})
}

// appendSocketPacket encodes a packet as the protocol document says.
func appendSocketPacket(dst []byte, p *SocketPacket) []byte {
	dst = append(dst, byte(p.Type))
	if p.Type == SocketBinaryEvent || p.Type == SocketBinaryAck {
		dst = append(strconv.AppendInt(dst, int64(p.Attachments), 10), '-')
	}
	if p.Namespace != nil {
		dst = append(append(dst, p.Namespace...), ',')
	}
	if p.ID != NoAck {
		dst = strconv.AppendInt(dst, p.ID, 10)
	}
	return append(dst, p.Data...)
}

// FuzzValidJSON compares ValidJSON with encoding/json, except for texts nested deeper
// than allowed.
func FuzzValidJSON(f *testing.F) {
	for _, text := range append(validJSON, invalidJSON...) {
		f.Add([]byte(text))
	}
	f.Add([]byte(strings.Repeat("[", maxJSONDepth+1) + strings.Repeat("]", maxJSONDepth+1)))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, want := ValidJSON(b), json.Valid(b)
		if got != want && (got || jsonDepth(b) <= maxJSONDepth) {
			t.Errorf("%q: valid %v, encoding/json says %v", b, got, want)
		}
		object := ScanObject(b, func([]byte, []byte) {})
		isObject := want && bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte("{"))
		if object != isObject && jsonDepth(b) <= maxJSONDepth {
			t.Errorf("%q: an object %v, encoding/json says %v", b, object, isObject)
		}
	})
}

// jsonDepth returns the nesting depth of arrays and objects in a valid text.
func jsonDepth(b []byte) (deepest int) {
	dec := json.NewDecoder(bytes.NewReader(b))
	depth := 0
	for {
		token, err := dec.Token()
		if err != nil {
			return deepest
		}
		switch token {
		case json.Delim('['), json.Delim('{'):
			depth++
			deepest = max(deepest, depth)
		case json.Delim(']'), json.Delim('}'):
			depth--
		}
	}
}

// FuzzEvent compares ParseEvent, NextArg and Members with encoding/json: a valid array
// must have the same elements, and each object in it the same fields. Other input must
// not panic.
func FuzzEvent(f *testing.F) {
	for _, sample := range eventSamples {
		f.Add([]byte(sample.data))
	}
	for _, text := range append(validJSON, invalidJSON...) {
		f.Add([]byte(`["a",` + text + `,{"b":` + text + `}]`))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		name, args, err := ParseEvent(data)
		walk := args
		var got [][]byte
		for arg, rest := NextArg(walk); arg != nil; arg, rest = NextArg(rest) {
			got = append(got, arg)
			walkMembers(t, arg)
		}
		if !ValidJSON(data) || !utf8.Valid(data) || data[0] != '[' {
			return
		}
		var want []json.RawMessage
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatalf("%q: %v", data, err)
		}
		var wantName string
		if len(want) == 0 || json.Unmarshal(want[0], &wantName) != nil || string(want[0]) == "null" || ReservedEvent(wantName) {
			if err == nil {
				t.Errorf("%q: event %q", data, name)
			}
			return
		}
		if err != nil || string(name) != wantName {
			t.Fatalf("%q: event %q, %v; want %q", data, name, err, wantName)
		}
		if len(got) != len(want)-1 {
			t.Fatalf("%q: arguments %q, want %q", data, got, want[1:])
		}
		for i, arg := range got {
			if !bytes.Equal(arg, want[i+1]) {
				t.Errorf("%q: argument %d is %q, want %q", data, i, arg, want[i+1])
			}
		}
	})
}

func walkMembers(t *testing.T, object []byte) {
	got := map[string]string{}
	for key, value := range Members(object) {
		got[string(key)] = string(value)
	}
	var want map[string]json.RawMessage
	if !utf8.Valid(object) || json.Unmarshal(object, &want) != nil {
		return
	}
	if len(got) != len(want) {
		t.Fatalf("%q: members %q, want %q", object, got, want)
	}
	for key, value := range want {
		if got[key] != string(value) {
			t.Errorf("%q: member %q is %q, want %q", object, key, got[key], value)
		}
	}
}

// FuzzText compares Text with encoding/json for any JSON string.
func FuzzText(f *testing.F) {
	for _, text := range validJSON {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		got, ok := Text(value)
		var want string
		if json.Unmarshal(value, &want) != nil || value[0] != '"' || value[len(value)-1] != '"' || !utf8.Valid(value) {
			return // not a bare JSON string
		}
		if read := withoutSurrogates(string(got)); !ok || read != want {
			t.Errorf("%q decodes to %q (%v), want %q", value, got, ok, want)
		}
		if back, ok := Text(AppendString(nil, string(got))); !ok || string(back) != string(got) && len(back) >= len(got) {
			t.Errorf("%q written and read: %q (%v)", got, back, ok) // shorter: two unpaired surrogates have formed a pair
		}
	})
}

// withoutSurrogates replaces unpaired surrogates by U+FFFD, as encoding/json does.
func withoutSurrogates(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if _, ok := surrogate(text[i:]); ok {
			b.WriteString("\ufffd")
			i += 2
		} else {
			b.WriteByte(text[i])
		}
	}
	return b.String()
}

// FuzzAppendString compares AppendString with encoding/json for any string.
func FuzzAppendString(f *testing.F) {
	for _, text := range []string{"", "conversation:42", "a\"b\\c", "\x00\x1f\x7f", "Zoë 😀\u2028", "<&>", "\xff", "\xf0\x9f\x98", "\xed\xa0\x80"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, s string) {
		text := AppendString(nil, s)
		var theirs bytes.Buffer
		enc := json.NewEncoder(&theirs)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(s); err != nil {
			t.Fatal(err)
		}
		var got, want string
		if err := json.Unmarshal(text, &got); err != nil || !utf8.Valid(text) || !ValidJSON(text) {
			t.Fatalf("%q is written as %q: %v", s, text, err)
		}
		if withoutSurrogates(s) != s {
			return // encoding/json replaces each of the three bytes
		}
		if err := json.Unmarshal(theirs.Bytes(), &want); err != nil || got != want {
			t.Errorf("%q reads as %q, encoding/json makes %q of it, %v", s, got, want, err)
		}
		if back, ok := Text(text); !ok || string(back) != want {
			t.Errorf("%q written and read: %q (%v), want %q", s, back, ok, want)
		}
	})
}
