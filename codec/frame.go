package codec

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// ParseFrameHeader parses the WebSocket frame header at the start of b (RFC
// 6455 section 5.2) and returns its length; n = 0 without an error means that
// more bytes are needed. It refuses lengths that are not in their shortest form
// or exceed 63 bits. ws.CheckHeader checks whether the header is allowed at
// this point of the stream, and the caller whether the frame is too long.
func ParseFrameHeader(b []byte) (h ws.Header, n int, err error) {
	if len(b) < 2 {
		return h, 0, nil
	}
	h.Fin = b[0]&0x80 != 0
	h.Rsv = (b[0] >> 4) & 7
	h.OpCode = ws.OpCode(b[0] & 0x0f)
	h.Masked = b[1]&0x80 != 0
	n = 2
	switch length := b[1] & 0x7f; length {
	case 126:
		if len(b) < 4 {
			return h, 0, nil
		}
		h.Length = int64(binary.BigEndian.Uint16(b[2:]))
		if h.Length < 126 {
			return h, 0, syntax(LayerWebSocket, "frame length %d in 2 bytes", h.Length)
		}
		n = 4
	case 127:
		if len(b) < 10 {
			return h, 0, nil
		}
		h.Length = int64(binary.BigEndian.Uint64(b[2:]))
		if h.Length < 1<<16 { // negative: the 63-bit limit is broken
			return h, 0, syntax(LayerWebSocket, "frame length %d in 8 bytes", h.Length)
		}
		n = 10
	default:
		h.Length = int64(length)
	}
	if h.Masked {
		if len(b) < n+4 {
			return h, 0, nil
		}
		copy(h.Mask[:], b[n:])
		n += 4
	}
	return h, n, nil
}

// AppendFrameHeader appends the header of a final, unmasked frame with a
// payload of n bytes.
func AppendFrameHeader(dst []byte, op ws.OpCode, n int) []byte {
	dst = append(dst, 0x80|byte(op))
	switch {
	case n < 126:
		return append(dst, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, 126), uint16(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, 127), uint64(n))
}

// frameSize is the number of bytes of an unmasked frame with n of payload.
func frameSize(n int) int {
	switch {
	case n < 126:
		return 2 + n
	case n < 1<<16:
		return 4 + n
	}
	return 10 + n
}

// AppendClose appends a close frame. The reason is cut to what a control frame
// may hold, between characters.
func AppendClose(dst []byte, code ws.StatusCode, reason string) []byte {
	const most = ws.MaxControlFramePayloadSize - 2
	if len(reason) > most {
		cut := most
		for cut > 0 && !utf8.RuneStart(reason[cut]) {
			cut--
		}
		reason = reason[:cut]
	}
	dst = AppendFrameHeader(dst, ws.OpClose, 2+len(reason))
	dst = binary.BigEndian.AppendUint16(dst, uint16(code))
	return append(dst, reason...)
}

// ParseClose checks the payload of a close frame and returns the code to
// answer it with: the peer's own, 1000 when it gave none, and 1002 or 1007
// when the payload is malformed (RFC 6455 sections 5.5.1 and 7.4).
func ParseClose(payload []byte) ws.StatusCode {
	if len(payload) == 0 {
		return ws.StatusNormalClosure
	}
	if len(payload) == 1 {
		return ws.StatusProtocolError
	}
	code := ws.StatusCode(binary.BigEndian.Uint16(payload))
	switch {
	case !mayTravel(code):
		return ws.StatusProtocolError
	case !utf8.Valid(payload[2:]):
		return ws.StatusInvalidFramePayloadData
	}
	return code
}

// mayTravel reports whether a close frame may carry the code. The library's own
// check refuses 1012 to 1014, which were registered after the RFC, and accepts
// codes above 4999.
func mayTravel(code ws.StatusCode) bool {
	return code >= 1000 && code <= 1003 || // 1004 to 1006 are kept for APIs, and so is 1015
		code >= 1007 && code <= 1014 ||
		code >= 3000 && code <= 4999
}
