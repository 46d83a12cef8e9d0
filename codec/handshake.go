package codec

import (
	"crypto/sha1"
	"encoding/base64"
)

// webSocketGUID is fixed by RFC 6455 section 1.3.
const webSocketGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// webSocketKeyLen is the length of Sec-WebSocket-Key: 16 bytes in base64.
const webSocketKeyLen = 24

// CheckWebSocket reports why a head that asks for a WebSocket cannot have one
// (RFC 6455 section 4.2.1).
func (h *Head) CheckWebSocket() error {
	if string(h.Method) != "GET" {
		return syntax(LayerHTTP, "WebSocket handshake with method %q", clip(h.Method))
	}
	if v := h.Field("sec-websocket-version"); string(v) != "13" {
		return syntax(LayerHTTP, "sec-websocket-version %q, want 13", clip(v))
	}
	key := h.Field("sec-websocket-key")
	if len(key) != webSocketKeyLen {
		return syntax(LayerHTTP, "sec-websocket-key of %d bytes, want %d", len(key), webSocketKeyLen)
	}
	var raw [18]byte
	if n, err := base64.StdEncoding.Decode(raw[:], key); err != nil || n != 16 {
		return syntax(LayerHTTP, "sec-websocket-key %q is not 16 bytes in base64", clip(key))
	}
	if p := h.subprotocol(); len(p) > 0 && !isToken(p) {
		return syntax(LayerHTTP, "sec-websocket-protocol %q is not a token", clip(p))
	}
	if h.ContentLength > 0 || h.Chunked {
		return syntax(LayerHTTP, "WebSocket handshake with a body")
	}
	return nil
}

// subprotocol returns the first subprotocol that the client offers. Socket.IO's
// own server selects it whatever it is, and clients fail when none is selected.
func (h *Head) subprotocol() []byte {
	first, _ := NextItem(h.Field("sec-websocket-protocol"))
	return first
}

// AppendSwitching appends the 101 answer that accepts a WebSocket. It never
// agrees to an extension: an uncompressed frame can be shared by all members of
// a room.
func AppendSwitching(dst []byte, h *Head) []byte {
	dst = append(dst, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	var joined [webSocketKeyLen + len(webSocketGUID)]byte
	n := copy(joined[:], h.Field("sec-websocket-key"))
	copy(joined[n:], webSocketGUID)
	sum := sha1.Sum(joined[:])
	dst = base64.StdEncoding.AppendEncode(dst, sum[:])
	if p := h.subprotocol(); len(p) > 0 {
		dst = append(append(dst, "\r\nSec-WebSocket-Protocol: "...), p...)
	}
	return append(dst, "\r\n\r\n"...)
}
