package redismodel

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

func ping(_ *Server, _ *Conn, args []string) Reply {
	switch len(args) {
	case 1:
		return simple("PONG")
	case 2:
		return bulk(args[1])
	}
	return fault("ERR wrong number of arguments for 'ping' command")
}

func hello(_ *Server, c *Conn, args []string) Reply {
	if len(args) != 2 || args[1] != "3" {
		refuse(args)
	}
	return Reply{Kind: Map, Elems: []Reply{
		bulk("server"), bulk("redis"), bulk("version"), bulk("7.0.15"), bulk("proto"), number(3),
		bulk("id"), number(c.id), bulk("mode"), bulk("standalone"), bulk("role"), bulk("master"),
		bulk("modules"), array(),
	}}
}

func selectDB(_ *Server, _ *Conn, args []string) Reply {
	if args[1] != "0" {
		refuse(args)
	}
	return ok
}

func clock(s *Server, _ *Conn, _ []string) Reply {
	return array(bulk(strconv.FormatInt(int64(s.now/time.Second), 10)),
		bulk(strconv.FormatInt(int64(s.now%time.Second/time.Microsecond), 10)))
}

func multi(_ *Server, c *Conn, _ []string) Reply {
	if c.multi {
		return fault("ERR MULTI calls can not be nested")
	}
	c.multi, c.aborted, c.queue = true, false, nil
	return ok
}

func discard(_ *Server, c *Conn, _ []string) Reply {
	if !c.multi {
		return fault("ERR DISCARD without MULTI")
	}
	c.multi, c.queue = false, nil
	return ok
}

func exec(s *Server, c *Conn, _ []string) Reply {
	if !c.multi {
		return fault("ERR EXEC without MULTI")
	}
	queue := c.queue
	c.queue = nil
	if c.aborted {
		c.multi = false
		return fault("EXECABORT Transaction discarded because of previous errors.")
	}
	all := array()
	all.Elems = make([]Reply, 0, len(queue))
	for _, args := range queue {
		name := strings.ToUpper(args[0])
		if strings.HasSuffix(name, "SUBSCRIBE") || name == "CLIENT" {
			refuse(append([]string{"MULTI"}, args...))
		}
		r, _ := s.call(c, commands[name], name, args)
		all.Elems = append(all.Elems, r)
	}
	c.multi, c.tracking.once = false, false
	return all
}

func del(s *Server, _ *Conn, args []string) Reply {
	n := 0
	for _, key := range args[1:] {
		if s.remove(key) {
			n++
		}
	}
	return number(int64(n))
}

func exists(s *Server, _ *Conn, args []string) Reply {
	n := 0
	for _, key := range args[1:] {
		if s.keys[key] != nil {
			n++
		}
	}
	return number(int64(n))
}

func typeOf(s *Server, _ *Conn, args []string) Reply {
	if v := s.keys[args[1]]; v != nil {
		return simple(v.kind)
	}
	return simple("none")
}

func expire(s *Server, _ *Conn, args []string) Reply {
	if len(args) != 3 {
		refuse(args)
	}
	n, err := strconv.ParseInt(args[2], 10, 64)
	if err != nil {
		return notInt
	}
	v := s.keys[args[1]]
	if v == nil {
		return number(0)
	}
	unit := time.Second
	if strings.EqualFold(args[0], "PEXPIRE") {
		unit = time.Millisecond
	}
	if n <= 0 {
		s.remove(args[1])
		return number(1)
	}
	v.until = s.now + time.Duration(n)*unit
	s.expireAt(args[1], v.until)
	s.modified(args[1])
	return number(1)
}

func persist(s *Server, _ *Conn, args []string) Reply {
	v := s.keys[args[1]]
	if v == nil || v.until == 0 {
		return number(0)
	}
	v.until = 0
	s.modified(args[1])
	return number(1)
}

func ttl(s *Server, _ *Conn, args []string) Reply {
	v := s.keys[args[1]]
	switch {
	case v == nil:
		return number(-2)
	case v.until == 0:
		return number(-1)
	case strings.EqualFold(args[0], "TTL"):
		return number(int64((v.until - s.now + time.Second/2) / time.Second))
	}
	return number(int64((v.until - s.now) / time.Millisecond))
}

func scan(s *Server, _ *Conn, args []string) Reply {
	if args[1] != "0" {
		refuse(args) // the model returns no cursor but 0
	}
	pattern, kind := "*", ""
	for i := 2; i < len(args); i += 2 {
		if i+1 == len(args) {
			return syntax
		}
		switch strings.ToUpper(args[i]) {
		case "MATCH":
			pattern = args[i+1]
		case "COUNT":
		case "TYPE":
			kind = args[i+1]
		default:
			refuse(args)
		}
	}
	found := []string{}
	for _, key := range s.Keys() {
		if match(pattern, key) && (kind == "" || s.keys[key].kind == kind) {
			found = append(found, key)
		}
	}
	return array(bulk("0"), bulks(Array, found))
}

// match compares text with a glob of literal characters, escaped ones and *.
func match(pattern, text string) bool {
	for len(pattern) > 0 {
		switch pattern[0] {
		case '*':
			for i := 0; i <= len(text); i++ {
				if match(pattern[1:], text[i:]) {
					return true
				}
			}
			return false
		case '?', '[':
			refuse([]string{"MATCH", pattern})
		case '\\':
			if len(pattern) > 1 {
				pattern = pattern[1:]
			}
		}
		if text == "" || text[0] != pattern[0] {
			return false
		}
		pattern, text = pattern[1:], text[1:]
	}
	return text == ""
}

func dbSize(s *Server, _ *Conn, _ []string) Reply { return number(int64(len(s.keys))) }

func flush(s *Server, _ *Conn, args []string) Reply {
	if len(args) > 1 && !strings.EqualFold(args[1], "SYNC") {
		refuse(args)
	}
	clear(s.keys)
	s.expiry = nil
	s.flushed = true
	return ok
}

// lookup returns the value of a key, and an error reply when it has another
// type. A missing key is created when create is set, otherwise the value is nil.
func (s *Server) lookup(key, kind string, create bool) (*value, *Reply) {
	v := s.keys[key]
	if v != nil && v.kind != kind {
		r := wrongType
		return nil, &r
	}
	if v == nil && create {
		v = &value{kind: kind}
		s.keys[key] = v
	}
	return v, nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
