package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A bus joins this server with others through Redis, with the least that can do
// it: each server subscribes to a channel of its own, and to one of all, on
// which it says which rooms it holds. What a client says to a room is one
// PUBLISH for each other server that holds it. Owned by the one thread.
type bus struct {
	number    int   // of this server: its port
	publish   *conn // commands, and the replies to them, which are only skipped
	subscribe *conn
	holders   map[string][]int // numbers of the other servers that hold a room
	out       []byte           // scratch
}

// Kinds of what one server tells another about a room.
const (
	kindEvent = 'e' // a frame for the members
	kindJoin  = 'j' // the same; the sender holds the room now
	kindHolds = 'h' // the sender holds the room, too
)

const everybody = "floor:all"

// joinBus connects to Redis, if the environment names one. It is called before
// the server serves, and blocks.
func (s *server) joinBus(number int) error {
	if os.Getenv("USE_REDIS") != "true" {
		return nil
	}
	port, err := envInt("REDIS_PORT", 6379)
	if err != nil {
		return err
	}
	b := &bus{number: number, holders: make(map[string][]int)}
	if b.publish, err = s.dialRedis(port, ""); err != nil {
		return err
	}
	own := channelOf(number)
	subscribe := fmt.Sprintf("*3\r\n$9\r\nSUBSCRIBE\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(everybody), everybody, len(own), own)
	if b.subscribe, err = s.dialRedis(port, subscribe); err != nil {
		return err
	}
	s.bus = b
	return nil
}

// dialRedis connects to Redis on this host, sends a first command, and has the
// loop watch the connection.
func (s *server) dialRedis(port int, command string) (*conn, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return nil, fmt.Errorf("connect to redis at port %d: %w", port, err)
	}
	if _, err := unix.Write(fd, []byte(command)); err != nil {
		return nil, fmt.Errorf("write to redis: %w", err)
	}
	for confirmed := strings.Count(command, "$") - 1; confirmed > 0; {
		n, err := unix.Read(fd, s.buf)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("read from redis: %w", err)
		}
		confirmed -= bytes.Count(s.buf[:n], []byte("$9\r\nsubscribe\r\n"))
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	c := &conn{fd: int32(fd), redis: true}
	s.keep(c)
	return c, s.watch(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN|unix.EPOLLRDHUP)
}

func channelOf(number int) string { return "floor:" + strconv.Itoa(number) }

// pass tells the other servers that hold a room of a frame for its members.
func (s *server) pass(room string, frame []byte) {
	if s.bus == nil {
		return
	}
	for _, number := range s.bus.holders[room] {
		s.tell(channelOf(number), kindEvent, room, frame)
	}
}

// passJoin tells all other servers that this one holds a room, with a frame for
// its members.
func (s *server) passJoin(room string, frame []byte) {
	if s.bus != nil {
		s.tell(everybody, kindJoin, room, frame)
	}
}

// tell publishes: the kind, this server's number, the room and a frame.
func (s *server) tell(channel string, kind byte, room string, frame []byte) {
	b := s.bus.out[:0]
	b = append(b, "*3\r\n$7\r\nPUBLISH\r\n$"...)
	b = strconv.AppendInt(b, int64(len(channel)), 10)
	b = append(append(append(b, "\r\n"...), channel...), "\r\n$"...)
	b = strconv.AppendInt(b, int64(messageHead+len(room)+len(frame)), 10)
	b = append(append(b, "\r\n"...), kind)
	b = binary.BigEndian.AppendUint16(b, uint16(s.bus.number))
	b = append(append(b, byte(len(room))), room...)
	b = append(append(b, frame...), "\r\n"...)
	s.bus.out = b
	s.send(s.bus.publish, b)
}

const messageHead = 4 // kind, number, length of the room

// replies handles the complete replies and messages of Redis in b, and returns
// the bytes used.
func (s *server) replies(c *conn, b []byte) int {
	used := 0
	for {
		n, payload := reply(b[used:])
		if n == 0 {
			return used
		}
		if payload != nil {
			s.told(payload)
		}
		used += n
	}
}

// reply returns how long the first reply in b is, 0 when it is not complete, and
// what was published if it is a message. A PUBLISH is answered by a number.
func reply(b []byte) (length int, payload []byte) {
	line := bytes.IndexByte(b, '\n') + 1
	if line == 0 || b[0] != '*' {
		return line, nil
	}
	at, parts := line, 0
	for ; parts < 3; parts++ { // "message", channel, payload
		end := bytes.IndexByte(b[at:], '\n') + 1
		if end == 0 {
			return 0, nil
		}
		size, _ := strconv.Atoi(string(b[at+1 : at+end-2]))
		if len(b) < at+end+size+2 {
			return 0, nil
		}
		payload = b[at+end : at+end+size]
		at += end + size + 2
	}
	return at, payload
}

// told handles what another server, or this one, has said.
func (s *server) told(p []byte) {
	kind, number := p[0], int(binary.BigEndian.Uint16(p[1:]))
	if number == s.bus.number {
		return
	}
	end := messageHead + int(p[3])
	r := s.rooms[string(p[messageHead:end])]
	if r == nil {
		return
	}
	if kind != kindEvent {
		s.bus.hold(r.name, number)
	}
	if kind == kindJoin {
		s.tell(channelOf(number), kindHolds, r.name, nil)
	}
	if frame := p[end:]; len(frame) > 0 {
		s.broadcast(r, nil, frame)
	}
}

func (b *bus) hold(room string, number int) {
	for _, known := range b.holders[room] {
		if known == number {
			return
		}
	}
	b.holders[room] = append(b.holders[room], number)
}

// keep has a connection be found by its descriptor.
func (s *server) keep(c *conn) {
	for int(c.fd) >= len(s.conns) {
		s.conns = append(s.conns, nil)
	}
	s.conns[c.fd] = c
}
