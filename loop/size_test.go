package loop

import (
	"testing"
	"time"
	"unsafe"

	"github.com/hometrip/gateway/codec"
)

// Each client has one of these structs. The limits are size classes of Go's
// allocator: one byte more costs 16.
func TestSizeOfSessionAndConnection(t *testing.T) {
	for name, c := range map[string]struct{ got, most uintptr }{
		"session": {unsafe.Sizeof(session{}), 96},
		"wsConn":  {unsafe.Sizeof(wsConn{}), 64},
	} {
		if c.got > c.most {
			t.Errorf("%s takes %d bytes, want %d at most", name, c.got, c.most)
		}
	}
}

// Messages are short-lived. In the size class of sessions they would leave
// holes between them.
func TestMessageIsInASmallerSizeClassThanASession(t *testing.T) {
	if got := unsafe.Sizeof(codec.Message{}); got > 80 {
		t.Errorf("a message takes %d bytes, want at most 80: below the class of a session", got)
	}
}

// gnet's connection must not keep the client's address: the kernel has it, and
// it is read when it is needed.
func TestWebSocketKeepsNoAddress(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	c := connectWS(t, s, "ann")
	c.join("1") // answered, so the connection was read again
	found := 0
	for i := range s.workers {
		s.on(i, func(w *worker, _ time.Time) {
			for _, of := range w.sessions {
				found++
				if addr := of.ws.c.RemoteAddr(); addr != nil {
					t.Errorf("the connection keeps the address %v, want none", addr)
				}
				place := of.ws.place
				of.ws.place = 0
				if got, want := of.String(), c.conn.LocalAddr().String(); got != want {
					t.Errorf("the address is %s, want %s", got, want)
				}
				of.ws.place = place
			}
		})
	}
	if found != 1 {
		t.Errorf("%d sessions, want 1", found)
	}
}
