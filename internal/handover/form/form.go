// Package form is the binary form in which one gateway process describes its
// connections and sessions to the next one. It is pure: values in, bytes out,
// and back. A reader refuses what a writer of its version cannot have written;
// it never panics and allocates no more than a small multiple of its input.
package form

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Version is the version of the form. It changes with every change of what is
// written; the processes compare it before anything else is sent.
const Version = 6

// None is the number that stands for no connection.
const None = ^uint32(0)

// loopShift is the position of the event loop in the number of a connection.
const loopShift = 24

// MaxConns is how many connections an event loop can hand over.
const MaxConns = 1 << loopShift

// ConnID is the number of the i-th connection of an event loop.
func ConnID(loop, i int) uint32 { return uint32(loop)<<loopShift | uint32(i) }

// SplitID is the reverse of ConnID.
func SplitID(id uint32) (loop, i int) { return int(id >> loopShift), int(id % MaxConns) }

// A Loop is a portion of what one event loop hands over.
type Loop struct {
	Index    uint32 // of the event loop
	Conns    []Conn
	Sessions []Session
	Departed []Departed
	Log      string // identity of the log that the positions below belong to
	Absent   []Absent
}

// A Departed is a polling session that has ended a moment ago.
type Departed struct {
	SID  string
	Left time.Duration
}

// The kinds of a connection.
const (
	KindHTTP uint8 = iota
	KindWebSocket
	kindCount
)

// A Conn is one TCP connection. Its descriptor is sent separately.
type Conn struct {
	FD int // of the reading process; not in the form

	ID   uint32
	Kind uint8
	In   []byte // read from the kernel and not used
	Out  []byte // to be written before anything else

	Addr                 []byte // of the client: 4 or 16 bytes; empty when it is not known
	Place                uint64 // the connection holds a place of that source
	Relayed, ProxyHeader bool
	HTTP                 HTTP      // of KindHTTP
	WebSocket            WebSocket // of KindWebSocket
}

// An HTTP is the state of a connection that speaks HTTP.
type HTTP struct {
	Timeout  uint8         // what its timer is for
	Left     time.Duration // until the timer rings
	GiveUp   time.Duration // until its last reply is given up
	Served   bool
	Need     uint32
	Gathered []byte
	Asked    bool     // a request is being answered
	Exchange Exchange // if Asked
}

// An Exchange is an HTTP request that waits for its reply.
type Exchange struct {
	Method, Origin, Preflight string
	KeepAlive, HTTP10         bool
	Relayed                   bool // by a proxy
}

// A WebSocket is the state of a connection that speaks WebSocket.
type WebSocket struct {
	Ping    []byte // payload of a ping to be answered
	HasPing bool
	Ending  bool
	Waits   bool          // for an upgrade, or for the peer to close
	Left    time.Duration // until it is closed, if Waits
	Ahead   time.Duration // of the rate of bytes
	Partial []byte        // of a fragmented message
	Op      uint8         // of that message; 0: there is none
}

// A Session is one Engine.IO session.
type Session struct {
	WS        uint32        // number of its WebSocket; None
	Heartbeat time.Duration // until the next ping, or the end of the wait for a pong
	Pinged    bool
	Closing   bool
	Reason    uint8 // for Closing
	Msgpack   bool
	Queue     []Message

	Polls   bool // requests can reach it
	Polling Polling

	Socket Socket
}

// A Message is one message that waits for a session's client, as frames.
type Message struct {
	Frames   []byte
	Volatile bool
}

// A Polling is the state of a session that HTTP requests can reach.
type Polling struct {
	SID    string
	Parked uint32 // number of the connection whose poll waits; None
	Post   uint32 // number of the connection whose POST is being taken; None
	Rest   []byte // of that POST
	Probe  uint32 // number of the WebSocket that wants to take over; None
	Probed bool
	Ahead  time.Duration // of the rate of bytes
	Place  uint64
}

// A Socket is one Socket.IO socket.
type Socket struct {
	Phase  uint8
	Warned bool
	Lead   uint16
	Issued uint32
	Ahead  time.Duration // of the rate of events

	ID, UserID string
	Deadline   bool          // CONNECT must come within Left
	Left       time.Duration // if Deadline
	Until      int64         // Unix ms at which the token ends; 0: never
	TokenID    uint64
	Rooms      []Room
	Position   uint64 // in the log: everything up to there was given to the socket

	HasClaims   bool
	Email, Role string
	NamesRooms  bool
	ClaimRooms  []string

	Token       string // of the handshake
	Asks        bool   // the handshake asked for recovery
	Recovers    bool   // the client may come back to Session
	Session     Record
	Assembling  bool // attachments are awaited
	Packet      []byte
	Attachments [][]byte
	Want        uint32
}

// A Room is a socket's membership.
type Room struct {
	Name     string
	Announce bool
	From     uint64 // position at which the socket joined it; of a session that recovers
}

// A Record is the additional state of a socket whose client may come back to
// its session.
type Record struct {
	PID         string
	Given, Last uint64
	At          int64 // Unix ms at which the connection ended; of an absent one
	Fence       uint32
	Moves       uint32 // how often another node has taken the session
	Unsaved     bool   // Redis may not have the rooms
	Lost        bool   // events for it were lost
	Gone        bool   // another node has the session
}

// An Absent is a socket without a connection, which stays in its rooms for a
// while.
type Absent struct {
	Socket Socket
	Left   time.Duration
}

// ErrForm is the error for bytes that a writer of this version does not write.
var ErrForm = errors.New("handover: not a form of this version")

// A walker visits the fields of a record, in one order for writing and for
// reading, so that the two cannot differ.
type walker struct {
	b       []byte
	reading bool
	err     error
}

func (w *walker) fail(what string) {
	if w.err == nil {
		w.err = fmt.Errorf("%w: %s, %d bytes before the end", ErrForm, what, len(w.b))
	}
	w.b = nil
}

func (w *walker) uvarint(v uint64, most uint64) uint64 {
	if !w.reading {
		w.b = binary.AppendUvarint(w.b, v)
		return v
	}
	if w.err != nil {
		return 0
	}
	v, n := binary.Uvarint(w.b)
	if n <= 0 || v > most || n > 1 && w.b[n-1] == 0 { // one number has one form
		w.fail("a number")
		return 0
	}
	w.b = w.b[n:]
	return v
}

func (w *walker) u64(v *uint64) { *v = w.uvarint(*v, 1<<64-1) }
func (w *walker) u32(v *uint32) { *v = uint32(w.uvarint(uint64(*v), 1<<32-1)) }
func (w *walker) u16(v *uint16) { *v = uint16(w.uvarint(uint64(*v), 1<<16-1)) }
func (w *walker) u8(v *uint8)   { *v = uint8(w.uvarint(uint64(*v), 1<<8-1)) }

func (w *walker) i64(v *int64) {
	u := w.uvarint(uint64(*v<<1)^uint64(*v>>63), 1<<64-1)
	*v = int64(u>>1) ^ -int64(u&1)
}

func (w *walker) span(v *time.Duration) {
	n := int64(*v)
	w.i64(&n)
	*v = time.Duration(n)
}

func (w *walker) bools(all ...*bool) {
	var bits uint64
	for i, v := range all {
		if *v {
			bits |= 1 << i
		}
	}
	bits = w.uvarint(bits, 1<<len(all)-1)
	for i, v := range all {
		*v = bits&(1<<i) != 0
	}
}

func (w *walker) bytes(v *[]byte) {
	n := w.uvarint(uint64(len(*v)), 1<<31-1)
	if !w.reading {
		w.b = append(w.b, *v...)
		return
	}
	if n > uint64(len(w.b)) {
		w.fail("bytes cut short")
		return
	}
	*v = nil
	if n > 0 {
		*v = w.b[:n:n]
		w.b = w.b[n:]
	}
}

func (w *walker) text(v *string) {
	if !w.reading {
		w.b = append(binary.AppendUvarint(w.b, uint64(len(*v))), *v...)
		return
	}
	var b []byte
	w.bytes(&b)
	*v = string(b)
}

// list visits a list. Each entry takes at least least bytes, so that a short
// input cannot ask for a long list.
func list[T any](w *walker, v *[]T, least int, each func(*T)) {
	n := int(w.uvarint(uint64(len(*v)), 1<<31-1))
	if w.reading {
		*v = nil
		if n > len(w.b)/least {
			w.fail("a list cut short")
			return
		}
		if n > 0 {
			*v = make([]T, n)
		}
	}
	for i := range *v {
		each(&(*v)[i])
		if w.err != nil {
			return
		}
	}
}

func (w *walker) loop(l *Loop) {
	w.u32(&l.Index)
	list(w, &l.Conns, 8, w.conn)
	list(w, &l.Sessions, 16, w.session)
	list(w, &l.Departed, 2, func(d *Departed) { w.text(&d.SID); w.span(&d.Left) })
	w.text(&l.Log)
	list(w, &l.Absent, 16, func(a *Absent) { w.socket(&a.Socket); w.span(&a.Left) })
}

func (w *walker) conn(c *Conn) {
	w.u32(&c.ID)
	w.u8(&c.Kind)
	w.bytes(&c.In)
	w.bytes(&c.Out)
	w.bytes(&c.Addr)
	w.u64(&c.Place)
	w.bools(&c.Relayed, &c.ProxyHeader)
	switch {
	case c.Kind >= kindCount:
		w.fail("the kind of a connection")
	case c.Kind == KindHTTP:
		w.http(&c.HTTP)
	default:
		w.webSocket(&c.WebSocket)
	}
}

func (w *walker) http(h *HTTP) {
	w.u8(&h.Timeout)
	w.span(&h.Left)
	w.span(&h.GiveUp)
	w.u32(&h.Need)
	w.bytes(&h.Gathered)
	w.bools(&h.Served, &h.Asked)
	if !h.Asked {
		return
	}
	x := &h.Exchange
	w.text(&x.Method)
	w.text(&x.Origin)
	w.text(&x.Preflight)
	w.bools(&x.KeepAlive, &x.HTTP10, &x.Relayed)
}

func (w *walker) webSocket(c *WebSocket) {
	w.bools(&c.HasPing, &c.Ending, &c.Waits)
	w.bytes(&c.Ping)
	w.span(&c.Left)
	w.span(&c.Ahead)
	w.u8(&c.Op)
	w.bytes(&c.Partial)
}

func (w *walker) session(s *Session) {
	w.u32(&s.WS)
	w.span(&s.Heartbeat)
	w.bools(&s.Pinged, &s.Closing, &s.Msgpack, &s.Polls)
	w.u8(&s.Reason)
	list(w, &s.Queue, 2, func(m *Message) { w.bytes(&m.Frames); w.bools(&m.Volatile) })
	if s.Polls {
		w.polling(&s.Polling)
	}
	w.socket(&s.Socket)
}

func (w *walker) polling(p *Polling) {
	w.text(&p.SID)
	w.u32(&p.Parked)
	w.u32(&p.Post)
	w.u32(&p.Probe)
	w.bytes(&p.Rest)
	w.bools(&p.Probed)
	w.span(&p.Ahead)
	w.u64(&p.Place)
}

func (w *walker) socket(s *Socket) {
	w.u8(&s.Phase)
	w.bools(&s.Warned, &s.Deadline, &s.HasClaims, &s.NamesRooms, &s.Assembling, &s.Asks, &s.Recovers)
	w.u16(&s.Lead)
	w.u32(&s.Issued)
	w.span(&s.Ahead)
	w.text(&s.ID)
	w.text(&s.UserID)
	w.span(&s.Left)
	w.i64(&s.Until)
	w.u64(&s.TokenID)
	list(w, &s.Rooms, 3, func(r *Room) { w.text(&r.Name); w.bools(&r.Announce); w.u64(&r.From) })
	w.u64(&s.Position)
	if s.Recovers {
		w.record(&s.Session)
	}
	if s.HasClaims {
		w.text(&s.Email)
		w.text(&s.Role)
		list(w, &s.ClaimRooms, 1, w.text)
	}
	w.text(&s.Token)
	if s.Assembling {
		w.bytes(&s.Packet)
		list(w, &s.Attachments, 1, w.bytes)
		w.u32(&s.Want)
	}
}

func (w *walker) record(r *Record) {
	w.text(&r.PID)
	w.u64(&r.Given)
	w.u64(&r.Last)
	w.i64(&r.At)
	w.u32(&r.Fence)
	w.u32(&r.Moves)
	w.bools(&r.Lost, &r.Gone, &r.Unsaved)
}

// AppendLoop appends the form of l.
func AppendLoop(b []byte, l *Loop) []byte {
	w := walker{b: b}
	w.loop(l)
	return w.b
}

// ReadLoop reads what AppendLoop wrote. The values refer to b.
func ReadLoop(b []byte) (*Loop, error) {
	w, l := walker{b: b, reading: true}, &Loop{}
	w.loop(l)
	return l, w.end()
}

func (w *walker) end() error {
	if w.err == nil && len(w.b) > 0 {
		w.fail("more than a record")
	}
	return w.err
}
