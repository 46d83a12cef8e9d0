package codec

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// FuzzParseHead compares ParseHead with net/http: a head that ParseHead accepts must
// be accepted by http.ReadRequest with the same meaning. readRequest lists the
// exceptions.
func FuzzParseHead(f *testing.F) {
	for _, sample := range headSamples {
		f.Add([]byte(sample.text))
	}
	for _, refused := range refusedHeads {
		f.Add([]byte(refused.text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var h Head
		n, err := ParseHead(b, &h)
		wantPrefixesWait(t, b, n, err, func(b []byte) (int, error) { return ParseHead(b, new(Head)) })
		if n == 0 {
			return
		}
		req := readRequest(t, b[:n])
		if req == nil {
			return
		}
		if req.Method != string(h.Method) {
			t.Errorf("method %q, net/http has %q", h.Method, req.Method)
		}
		if length := max(h.ContentLength, 0); !h.Chunked && req.ContentLength != int64(length) {
			t.Errorf("content length %d, net/http has %d", length, req.ContentLength)
		}
		if chunked := len(req.TransferEncoding) > 0; h.Chunked != chunked {
			t.Errorf("chunked %v, net/http has %v", h.Chunked, chunked)
		}
		if h.KeepAlive == req.Close {
			t.Errorf("keep-alive %v, net/http closes %v", h.KeepAlive, req.Close)
		}
		target := string(h.Path)
		if h.Query != nil {
			target += "?" + string(h.Query)
		}
		if !strings.HasSuffix(req.RequestURI, target) || target != req.RequestURI && !strings.HasPrefix(req.RequestURI, "http") {
			t.Errorf("target %q, net/http has %q", target, req.RequestURI)
		}
		wantSameFields(t, &h, req)
	})
}

// readRequest parses a head, which ParseHead has accepted, with net/http. It
// returns nil for heads that only ParseHead accepts:
//   - a target that url.ParseRequestURI refuses (bad percent-encoding, invalid
//     hosts in the absolute form): the gateway compares targets as bytes, so such
//     a target is not found;
//   - a Trailer header that announces a framing header: the gateway drops trailers.
//
// An empty line before the request (RFC 9112 section 2.2) is removed before, as
// net/http does not skip it.
func readRequest(t *testing.T, head []byte) *http.Request {
	t.Helper()
	head = bytes.TrimPrefix(head, crlf)
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if err == nil {
		return req
	}
	target := strings.Split(string(head), " ")[1]
	if _, urlErr := url.ParseRequestURI(target); urlErr != nil {
		return nil
	}
	if strings.Contains(err.Error(), "bad trailer key") {
		return nil
	}
	t.Fatalf("ParseHead accepts %q, net/http does not: %v", head, err)
	return nil
}

// wantSameFields compares all header values with those of net/http, which moves Host,
// Transfer-Encoding and Trailer elsewhere, drops a redundant Content-Length, and adds
// a Cache-Control for Pragma: no-cache.
func wantSameFields(t *testing.T, h *Head, req *http.Request) {
	t.Helper()
	got := http.Header{}
	for rest := h.fields; len(rest) > 0; {
		name, value, r, err := nextField(rest)
		if err != nil {
			t.Fatal(err)
		}
		key := textproto.CanonicalMIMEHeaderKey(string(name))
		if _, seen := got[key]; !seen && string(h.Field(strings.ToLower(string(name)))) != string(value) {
			t.Errorf("Field(%q) = %q, the first line has %q", name, h.Field(strings.ToLower(string(name))), value)
		}
		got[key] = append(got[key], string(value))
		rest = r
	}
	if host := got.Get("Host"); req.URL.Host == "" && req.Host != host {
		t.Errorf("host %q, net/http has %q", host, req.Host)
	}
	for _, moved := range []string{"Host", "Transfer-Encoding", "Trailer", "Content-Length", "Cache-Control"} {
		delete(got, moved)
		delete(req.Header, moved)
	}
	if !reflect.DeepEqual(got, req.Header) {
		t.Errorf("headers %q, net/http has %q", got, req.Header)
	}
}

// wantPrefixesWait checks the rule of all stream parsers: as long as there are fewer
// bytes than they finally consume, they ask for more, and an input they refuse stays
// refused with more bytes.
func wantPrefixesWait(t *testing.T, b []byte, n int, err error, parse func([]byte) (int, error)) {
	t.Helper()
	if n < 0 || n > len(b) || n > 0 && err != nil {
		t.Fatalf("n = %d of %d, %v", n, len(b), err)
	}
	if len(b) > 256 { // to keep it fast
		return
	}
	for i := range len(b) {
		got, prefixErr := parse(b[:i])
		switch {
		case n > 0 && i < n && (got != 0 || prefixErr != nil):
			t.Fatalf("consumes %d bytes of %q, but of the first %d bytes: n = %d, %v", n, b, i, got, prefixErr)
		case n > 0 && i >= n && got != n:
			t.Fatalf("consumes %d bytes of %q, but of the first %d bytes: n = %d, %v", n, b, i, got, prefixErr)
		case n == 0 && got != 0:
			t.Fatalf("consumes nothing of %q (%v), but of the first %d bytes: n = %d", b, err, i, got)
		case err == nil && prefixErr != nil:
			t.Fatalf("asks for more than %q, but refused the first %d bytes: %v", b, i, prefixErr)
		}
	}
}

// FuzzParseChunked compares ParseChunked with net/http: a body that ParseChunked
// accepts must be accepted by net/http with the same content, unless net/http finds
// too much data besides the content.
func FuzzParseChunked(f *testing.F) {
	for _, sample := range chunkedSamples {
		f.Add([]byte(sample.text))
	}
	for _, refused := range refusedBodies {
		f.Add([]byte(refused.text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		const most = 1000
		body, n, err := ParseChunked(nil, b, most)
		wantPrefixesWait(t, b, n, err, func(b []byte) (int, error) {
			_, n, err := ParseChunked(nil, b, most)
			return n, err
		})
		if n == 0 {
			return
		}
		want, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(b[:n])))
		if err != nil && strings.Contains(err.Error(), "too much non-data") {
			return
		}
		if err != nil || !bytes.Equal(body, want) || len(body) > most {
			t.Errorf("body %q, net/http has %q, %v", body, want, err)
		}
	})
}

// FuzzParseFrameHeader compares ParseFrameHeader with ws.ReadHeader, which also
// accepts lengths that are not in their shortest form.
func FuzzParseFrameHeader(f *testing.F) {
	for _, sample := range frameSamples {
		f.Add(sample.wire)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := ParseFrameHeader(b)
		wantPrefixesWait(t, b, n, err, func(b []byte) (int, error) {
			_, n, err := ParseFrameHeader(b)
			return n, err
		})
		r := bytes.NewReader(b)
		want, wantErr := ws.ReadHeader(r)
		switch {
		case n > 0 && (wantErr != nil || h != want || n != len(b)-r.Len()):
			t.Errorf("got %+v, n = %d; want %+v, n = %d, %v", h, n, want, len(b)-r.Len(), wantErr)
		case n == 0 && err == nil && wantErr != io.EOF && wantErr != io.ErrUnexpectedEOF:
			t.Errorf("asks for more than %d bytes, the library says %v", len(b), wantErr)
		case err != nil && wantErr == nil && bytes.HasPrefix(b[1:], shortest(want)):
			t.Errorf("refuses %+v in its shortest form: %v", want, err)
		}
	})
}

// shortest returns the length field of h in its shortest form, with the mask bit.
func shortest(h ws.Header) []byte {
	length := AppendFrameHeader(nil, h.OpCode, int(h.Length))[1:]
	if h.Masked {
		length[0] |= 0x80
	}
	return length
}

// FuzzParseClose compares ParseClose with the library's check, which does not accept
// 1012 to 1014 and accepts codes above 4999.
func FuzzParseClose(f *testing.F) {
	for _, payload := range []string{"", "\x03", "\x03\xe8", "\x03\xe8Zo\xc3\xab", "\x03\xe8\xff", "\x03\xf4", "\x13\x88"} {
		f.Add([]byte(payload))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		got := ParseClose(payload)
		if len(payload) < 2 {
			return
		}
		code, reason := ws.ParseCloseFrameData(payload)
		want := code
		switch err := ws.CheckCloseFrameData(code, reason); {
		case code > 4999:
			want = ws.StatusProtocolError
		case code >= 1012 && code <= 1014 && utf8.ValidString(reason):
		case code >= 1012 && code <= 1014 || err == ws.ErrProtocolInvalidUTF8:
			want = ws.StatusInvalidFramePayloadData
		case err != nil:
			want = ws.StatusProtocolError
		}
		if got != want {
			t.Errorf("close %d %q is answered with %d, want %d", code, reason, got, want)
		}
	})
}
