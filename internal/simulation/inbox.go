package simulation

import (
	"bytes"
	"strconv"
	"time"

	"github.com/hometrip/gateway/codec"
)

// A packet is what the rules need of a Socket.IO packet that a client gets.
type packet struct {
	kind   packetKind
	ack    int64
	ok     bool
	event  int    // number of the service's event
	room   int    // index; -1: none
	user   string // the user whom a presence event is about
	socket string
	pid    string
	offset string
	time   int64 // Unix ms
	from   int32 // number of socket, see judge.number
	typing bool
	text   []byte
}

type packetKind uint8

const (
	packetOther packetKind = iota
	packetConnect
	packetRefused
	packetConnected
	packetAck
	packetEvent
	packetPresence
	packetRoomState
	packetEnded
	packetDisconnect
)

// packets caches the parsed messages, because one message goes to many clients.
type packets map[*codec.Message]*packet

const packetsMost = 1 << 12

// read returns the parsed message.
func (p packets) read(m *codec.Message) *packet {
	known := p[m]
	if known == nil {
		if len(p) >= packetsMost {
			clear(p)
		}
		x := parse(m.Text())
		known = &x
		p[m] = known
	}
	return known
}

// parse parses a packet as far as the rules need it.
func parse(b []byte) (p packet) {
	p.room = -1
	p.text = b
	if rest, has := bytes.CutSuffix(b, []byte(`"]`)); has && bytes.HasPrefix(b, []byte(`42[`)) {
		p.offset = string(rest[bytes.LastIndexByte(rest, '"')+1:])
	}
	switch {
	case bytes.HasPrefix(b, []byte("40")):
		p.kind = packetConnect
		p.socket = string(quoted(b, `"sid":"`))
		p.pid = string(quoted(b, `"pid":"`))
	case bytes.HasPrefix(b, []byte("44")):
		p.kind = packetRefused
	case bytes.HasPrefix(b, []byte("41")):
		p.kind = packetDisconnect
	case bytes.HasPrefix(b, []byte("43")):
		p.kind = packetAck
		end := bytes.IndexByte(b, '[')
		p.ack, _ = strconv.ParseInt(string(b[2:end]), 10, 64)
		p.ok = bytes.Contains(b, []byte(`"success":true`))
	case bytes.HasPrefix(b, []byte(`42["connected"`)):
		p.kind = packetConnected
	case bytes.HasPrefix(b, []byte(`42["session_ended"`)):
		p.kind = packetEnded
	case bytes.HasPrefix(b, []byte(`42["user_`)):
		p.kind = packetPresence
		p.typing = bytes.HasPrefix(b, []byte(`42["user_typing"`))
		p.socket = string(quoted(b, `socketId":"`)) // without the first quote, which makes the search slow
		p.user = string(quoted(b, `userId":"`))
		p.room = roomOf(quoted(b, `room":"conversation:`))
		p.time = timeOf(quoted(b, `timestamp":"`))
	case bytes.HasPrefix(b, []byte(`42["room_state"`)):
		p.kind = packetRoomState
		p.room = roomOf(quoted(b, `"room":"conversation:`))
	default:
		if i := bytes.Index(b, []byte("~e")); i >= 0 {

			p.kind = packetEvent
			rest := b[i+2:]
			p.event, _ = strconv.Atoi(string(rest[:bytes.IndexByte(rest, '~')]))
		}
	}
	return p
}

// quoted returns the text between name and the next quote.
func quoted(b []byte, name string) []byte {
	i := bytes.Index(b, []byte(name))
	if i < 0 {
		return nil
	}
	b = b[i+len(name):]
	return b[:bytes.IndexByte(b, '"')]
}

func roomOf(id []byte) int {
	if len(id) < 2 || id[0] != 'r' {
		return -1
	}
	n, err := strconv.Atoi(string(id[1:]))
	if err != nil {
		return -1
	}
	return n
}

// timeOf parses a time such as 2006-01-02T15:04:05.000Z in the month of epoch. It
// returns Unix ms.
func timeOf(b []byte) int64 {
	two := func(i int) time.Duration { return time.Duration(b[i]-'0')*10 + time.Duration(b[i+1]-'0') }
	since := (two(8)-1)*24*time.Hour + two(11)*time.Hour + two(14)*time.Minute + two(17)*time.Second
	return month.Add(since).UnixMilli() + int64(two(20)*10) + int64(b[22]-'0')
}

var month = time.Date(epoch.Year(), epoch.Month(), 1, 0, 0, 0, 0, time.UTC)

// receive handles a message that the client gets, and checks the rules for it.
func (l *session) receive(m *codec.Message) {
	r := l.c.r
	p := r.packets.read(m)
	if p.offset != "" {
		l.c.offset = p.offset
	}
	switch p.kind {
	case packetConnect:
		l.connected, l.since, l.id = true, r.now, p.socket
		l.answered(p)
		r.judge.sessions[r.judge.number(l.id)] = l
		r.note('c', uint64(l.c.index), 0, 0)
	case packetConnected:
		l.members[r.config.Rooms+l.c.index] = r.judge.enter(l, r.config.Rooms+l.c.index)
		r.trace(l.c.name, "is connected to %v", l.m)
		l.rejoin()
	case packetRefused:
		r.count("refused")
		r.judge.refused(l)
		l.over()
	case packetAck:
		l.acknowledged(p)
	case packetEvent:
		if l.c.asks {
			r.judge.offset(l, p)
		}
		r.judge.event(l, p.event)
	case packetRoomState:
		if l.restored == nil || p.room < 0 || l.restored[p.room] {
			r.fail("an unexpected room_state", "%s on %v got %s", l.c.name, l.m, p.text)
		}
		l.restored[p.room] = true
	case packetPresence:
		if p.from == 0 {
			p.from = r.judge.number(p.socket)
		}
		r.judge.presence(l, p)
	case packetEnded, packetDisconnect:
		r.count("ended by order")
		if l.connected {
			l.connected = false
			l.c.sessionEnded(l.c.pid, "an order has ended it", l.m)
			d := r.between(clientLeast, clientMost)
			l.later(d, l.hangUp)
			l.over()
		}
	}
}

// rejoin joins one to three rooms after a new session has begun.
func (l *session) rejoin() {
	c := l.c
	for range 1 + c.rng.IntN(3) {
		if room := c.room(); l.members[room] == nil {
			l.join(room)
		}
	}
}

func (l *session) acknowledged(p *packet) {
	r := l.c.r
	c, asked := l.calls[p.ack]
	if !asked {
		r.fail("an unexpected acknowledgement", "%s got %s", l.c.name, p.text)
	}
	defer delete(l.calls, p.ack)
	if !p.ok {
		r.fail("a join or leave is refused", "%s got %s", l.c.name, p.text)
	}
	r.note('a', uint64(l.c.index), uint64(c.room), uint64(p.ack))
	if c.leave {
		l.members[c.room] = nil
		return
	}
	if l.memberOf(c.room) == nil {
		l.members[c.room] = r.judge.enter(l, c.room)
	}
	r.trace(l.c.name, "is in %s, whose next event is number %d", roomID(c.room), l.members[c.room].base)
}
