package testkit

import (
	"fmt"
	"io"

	"github.com/gobwas/ws"
)

// ClientFrame returns a WebSocket frame as a client must write it: masked (RFC
// 6455, 5.3).
func ClientFrame(fin bool, op ws.OpCode, payload string) string {
	f := ws.NewFrame(op, fin, []byte(payload))
	return string(ws.MustCompileFrame(ws.MaskFrameInPlaceWith(f, [4]byte{1, 2, 3, 4})))
}

// ReadServerFrame reads a server's frame, which must be complete and not
// masked.
func ReadServerFrame(r io.Reader) (ws.OpCode, string, error) {
	h, err := ws.ReadHeader(r)
	if err != nil {
		return 0, "", err
	}
	if h.Masked || !h.Fin || h.Rsv != 0 {
		return 0, "", fmt.Errorf("frame header %+v from a server", h)
	}
	payload := make([]byte, h.Length)
	_, err = io.ReadFull(r, payload)
	return h.OpCode, string(payload), err
}
