package redismodel

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// A blocked is the XREAD in which a connection is blocked.
type blocked struct {
	until time.Duration // 0: no timeout
	most  int
	keys  []string
	after []streamID
}

// splitXread splits the arguments of XREAD into options, keys and ids.
func splitXread(args []string) (options, keys, ids []string) {
	for i, a := range args {
		if strings.EqualFold(a, "STREAMS") {
			rest := args[i+1:]
			return args[1:i], rest[:len(rest)/2], rest[len(rest)/2:]
		}
	}
	return args[1:], nil, nil
}

func xreadKeys(args []string) []string {
	_, keys, _ := splitXread(args)
	return keys
}

func xread(s *Server, c *Conn, args []string) (Reply, bool) {
	options, keys, ids := splitXread(args)
	if len(keys) != len(ids) {
		return fault("ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified."), true
	}
	b := &blocked{keys: keys}
	block := false
	for i := 0; i < len(options); i += 2 {
		if i+1 == len(options) {
			return syntax, true
		}
		n, err := strconv.ParseInt(options[i+1], 10, 64)
		if err != nil {
			if strings.EqualFold(options[i], "BLOCK") {
				return fault("ERR timeout is not an integer or out of range"), true
			}
			return notInt, true
		}
		switch strings.ToUpper(options[i]) {
		case "COUNT":
			b.most = int(max(n, 0))
		case "BLOCK":
			if block = true; n > 0 {
				b.until = s.now + time.Duration(n)*time.Millisecond
			}
		default:
			return syntax, true
		}
	}
	if len(keys) == 0 {
		return syntax, true
	}
	for i, text := range ids {
		st, bad := s.streamOf(keys[i])
		if bad != nil {
			return *bad, true
		}
		id, good := parseID(text, 0)
		if text == dollarID {
			if good = true; st != nil {
				id = st.last
			}
		}
		if !good || text == "-" || text == "+" {
			return badID, true
		}
		b.after = append(b.after, id)
	}
	r, found := s.read(b)
	if found || !block {
		return r, true
	}
	if c.multi {
		return null, true
	}
	c.block = b
	s.blocked = append(s.blocked, c)
	return Reply{}, false
}

// read returns the entries after the given ids.
func (s *Server) read(b *blocked) (r Reply, found bool) {
	all := Reply{Kind: Map}
	for i, key := range b.keys {
		st, bad := s.streamOf(key)
		if bad != nil {
			return *bad, true
		}
		if st == nil {
			continue
		}
		list := array()
		for _, e := range st.entries {
			if e.id.compare(b.after[i]) > 0 {
				if list.Elems = append(list.Elems, entryReply(e)); len(list.Elems) == b.most {
					break
				}
			}
		}
		if len(list.Elems) > 0 {
			all.Elems = append(all.Elems, bulk(key), list)
		}
	}
	if len(all.Elems) == 0 {
		return null, false
	}
	return all, true
}

// endBlocks answers the blocked reads that have entries or whose time is over,
// in the order in which they began, and executes the commands sent after them.
func (s *Server) endBlocks() {
	for i := 0; i < len(s.blocked); {
		c := s.blocked[i]
		r, found := s.read(c.block)
		if !found && (c.block.until == 0 || c.block.until > s.now) {
			i++
			continue
		}
		s.blocked = slices.Delete(s.blocked, i, i+1)
		c.block = nil
		c.Out = append(c.Out, r)
		waiting := c.waiting
		c.waiting = nil
		for j, args := range waiting {
			if c.block != nil {
				c.waiting = append(c.waiting, waiting[j:]...)
				break
			}
			s.execute(c, args)
		}
		i = 0 // those commands may have added entries for an earlier one
	}
}
