package redismodel

import (
	"strconv"
	"strings"
	"time"
)

func get(s *Server, _ *Conn, args []string) Reply {
	v, bad := s.lookup(args[1], "string", false)
	switch {
	case bad != nil:
		return *bad
	case v == nil:
		return null
	}
	return bulk(*v.str)
}

func getDel(s *Server, c *Conn, args []string) Reply {
	r := get(s, c, args)
	if r.Kind == Bulk {
		s.remove(args[1])
	}
	return r
}

func mget(s *Server, _ *Conn, args []string) Reply {
	list := Reply{Kind: Array, Elems: make([]Reply, 0, len(args)-1)}
	for _, key := range args[1:] {
		if v := s.keys[key]; v != nil && v.kind == "string" {
			list.Elems = append(list.Elems, bulk(*v.str))
		} else {
			list.Elems = append(list.Elems, null)
		}
	}
	return list
}

// setOptions are the options of SET.
type setOptions struct {
	ifAbsent, ifPresent, get, keep bool
	until                          time.Duration
}

func (s *Server) setOptions(args []string) (o setOptions, bad *Reply) {
	for i := 3; i < len(args); i++ {
		name := strings.ToUpper(args[i])
		switch name {
		case "NX":
			o.ifAbsent = true
		case "XX":
			o.ifPresent = true
		case "GET":
			o.get = true
		case "KEEPTTL":
			o.keep = true
		case "EX", "PX":
			if i++; i == len(args) {
				return o, &syntax
			}
			n, err := strconv.ParseInt(args[i], 10, 64)
			if err != nil {
				return o, &notInt
			}
			if n <= 0 {
				r := fault("ERR invalid expire time in 'set' command")
				return o, &r
			}
			unit := time.Second
			if name == "PX" {
				unit = time.Millisecond
			}
			o.until = s.now + time.Duration(n)*unit
		default:
			refuse(args)
		}
	}
	if o.ifAbsent && o.ifPresent || o.keep && o.until != 0 {
		return o, &syntax
	}
	return o, nil
}

func set(s *Server, _ *Conn, args []string) Reply {
	o, bad := s.setOptions(args)
	if bad != nil {
		return *bad
	}
	before := ok
	old := s.keys[args[1]]
	if o.get {
		if _, bad := s.lookup(args[1], "string", false); bad != nil {
			return *bad
		}
		before = null
		if old != nil {
			before = bulk(*old.str)
		}
	}
	if o.ifAbsent && old != nil || o.ifPresent && old == nil {
		if o.get {
			return before
		}
		return null
	}
	text := args[2]
	v := &value{kind: "string", str: &text, until: o.until}
	if o.keep && old != nil {
		v.until = old.until
	}
	s.keys[args[1]] = v
	if o.until != 0 {
		s.expireAt(args[1], o.until)
	}
	s.modified(args[1])
	return before
}

func incr(s *Server, _ *Conn, args []string) Reply {
	by := int64(1)
	if len(args) == 3 {
		n, err := strconv.ParseInt(args[2], 10, 64)
		if err != nil {
			return notInt
		}
		by = n
	}
	v, bad := s.lookup(args[1], "string", false)
	if bad != nil {
		return *bad
	}
	n := int64(0)
	if v != nil {
		var err error
		if n, err = strconv.ParseInt(*v.str, 10, 64); err != nil {
			return notInt
		}
	} else {
		v = &value{kind: "string"}
		s.keys[args[1]] = v
	}
	text := strconv.FormatInt(n+by, 10)
	v.str = &text
	s.modified(args[1])
	return number(n + by)
}
