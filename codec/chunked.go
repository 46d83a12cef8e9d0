package codec

import "bytes"

const (
	// maxChunkLine bounds a chunk's size line, extensions and CRLF included.
	maxChunkLine = 256 // bytes

	// maxTrailer bounds the trailer section, its empty line included.
	maxTrailer = 1024 // bytes
)

// maxChunks is how many chunks a body of at most max bytes may come in. As
// long as they have 1 KiB on average any body passes. The parser keeps no
// state, so it walks all chunks again whenever bytes arrive: without a bound, a
// body of one-byte chunks sent byte by byte would cost its length squared.
func maxChunks(max int) int { return 1024 + max/1024 }

// ParseChunked decodes the chunked body at the start of b (RFC 9112 section
// 7.1), appending its content to dst, and returns the bytes consumed. n = 0
// without an error means that the body is not complete yet, and dst is as it
// was. Trailers are checked and dropped. A body of more than max bytes is a
// *LimitError as soon as its chunk sizes say so.
func ParseChunked(dst, b []byte, max int) (body []byte, n int, err error) {
	if n, err = chunkedLen(b, max); n == 0 {
		return dst, 0, err
	}
	for {
		length, lineLen, _ := parseChunkLine(b)
		if length == 0 {
			return dst, n, nil
		}
		data := b[lineLen:]
		dst = append(dst, data[:length]...)
		b = data[length+2:]
	}
}

// chunkedLen returns how many bytes of b the body takes; 0 when it is not
// complete yet.
func chunkedLen(b []byte, max int) (n int, err error) {
	size := int64(0)
	for chunks := 1; ; chunks++ {
		length, lineLen, err := parseChunkLine(b[n:])
		if err != nil || lineLen == 0 {
			return 0, err
		}
		if size += length; size > int64(max) {
			return 0, &LimitError{LayerHTTP, "body bytes", int(size), max}
		}
		n += lineLen
		if length == 0 {
			end, err := trailerEnd(b[n:])
			if err != nil || end == 0 {
				return 0, err
			}
			return n + end, nil
		}
		if chunks > maxChunks(max) {
			return 0, &LimitError{LayerHTTP, "chunks", chunks, maxChunks(max)}
		}
		if int64(len(b)-n) < length+2 {
			return 0, nil
		}
		n += int(length)
		if !bytes.HasPrefix(b[n:], crlf) {
			return 0, syntax(LayerHTTP, "chunk of %d bytes does not end where it says", length)
		}
		n += 2
	}
}

// parseChunkLine returns a chunk's length and that of its size line; n = 0
// when the line is not complete yet.
func parseChunkLine(b []byte) (length int64, n int, err error) {
	eol := bytes.Index(b[:min(len(b), maxChunkLine)], crlf)
	if eol < 0 {
		if len(b) >= maxChunkLine {
			return 0, 0, syntax(LayerHTTP, "chunk size line over %d bytes", maxChunkLine)
		}
		return 0, 0, nil
	}
	digits := b[:eol]
	if semi := bytes.IndexByte(digits, ';'); semi >= 0 {
		// A bare LF in an extension ends the line for some proxies.
		if indexControl(digits[semi:]) >= 0 {
			return 0, 0, syntax(LayerHTTP, "control character in chunk extension %q", clip(digits[semi:]))
		}
		digits = digits[:semi]
	}
	if len(digits) == 0 || len(digits) > 8 {
		return 0, 0, syntax(LayerHTTP, "chunk size %q", clip(digits))
	}
	for _, c := range digits {
		v := hexValue(c)
		if v < 0 {
			return 0, 0, syntax(LayerHTTP, "chunk size %q", clip(digits))
		}
		length = length<<4 | int64(v)
	}
	return length, eol + 2, nil
}

// trailerEnd returns the length of the trailer section, its empty line
// included; 0 when it is not complete yet.
func trailerEnd(b []byte) (n int, err error) {
	for {
		eol := bytes.Index(b[n:min(len(b), maxTrailer)], crlf)
		switch {
		case eol < 0 && len(b) >= maxTrailer:
			return 0, &LimitError{LayerHTTP, "trailer bytes", maxTrailer + 1, maxTrailer}
		case eol < 0:
			return 0, nil
		case eol == 0:
			return n + 2, nil
		}
		if _, _, _, err := nextField(b[n:]); err != nil {
			return 0, err
		}
		n += eol + 2
	}
}

func hexValue(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
