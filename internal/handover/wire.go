package handover

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// kind is the kind of a frame. The first five are the same in every version.
type kind uint8

const (
	kindHello kind = 1 + iota
	kindGo
	kindRefuse
	kindDrain
	kindAbort
	kindReady
	kindPart        // what an event loop hands over
	kindDescriptors // travel with it
	kindNode
	kindEnd
	kindReceived
	kindFailed
	kindReleased
	kindOwned
	kindServing
	kindFresh // one descriptor of a connection that nobody has read from
	kindDone
)

const (
	// maxDescriptors is how many descriptors one message can carry (SCM_MAX_FD
	// of the kernel).
	maxDescriptors = 253

	// maxFrame limits what one event loop hands over, in bytes.
	maxFrame = 1 << 30

	headerSize = 5 // kind and length
	readSize   = 256 << 10
	writeLimit = 2 * time.Second // for a short frame
)

// A Wire is the connection between giver and taker: frames with a kind, some
// with descriptors. Reading and writing may be done by one goroutine each.
type Wire struct {
	conn *net.UnixConn
	pid  int // of the peer; 0: not known

	buf     []byte
	control []byte
	fds     []int // that have come and belong to frames not taken yet
}

func newWire(conn *net.UnixConn) (*Wire, error) {
	w := &Wire{conn: conn, control: make([]byte, unix.CmsgSpace(4*maxDescriptors))}
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	failed := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, failed); err != nil {
		return nil, fmt.Errorf("who is at the other end: %w", err)
	}
	if int(cred.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("the process at the other end is of user %d, this one of %d", cred.Uid, os.Geteuid())
	}
	w.pid = int(cred.Pid)
	return w, nil
}

// Dial connects to the process that listens at path. An error for which Nobody
// holds says that there is none.
func Dial(path string) (*Wire, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	w, err := newWire(conn)
	if err != nil {
		conn.Close()
	}
	return w, err
}

// Nobody reports whether an error of Dial means that no process listens there.
func Nobody(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED)
}

// Listen listens at path, in place of another process that does: the name is
// replaced in one step. The folder must belong to the user.
func Listen(path string) (*net.UnixListener, error) {
	if err := CheckFolder(path); err != nil {
		return nil, err
	}
	fresh := fmt.Sprintf("%s.%d", path, os.Getpid())
	_ = os.Remove(fresh)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: fresh, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen for a successor: %w", err)
	}
	l.SetUnlinkOnClose(false)
	if err = os.Chmod(fresh, 0o600); err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		_ = os.Remove(fresh)
		l.Close()
		return nil, fmt.Errorf("listen for a successor: %w", err)
	}
	return l, nil
}

// CheckFolder returns an error unless the folder of path belongs to the user,
// and no other user may enter it. It creates the folder if it does not exist.
func CheckFolder(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("folder for HANDOVER_SOCKET: %w", err)
	}
	var stat unix.Stat_t
	if err := unix.Stat(dir, &stat); err != nil {
		return fmt.Errorf("folder for HANDOVER_SOCKET: %s: %w", dir, err)
	}
	if int(stat.Uid) != os.Geteuid() || stat.Mode&0o077 != 0 {
		return fmt.Errorf("folder %s of HANDOVER_SOCKET is of user %d with mode %04o, want %d and 0700: whoever may enter it could take the connections",
			dir, stat.Uid, stat.Mode&0o7777, os.Geteuid())
	}
	return nil
}

// send writes one frame.
func (w *Wire) send(k kind, body []byte, limit time.Duration) error {
	if len(body) > maxFrame {
		return fmt.Errorf("a frame of %d bytes, allowed are %d", len(body), maxFrame)
	}
	_ = w.conn.SetWriteDeadline(time.Now().Add(limit))
	head := binary.LittleEndian.AppendUint32([]byte{byte(k)}, uint32(len(body)))
	if len(body) <= readSize {
		_, err := w.conn.Write(append(head, body...))
		return err
	}
	if _, err := w.conn.Write(head); err != nil {
		return err
	}
	_, err := w.conn.Write(body)
	return err
}

// sendDescriptors writes a frame with descriptors, at most maxDescriptors.
func (w *Wire) sendDescriptors(k kind, fds []int, limit time.Duration) error {
	frame := binary.LittleEndian.AppendUint32([]byte{byte(k)}, 4)
	frame = binary.LittleEndian.AppendUint32(frame, uint32(len(fds)))
	_ = w.conn.SetWriteDeadline(time.Now().Add(limit))
	n, _, err := w.conn.WriteMsgUnix(frame, unix.UnixRights(fds...), nil)
	if err == nil && n < len(frame) {
		_, err = w.conn.Write(frame[n:])
	}
	return err
}

// errTruncated means that the kernel has dropped descriptors.
var errTruncated = errors.New("the kernel did not hand all descriptors over: RLIMIT_NOFILE is too low here")

// next reads one frame, within limit. The caller owns its descriptors; io.EOF
// means that the peer has closed the connection or has ended.
func (w *Wire) next(limit time.Duration) (k kind, body []byte, fds []int, err error) {
	_ = w.conn.SetReadDeadline(time.Now().Add(limit))
	if err = w.fill(headerSize); err != nil {
		return 0, nil, nil, err
	}
	k = kind(w.buf[0])
	size := int(binary.LittleEndian.Uint32(w.buf[1:]))
	if size > maxFrame {
		return 0, nil, nil, fmt.Errorf("a frame of %d bytes, allowed are %d", size, maxFrame)
	}
	if err = w.fill(headerSize + size); err != nil {
		return 0, nil, nil, err
	}
	body = w.buf[headerSize : headerSize+size : headerSize+size]
	w.buf = w.buf[headerSize+size:]
	if k != kindDescriptors && k != kindFresh {
		return k, body, nil, nil
	}
	if size != 4 {
		return 0, nil, nil, fmt.Errorf("descriptors with %d bytes, want 4", size)
	}
	n := int(binary.LittleEndian.Uint32(body))
	if n > len(w.fds) {
		return 0, nil, nil, errTruncated
	}
	fds, w.fds = w.fds[:n:n], w.fds[n:]
	return k, body, fds, nil
}

// fill reads until the buffer has n bytes.
func (w *Wire) fill(n int) error {
	if cap(w.buf) < n {
		w.buf = append(make([]byte, 0, n+readSize), w.buf...)
	}
	for len(w.buf) < n {
		if cap(w.buf)-len(w.buf) < 4<<10 {
			w.buf = append(make([]byte, 0, n+readSize), w.buf...)
		}
		free := w.buf[len(w.buf):cap(w.buf)]
		read, controlled, flags, _, err := w.conn.ReadMsgUnix(free, w.control)
		if fds := descriptors(w.control[:controlled]); len(fds) > 0 {
			w.fds = append(w.fds, fds...)
		}
		w.buf = w.buf[:len(w.buf)+max(read, 0)]
		switch {
		case err != nil:
			return err
		case flags&unix.MSG_CTRUNC != 0:
			return errTruncated
		case read == 0:
			return io.EOF
		}
	}
	return nil
}

func descriptors(control []byte) (all []int) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil
	}
	for i := range messages {
		if fds, err := unix.ParseUnixRights(&messages[i]); err == nil {
			all = append(all, fds...)
		}
	}
	return all
}

// Pid is the peer's number; 0 when it is in another pid namespace.
func (w *Wire) Pid() int { return w.pid }

// Close closes the connection, and the descriptors that were not used.
func (w *Wire) Close() error {
	for _, fd := range w.fds {
		unix.Close(fd)
	}
	w.fds = nil
	return w.conn.Close()
}

// dead reports whether the process at the other end has ended. It waits for
// that until limit is over, because the kernel closes the descriptors of a
// process a little before its end.
func (w *Wire) dead(limit time.Duration) bool {
	if w.pid <= 0 {
		return false // of another pid namespace: not known
	}
	fd, err := unix.PidfdOpen(w.pid, 0)
	if err != nil {
		return errors.Is(err, unix.ESRCH)
	}
	defer unix.Close(fd)
	until := time.Now().Add(limit)
	for {
		left := max(time.Until(until), 0)
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds()))
		if n > 0 || left == 0 || err != nil && err != unix.EINTR {
			return n > 0
		}
	}
}
