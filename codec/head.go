package codec

import (
	"bytes"
	"encoding/binary"
)

// A Head is a parsed HTTP/1.1 request head. Its slices are views into the
// bytes that were parsed.
type Head struct {
	Method []byte
	Path   []byte // without the query
	Query  []byte // without '?', undecoded

	ContentLength int  // bytes of the body; -1 when the head names none
	Chunked       bool // the body is chunked
	HTTP10        bool // the version is HTTP/1.0
	KeepAlive     bool // the connection may carry another request
	Continue      bool // the client waits for "100 Continue"
	WebSocket     bool // asks for an upgrade to WebSocket

	fields []byte // the header lines, each with its CRLF; checked by parseFields
}

const (
	// maxMethod limits the length of a method; the longest registered one has
	// 17 bytes.
	maxMethod = 24

	// maxContentLength keeps a length of many digits from overflowing, also
	// where an int has 32 bits. The caller enforces the real limit on bodies.
	maxContentLength = 1 << 30 // bytes
)

// ParseHead parses the request head at the start of b (RFC 9112 sections 2 to
// 6) and returns its length, the empty line included. n = 0 without an error
// means that b has no complete head yet; the caller limits how long it may
// become. h is valid only if n > 0.
//
// It is strict where leniency lets requests be smuggled past a proxy: CRLF
// only, no folded lines, no space before a colon, one Content-Length, one Host,
// no Transfer-Encoding but "chunked", none of it in HTTP/1.0, and never a
// Content-Length beside it.
func ParseHead(b []byte, h *Head) (n int, err error) {
	start := 0
	if bytes.HasPrefix(b, crlf) { // RFC 9112 section 2.2: an empty line before the request
		start = 2
	}
	end := bytes.Index(b[start:], crlfcrlf)
	if end < 0 {
		if bytes.HasPrefix(crlf, b) { // half of that empty line
			return 0, nil
		}
		return 0, checkMethod(b[start:])
	}
	if err := h.parse(b[start : start+end+2]); err != nil {
		return 0, err
	}
	return start + end + 4, nil
}

// ParseHeadStart parses the complete lines at the start of an incomplete head,
// as far as they are correct. They are used for the answer to a client whose
// head is too large.
func ParseHeadStart(b []byte, h *Head) {
	b = bytes.TrimPrefix(b, crlf)
	if end := bytes.LastIndex(b, crlf); end >= 0 {
		_ = h.parse(b[:end+2]) // h is what was correct
	}
}

// parse parses the lines of a head. With an error h has the fields before the
// line in question.
func (h *Head) parse(lines []byte) error {
	eol := bytes.Index(lines, crlf)
	*h = Head{ContentLength: -1}
	if err := h.parseRequestLine(lines[:eol]); err != nil {
		return err
	}
	h.fields = lines[eol+2:]
	return h.parseFields()
}

var (
	crlf     = []byte("\r\n")
	crlfcrlf = []byte("\r\n\r\n")
)

// checkMethod refuses what can never become a request (a TLS hello, a binary
// protocol) without waiting for the rest of it. Registered methods are capital
// letters and '-'.
func checkMethod(line []byte) error {
	for i, c := range line {
		switch {
		case c == ' ' && i > 0:
			return nil
		case i >= maxMethod || (c < 'A' || c > 'Z') && c != '-':
			return syntax(LayerHTTP, "no request method at %q", clip(line))
		}
	}
	return nil
}

func (h *Head) parseRequestLine(line []byte) error {
	if err := checkMethod(line); err != nil {
		return err
	}
	sp := bytes.IndexByte(line, ' ')
	if sp < 0 {
		return syntax(LayerHTTP, "malformed request line %q", clip(line))
	}
	h.Method = line[:sp]
	line = line[sp+1:]
	sp = bytes.IndexByte(line, ' ')
	if sp <= 0 {
		return syntax(LayerHTTP, "malformed request target %q", clip(line))
	}
	target := line[:sp]
	switch version := line[sp+1:]; {
	case string(version) == "HTTP/1.1":
		h.KeepAlive = true
	case string(version) == "HTTP/1.0":
		h.HTTP10 = true
	default:
		return syntax(LayerHTTP, "unsupported version %q", clip(version))
	}
	return h.parseTarget(target)
}

func (h *Head) parseTarget(target []byte) error {
	for _, c := range target {
		if c <= ' ' || c >= 0x7f {
			return syntax(LayerHTTP, "byte 0x%02x in request target", c)
		}
	}
	if bytes.HasPrefix(target, []byte("http://")) || bytes.HasPrefix(target, []byte("https://")) {
		// RFC 9112 section 3.2.2: a server accepts the absolute form.
		rest := target[bytes.Index(target, []byte("//"))+2:]
		end := bytes.IndexAny(rest, "/?#") // of the authority
		if end <= 0 || rest[end] != '/' {
			return syntax(LayerHTTP, "request target %q has no host or no path", clip(target))
		}
		target = rest[end:]
	}
	if target[0] != '/' && string(target) != "*" {
		return syntax(LayerHTTP, "request target %q does not start with /", clip(target))
	}
	h.Path = target
	if q := bytes.IndexByte(target, '?'); q >= 0 {
		h.Path, h.Query = target[:q], target[q+1:]
	}
	return nil
}

func (h *Head) parseFields() error {
	var upgrade, connUpgrade, connClose, host bool
	fields := h.fields
	for rest := fields; len(rest) > 0; {
		h.fields = fields[:len(fields)-len(rest)]
		var name, value []byte
		var err error
		if name, value, rest, err = nextField(rest); err != nil {
			return err
		}
		switch {
		case equalFold(name, "host"):
			if host { // two readers could take two different ones
				return syntax(LayerHTTP, "host %q is a second one", clip(value))
			}
			host = true
			if !isHost(value) && !(len(value) == 0 && h.HTTP10) {
				return syntax(LayerHTTP, "host %q is not host[:port]", clip(value))
			}
		case equalFold(name, "content-length"):
			if err := h.setContentLength(value); err != nil {
				return err
			}
		case equalFold(name, "transfer-encoding"):
			// In HTTP/1.0 it makes the framing faulty: RFC 9112 section 6.1.
			if h.Chunked || h.HTTP10 || !equalFold(value, "chunked") {
				return syntax(LayerHTTP, "transfer-encoding %q", clip(value))
			}
			h.Chunked = true
		case equalFold(name, "connection"):
			h.KeepAlive = h.KeepAlive || hasListItem(value, "keep-alive")
			connClose = connClose || hasListItem(value, "close")
			connUpgrade = connUpgrade || hasListItem(value, "upgrade")
		case equalFold(name, "upgrade"):
			upgrade = upgrade || hasListItem(value, "websocket")
		case equalFold(name, "expect"):
			if !equalFold(value, "100-continue") {
				return syntax(LayerHTTP, "expect %q", clip(value))
			}
			h.Continue = !h.HTTP10 // RFC 9110 section 10.1.1
		}
	}
	h.fields = fields
	if !host && !h.HTTP10 { // RFC 9112 section 3.2
		return syntax(LayerHTTP, "HTTP/1.1 without a host")
	}
	h.KeepAlive = h.KeepAlive && !connClose
	h.WebSocket = !h.HTTP10 && upgrade && connUpgrade // RFC 9110 section 7.8
	if h.Chunked && h.ContentLength >= 0 {
		return syntax(LayerHTTP, "both content-length and transfer-encoding")
	}
	return nil
}

func (h *Head) setContentLength(value []byte) error {
	if len(value) == 0 || h.ContentLength >= 0 {
		return syntax(LayerHTTP, "content-length %q empty or given twice", clip(value))
	}
	n := int64(0)
	for _, c := range value {
		if c < '0' || c > '9' {
			return syntax(LayerHTTP, "content-length %q", clip(value))
		}
		n = min(n*10+int64(c-'0'), maxContentLength+1)
	}
	if n > maxContentLength {
		return &LimitError{LayerHTTP, "content-length", int(n), maxContentLength}
	}
	h.ContentLength = int(n)
	return nil
}

// nextField splits the first header line off b.
func nextField(b []byte) (name, value, rest []byte, err error) {
	eol := bytes.IndexByte(b, '\r')
	if b[eol+1] != '\n' {
		return nil, nil, nil, syntax(LayerHTTP, "bare CR in header line %q", clip(b))
	}
	line := b[:eol]
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 || !isToken(line[:colon]) {
		return nil, nil, nil, syntax(LayerHTTP, "malformed header line %q", clip(line))
	}
	if i := indexControl(line[colon+1:]); i >= 0 {
		return nil, nil, nil, syntax(LayerHTTP, "byte 0x%02x in header %q", line[colon+1+i], clip(line[:colon]))
	}
	return line[:colon], trimSpace(line[colon+1:]), b[eol+2:], nil
}

// Field returns the value of the first header line of that lower-case name,
// nil when there is none; an empty value is not nil.
func (h *Head) Field(name string) []byte {
	for rest := h.fields; len(rest) > len(name); {
		eol := bytes.IndexByte(rest, '\r') // a checked line has no other
		if rest[len(name)] == ':' && equalFold(rest[:len(name)], name) {
			return trimSpace(rest[len(name)+1 : eol])
		}
		rest = rest[eol+2:]
	}
	return nil
}

// Fields calls do with the value of each header line of that lower-case name,
// in their order.
func (h *Head) Fields(name string, do func(value []byte)) {
	for rest := h.fields; len(rest) > len(name); {
		eol := bytes.IndexByte(rest, '\r')
		if rest[len(name)] == ':' && equalFold(rest[:len(name)], name) {
			do(trimSpace(rest[len(name)+1 : eol]))
		}
		rest = rest[eol+2:]
	}
}

// QueryValue returns the first value of key in an undecoded query string, nil
// when it is absent. Engine.IO's own keys and values need no decoding.
func QueryValue(query []byte, key string) []byte {
	for len(query) > 0 {
		pair := query
		if amp := bytes.IndexByte(query, '&'); amp >= 0 {
			pair, query = query[:amp], query[amp+1:]
		} else {
			query = nil
		}
		if len(pair) > len(key) && pair[len(key)] == '=' && string(pair[:len(key)]) == key {
			return pair[len(key)+1:]
		}
	}
	return nil
}

// hasListItem reports whether a comma-separated header value has the item,
// given in lower case.
func hasListItem(value []byte, item string) bool {
	for len(value) > 0 {
		var part []byte
		if part, value = NextItem(value); equalFold(part, item) {
			return true
		}
	}
	return false
}

// NextItem splits the first item off a comma-separated header value.
func NextItem(value []byte) (item, rest []byte) {
	if comma := bytes.IndexByte(value, ','); comma >= 0 {
		return trimSpace(value[:comma]), value[comma+1:]
	}
	return trimSpace(value), nil
}

// trimSpace cuts the optional whitespace around a value. Unlike bytes.Trim it
// leaves an empty slice where nothing remains, not nil.
func trimSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// indexControl returns the index of the first control character but TAB, -1
// when there is none.
func indexControl(b []byte) int {
	const each, high = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; len(b)-i >= 8; i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		del := w ^ each*0x7f
		if ((w-each*' ')&^w|(del-each)&^del)&high != 0 {
			break
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c < ' ' && c != '\t' || c == 0x7f {
			return i
		}
	}
	return -1
}

// equalFold reports whether b is lower, ignoring the case of ASCII letters.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// tokenChars marks tchar of RFC 9110 section 5.6.2.
var tokenChars = func() (t [256]bool) {
	for _, c := range "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" {
		t[c] = true
	}
	return t
}()

// hostChars marks the characters that RFC 3986 section 3.2.2 allows in an
// authority, except the @ after a user name.
var hostChars = func() (t [256]bool) {
	for _, c := range "-._~!$&'()*+,;=%:[]0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" {
		t[c] = true
	}
	return t
}()

func isHost(b []byte) bool {
	for _, c := range b {
		if !hostChars[c] {
			return false
		}
	}
	return len(b) > 0
}

func isToken(b []byte) bool {
	for _, c := range b {
		if !tokenChars[c] {
			return false
		}
	}
	return len(b) > 0
}

// clip shortens text that an error quotes.
func clip(b []byte) []byte {
	const most = 40 // bytes
	return b[:min(len(b), most)]
}
