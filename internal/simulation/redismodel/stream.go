package redismodel

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// streamNode is how many entries Redis stores in one node of a stream. Trimming
// with ~ removes whole nodes only. The second limit of a node, 4,096 bytes, is
// compared with an estimate of the size.
const (
	streamNode      = 100
	streamNodeBytes = 4096
)

// A streamID is the id of an entry.
type streamID struct{ ms, seq uint64 }

func (id streamID) String() string { return fmt.Sprintf("%d-%d", id.ms, id.seq) }

func (id streamID) compare(o streamID) int {
	return cmp.Or(cmp.Compare(id.ms, o.ms), cmp.Compare(id.seq, o.seq))
}

var maxID = streamID{math.MaxUint64, math.MaxUint64}

// An entry is an entry of a stream.
type entry struct {
	id     streamID
	fields []string
	opens  bool // first entry of a node
}

// A stream is the value of a key of type stream. Deleting entries in the middle
// does not change the nodes of the others.
type stream struct {
	entries   []entry
	last      streamID
	deleted   streamID // largest id deleted by XDEL
	added     int64
	inNode    int // entries in the last node
	nodeBytes int
}

func (st *stream) clone() *stream {
	c := *st
	c.entries = slices.Clone(st.entries)
	return &c
}

var (
	badID    = fault("ERR Invalid stream ID specified as stream command argument")
	smallID  = fault("ERR The ID specified in XADD is equal or smaller than the target stream top item")
	zeroID   = fault("ERR The ID specified in XADD must be greater than 0-0")
	dollarID = "$"
)

// parseID parses an id; an id without a sequence number gets seq.
func parseID(text string, seq uint64) (id streamID, good bool) {
	switch text {
	case "-":
		return streamID{}, true
	case "+":
		return maxID, true
	}
	ms, rest, both := strings.Cut(text, "-")
	var err error
	if id.ms, err = strconv.ParseUint(ms, 10, 64); err != nil {
		return id, false
	}
	if id.seq = seq; both {
		if id.seq, err = strconv.ParseUint(rest, 10, 64); err != nil {
			return id, false
		}
	}
	return id, true
}

// A trim is the parsed MAXLEN or MINID option of XADD and XTRIM.
type trim struct {
	on, byID, about bool
	most            int64
	least           streamID
}

// parseTrim parses MAXLEN or MINID at args[i] and returns the index after it.
func parseTrim(args []string, i int) (t trim, next int, bad *Reply) {
	t.on, t.byID = true, strings.EqualFold(args[i], "MINID")
	i++
	if i+1 < len(args) && (args[i] == "~" || args[i] == "=") {
		t.about = args[i] == "~"
		i++
	}
	if i >= len(args) {
		return t, i, &syntax
	}
	if t.byID {
		id, good := parseID(args[i], 0)
		if !good {
			return t, i, &badID
		}
		t.least = id
	} else {
		n, err := strconv.ParseInt(args[i], 10, 64)
		if err != nil {
			return t, i, &notInt
		}
		if n < 0 {
			r := fault("ERR The MAXLEN argument must be >= 0.")
			return t, i, &r
		}
		t.most = n
	}
	if i+1 < len(args) && strings.EqualFold(args[i+1], "LIMIT") {
		refuse(args)
	}
	return t, i + 1, nil
}

// trim removes entries from the front and returns their number.
func (st *stream) trim(t trim) int {
	if !t.on {
		return 0
	}
	n := 0
	if t.byID {
		n, _ = slices.BinarySearchFunc(st.entries, t.least, func(e entry, id streamID) int { return e.id.compare(id) })
	} else {
		n = max(len(st.entries)-int(t.most), 0)
	}
	if t.about {
		for n > 0 && n < len(st.entries) && !st.entries[n].opens {
			n-- // a node is removed whole or not at all
		}
		if n == len(st.entries) && n > 0 && t.byID && st.last.compare(t.least) >= 0 {
			n = 0
		}
	}
	st.entries = slices.Delete(st.entries, 0, n)
	if len(st.entries) == 0 {
		st.inNode = 0
	} else {
		st.entries[0].opens = true
	}
	return n
}

func xadd(s *Server, _ *Conn, args []string) Reply {
	i, create := 2, true
	var t trim
	for {
		switch {
		case i >= len(args):
			return fault("ERR wrong number of arguments for 'xadd' command")
		case strings.EqualFold(args[i], "NOMKSTREAM"):
			create = false
			i++
			continue
		case strings.EqualFold(args[i], "MAXLEN"), strings.EqualFold(args[i], "MINID"):
			var bad *Reply
			if t, i, bad = parseTrim(args, i); bad != nil {
				return *bad
			}
			continue
		}
		break
	}
	fields := args[min(i+1, len(args)):]
	if len(fields) == 0 || len(fields)%2 != 0 {
		return fault("ERR wrong number of arguments for 'xadd' command")
	}
	if _, wrong := (&stream{}).nextID(args[i], s.now); wrong == &badID || wrong == &zeroID {
		return *wrong
	}
	v, bad := s.lookup(args[1], "stream", false)
	if bad != nil {
		return *bad
	}
	if v == nil && !create {
		return null
	}
	st := &stream{}
	if v != nil {
		st = v.stream
	}
	id, wrong := st.nextID(args[i], s.now)
	if wrong != nil {
		return *wrong
	}
	if v == nil {
		s.keys[args[1]] = &value{kind: "stream", stream: st}
	}
	st.add(id, fields)
	st.trim(t)
	s.modified(args[1])
	return bulk(id.String())
}

// nextID returns the id of a new entry for the id argument of XADD.
func (st *stream) nextID(text string, now time.Duration) (id streamID, bad *Reply) {
	if text == "*" {
		id = streamID{ms: uint64(now / time.Millisecond)}
		if id.compare(st.last) <= 0 {
			id = streamID{st.last.ms, st.last.seq + 1}
		}
		return id, nil
	}
	if ms, auto := strings.CutSuffix(text, "-*"); auto {
		n, err := strconv.ParseUint(ms, 10, 64)
		if err != nil {
			return id, &badID
		}
		id = streamID{ms: n}
		if n == st.last.ms && (n != 0 || st.last.seq != 0 || st.added > 0) {
			id.seq = st.last.seq + 1
		} else if n == 0 {
			id.seq = 1
		}
	} else {
		var good bool
		if id, good = parseID(text, 0); !good || text == "-" || text == "+" {
			return id, &badID
		}
		if id == (streamID{}) {
			return id, &zeroID
		}
	}
	if id.compare(st.last) <= 0 {
		return id, &smallID
	}
	return id, nil
}

func (st *stream) add(id streamID, fields []string) {
	size := entrySize(fields)
	opens := st.inNode == 0 || st.inNode >= streamNode || st.nodeBytes+size > streamNodeBytes
	if opens {
		st.inNode, st.nodeBytes = 0, 0
	}
	st.inNode++
	st.nodeBytes += size
	st.entries = append(st.entries, entry{id, fields, opens})
	st.last = id
	st.added++
}

func (s *Server) streamOf(key string) (*stream, *Reply) {
	v, bad := s.lookup(key, "stream", false)
	if bad != nil || v == nil {
		return nil, bad
	}
	return v.stream, nil
}

func xlen(s *Server, _ *Conn, args []string) Reply {
	st, bad := s.streamOf(args[1])
	if bad != nil {
		return *bad
	}
	if st == nil {
		return number(0)
	}
	return count(st.entries)
}

func entryReply(e entry) Reply {
	return array(bulk(e.id.String()), bulks(Array, e.fields))
}

func xrange(s *Server, _ *Conn, args []string) Reply {
	back := strings.EqualFold(args[0], "XREVRANGE")
	low, high := args[2], args[3]
	if back {
		low, high = high, low
	}
	most := -1
	if len(args) > 4 {
		if len(args) != 6 || !strings.EqualFold(args[4], "COUNT") {
			return syntax
		}
		n, err := strconv.Atoi(args[5])
		if err != nil {
			return notInt
		}
		most = max(n, 0)
	}
	low, after := strings.CutPrefix(low, "(")
	high, before := strings.CutPrefix(high, "(")
	from, good1 := parseID(low, 0)
	to, good2 := parseID(high, math.MaxUint64)
	if !good1 || !good2 {
		return badID
	}
	st, bad := s.streamOf(args[1])
	if bad != nil {
		return *bad
	}
	if st == nil {
		return array()
	}
	if most == 0 {
		return null
	}
	all := array()
	first, _ := slices.BinarySearchFunc(st.entries, from, func(e entry, id streamID) int { return e.id.compare(id) })
	var found []entry
	for _, e := range st.entries[first:] {
		if e.id.compare(to) > 0 || before && e.id == to {
			break
		}
		if after && e.id == from {
			continue
		}
		if found = append(found, e); !back && len(found) == most {
			break
		}
	}
	if back {
		slices.Reverse(found)
		if most > 0 {
			found = found[:min(most, len(found))]
		}
	}
	for _, e := range found {
		all.Elems = append(all.Elems, entryReply(e))
	}
	return all
}

func xtrim(s *Server, _ *Conn, args []string) Reply {
	if k := strings.ToUpper(args[2]); k != "MAXLEN" && k != "MINID" {
		return syntax
	}
	t, next, bad := parseTrim(args, 2)
	if bad != nil {
		return *bad
	}
	if next != len(args) {
		return syntax
	}
	st, bad := s.streamOf(args[1])
	if bad != nil {
		return *bad
	}
	if st == nil {
		return number(0)
	}
	n := st.trim(t)
	if n > 0 {
		s.modified(args[1])
	}
	return number(int64(n))
}

func xdel(s *Server, _ *Conn, args []string) Reply {
	st, bad := s.streamOf(args[1])
	if bad != nil {
		return *bad
	}
	if st == nil {
		return number(0)
	}
	gone := 0
	for _, text := range args[2:] {
		id, good := parseID(text, 0)
		if !good {
			return badID
		}
		i := slices.IndexFunc(st.entries, func(e entry) bool { return e.id == id })
		if i < 0 {
			continue
		}
		if st.entries[i].opens && i+1 < len(st.entries) {
			st.entries[i+1].opens = true
		}
		st.entries = slices.Delete(st.entries, i, i+1)
		if id.compare(st.deleted) > 0 {
			st.deleted = id
		}
		gone++
	}
	if gone > 0 {
		s.modified(args[1])
	}
	return number(int64(gone))
}

func xinfo(s *Server, _ *Conn, args []string) Reply {
	if len(args) != 3 || !strings.EqualFold(args[1], "STREAM") {
		refuse(args)
	}
	st, bad := s.streamOf(args[2])
	if bad != nil {
		return *bad
	}
	if st == nil {
		return fault("ERR no such key")
	}
	first, last, recorded := null, null, "0-0"
	if n := len(st.entries); n > 0 {
		first, last = entryReply(st.entries[0]), entryReply(st.entries[n-1])
		recorded = st.entries[0].id.String()
	}
	return Reply{Kind: Map, Elems: []Reply{
		bulk("length"), count(st.entries),
		bulk("last-generated-id"), bulk(st.last.String()),
		bulk("max-deleted-entry-id"), bulk(st.deleted.String()),
		bulk("entries-added"), number(st.added),
		bulk("recorded-first-entry-id"), bulk(recorded),
		bulk("first-entry"), first,
		bulk("last-entry"), last,
	}}
}
