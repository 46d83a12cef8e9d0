package rooms

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
)

// A pid is the secret by which a client comes back to its session: 120 random
// bits. Clients know it as 20 characters.
type pid [15]byte

func newPID() (p pid) {
	rand.Read(p[:]) // never fails (crypto/rand, Go 1.24)
	return p
}

func (p pid) String() string { return base64.RawURLEncoding.EncodeToString(p[:]) }

var pidLength = base64.RawURLEncoding.EncodedLen(len(pid{}))

// parsePID reads a pid's characters.
func parsePID(text string) (p pid, ok bool) {
	if len(text) != pidLength {
		return p, false
	}
	n, err := base64.RawURLEncoding.Decode(p[:], []byte(text)) // skips line ends
	return p, err == nil && n == len(p)
}

// A publicID names a socket to others: 120 random bits that they know as 20
// characters. The zero id is that of a socket that is not connected.
type publicID [15]byte

func newPublicID() publicID { return publicID(newPID()) }

// String returns the id's characters, "" for the zero id.
func (id publicID) String() string {
	if id == (publicID{}) {
		return ""
	}
	return pid(id).String()
}

// append appends the id's characters.
func (id publicID) append(b []byte) []byte {
	if id == (publicID{}) {
		return b
	}
	return base64.RawURLEncoding.AppendEncode(b, id[:])
}

// parsePublicID parses the characters of an id, which may be empty.
func parsePublicID(text string) (id publicID, ok bool) {
	if text == "" {
		return id, true
	}
	p, ok := parsePID(text)
	return publicID(p), ok
}

// A pidTable finds sockets by the pids of their sessions, in 11 to 14 bytes each;
// a map takes 40. It is many small hash tables with linear probing, so that
// growing one takes little time. It is not safe for concurrent use. A socket's
// session must not change while it is in the table.
type pidTable struct {
	parts []pidPart // nil until it is used
	size  int
}

// A pidPart is the hash table of a share of the pids.
type pidPart struct {
	slots []*Socket // at most three quarters of them used
	used  int
}

const (
	pidParts    = 256
	pidMinSlots = 4
)

// home is the slot in which a pid is looked for first.
func (part *pidPart) home(p *pid) int {
	return int(uint64(binary.LittleEndian.Uint32(p[1:])) * uint64(len(part.slots)) >> 32)
}

// find returns the slot of a pid, or the empty slot where it belongs.
func (part *pidPart) find(p *pid) int {
	i := part.home(p)
	for part.slots[i] != nil && part.slots[i].session.pid != *p {
		if i++; i == len(part.slots) {
			i = 0
		}
	}
	return i
}

// get returns the socket of a pid, nil if there is none.
func (t *pidTable) get(p pid) *Socket {
	if t.parts == nil || t.parts[p[0]].used == 0 {
		return nil
	}
	part := &t.parts[p[0]]
	return part.slots[part.find(&p)]
}

// put adds a socket. It replaces and returns another socket with the same pid.
func (t *pidTable) put(s *Socket) (old *Socket) {
	if t.parts == nil {
		t.parts = make([]pidPart, pidParts)
	}
	p := &s.session.pid
	part := &t.parts[p[0]]
	if (part.used+1)*4 > len(part.slots)*3 {
		part.resize(max(len(part.slots)*5/4, len(part.slots)+pidMinSlots))
	}
	i := part.find(p)
	if old = part.slots[i]; old == nil {
		part.used++
		t.size++
	}
	part.slots[i] = s
	return old
}

// remove removes a pid.
func (t *pidTable) remove(p pid) {
	if t.get(p) == nil {
		return
	}
	part := &t.parts[p[0]]
	part.vacate(part.find(&p))
	t.size--
	switch {
	case part.used == 0:
		*part = pidPart{}
	case part.used*4 < len(part.slots) && len(part.slots) > pidMinSlots:
		part.resize(max(part.used*2, pidMinSlots))
	}
}

// vacate empties a slot. Entries behind it that were put there because it was
// taken move up.
func (part *pidPart) vacate(gap int) {
	part.used--
	n := len(part.slots)
	for i := (gap + 1) % n; part.slots[i] != nil; i = (i + 1) % n {
		home := part.home(&part.slots[i].session.pid)
		if (i-home+n)%n >= (i-gap+n)%n { // its way leads over the gap
			part.slots[gap], gap = part.slots[i], i
		}
	}
	part.slots[gap] = nil
}

func (part *pidPart) resize(n int) {
	old := part.slots
	part.slots = make([]*Socket, n)
	for _, s := range old {
		if s != nil {
			part.slots[part.find(&s.session.pid)] = s
		}
	}
}

// all returns the sockets.
func (t *pidTable) all() []*Socket {
	list := make([]*Socket, 0, t.size)
	for _, part := range t.parts {
		for _, s := range part.slots {
			if s != nil {
				list = append(list, s)
			}
		}
	}
	return list
}
