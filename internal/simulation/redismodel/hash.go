package redismodel

import "strconv"

func hset(s *Server, _ *Conn, args []string) Reply {
	if len(args)%2 != 0 {
		return fault("ERR wrong number of arguments for 'hset' command")
	}
	v, bad := s.lookup(args[1], "hash", true)
	if bad != nil {
		return *bad
	}
	if v.hash == nil {
		v.hash = make(map[string]string)
	}
	before := len(v.hash)
	for i := 2; i < len(args); i += 2 {
		v.hash[args[i]] = args[i+1]
	}
	s.modified(args[1])
	return number(int64(len(v.hash) - before))
}

func hget(s *Server, _ *Conn, args []string) Reply {
	v, bad := s.lookup(args[1], "hash", false)
	if bad != nil {
		return *bad
	}
	return v.field(args[2])
}

func (v *value) field(name string) Reply {
	if v == nil {
		return null
	}
	text, there := v.hash[name]
	if !there {
		return null
	}
	return bulk(text)
}

func hmget(s *Server, _ *Conn, args []string) Reply {
	v, bad := s.lookup(args[1], "hash", false)
	if bad != nil {
		return *bad
	}
	list := array()
	for _, name := range args[2:] {
		list.Elems = append(list.Elems, v.field(name))
	}
	return list
}

func hgetAll(s *Server, _ *Conn, args []string) Reply {
	v, bad := s.lookup(args[1], "hash", false)
	if bad != nil {
		return *bad
	}
	all := Reply{Kind: Map}
	if v != nil {
		for _, name := range sortedKeys(v.hash) {
			all.Elems = append(all.Elems, bulk(name), bulk(v.hash[name]))
		}
	}
	return all
}

func hdel(s *Server, _ *Conn, args []string) Reply {
	v, bad := s.lookup(args[1], "hash", false)
	if bad != nil {
		return *bad
	}
	if v == nil {
		return number(0)
	}
	before := len(v.hash)
	for _, name := range args[2:] {
		delete(v.hash, name)
	}
	gone := before - len(v.hash)
	s.shrunk(args[1], gone, len(v.hash))
	return number(int64(gone))
}

// shrunk records that elements of a key's value are gone, and removes the key
// when none is left.
func (s *Server) shrunk(key string, gone, left int) {
	switch {
	case gone == 0:
	case left == 0:
		s.remove(key)
	default:
		s.modified(key)
	}
}

func hlen(s *Server, _ *Conn, args []string) Reply {
	v, bad := s.lookup(args[1], "hash", false)
	if bad != nil {
		return *bad
	}
	if v == nil {
		return number(0)
	}
	return number(int64(len(v.hash)))
}

func hexists(s *Server, _ *Conn, args []string) Reply {
	v, bad := s.lookup(args[1], "hash", false)
	if bad != nil {
		return *bad
	}
	return yes(v.field(args[2]).Kind == Bulk)
}

func hincrby(s *Server, _ *Conn, args []string) Reply {
	by, err := strconv.ParseInt(args[3], 10, 64)
	if err != nil {
		return notInt
	}
	v, bad := s.lookup(args[1], "hash", true)
	if bad != nil {
		return *bad
	}
	n := int64(0)
	if text, there := v.hash[args[2]]; there {
		if n, err = strconv.ParseInt(text, 10, 64); err != nil {
			return fault("ERR hash value is not an integer")
		}
	}
	if v.hash == nil {
		v.hash = make(map[string]string)
	}
	v.hash[args[2]] = strconv.FormatInt(n+by, 10)
	s.modified(args[1])
	return number(n + by)
}
