package loop

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAStandInHasNobodyToAccept: a loop may have been told of a connection
// before its listener was replaced, and gnet takes any other error for the end.
func TestAStandInHasNobodyToAccept(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l.Close() // f is a duplicate, and listens on
	waiting, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()

	listener := int(f.Fd()) // once: it makes blocking what the descriptor refers to
	if err := standIn([]int{listener}); err != nil {
		t.Fatal(err)
	}
	if fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC); err != unix.EAGAIN {
		t.Errorf("accepted %d with %v, want %v", fd, err, unix.EAGAIN)
	}
	if conn, err := net.Dial("tcp", address); err == nil {
		conn.Close()
		t.Error("somebody still listens")
	}
}
