package redismodel

import (
	"slices"
	"strconv"
)

func sadd(s *Server, _ *Conn, args []string) Reply {
	v, bad := s.lookup(args[1], "set", true)
	if bad != nil {
		return *bad
	}
	before := len(v.set)
	for _, m := range args[2:] {
		if i, there := slices.BinarySearch(v.set, m); !there {
			v.set = slices.Insert(v.set, i, m)
		}
	}
	if len(v.set) > before {
		v.cached = nil
		s.modified(args[1])
	}
	return number(int64(len(v.set) - before))
}

func srem(s *Server, _ *Conn, args []string) Reply {
	v, bad := s.lookup(args[1], "set", false)
	if bad != nil {
		return *bad
	}
	if v == nil {
		return number(0)
	}
	before := len(v.set)
	for _, m := range args[2:] {
		if i, there := slices.BinarySearch(v.set, m); there {
			v.set = slices.Delete(v.set, i, i+1)
		}
	}
	v.cached = nil
	s.shrunk(args[1], before-len(v.set), len(v.set))
	return number(int64(before - len(v.set)))
}

func smembers(s *Server, _ *Conn, args []string) Reply {
	v, bad := s.lookup(args[1], "set", false)
	if bad != nil {
		return *bad
	}
	if v == nil {
		return Reply{Kind: Set}
	}
	if v.cached == nil {
		v.cached = bulks(Set, v.set).Elems
	}
	return Reply{Kind: Set, Elems: v.cached}
}

func sismember(s *Server, _ *Conn, args []string) Reply {
	v, bad := s.lookup(args[1], "set", false)
	if bad != nil {
		return *bad
	}
	if v == nil {
		return number(0)
	}
	_, there := slices.BinarySearch(v.set, args[2])
	return yes(there)
}

func scard(s *Server, _ *Conn, args []string) Reply {
	v, bad := s.lookup(args[1], "set", false)
	if bad != nil {
		return *bad
	}
	if v == nil {
		return number(0)
	}
	return count(v.set)
}

// srandMember returns all members: the model does not draw.
func srandMember(s *Server, _ *Conn, args []string) Reply {
	if len(args) != 3 {
		refuse(args)
	}
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return notInt
	}
	v, bad := s.lookup(args[1], "set", false)
	if bad != nil {
		return *bad
	}
	if v == nil {
		return array()
	}
	if n < len(v.set) {
		refuse(args)
	}
	return bulks(Array, v.set)
}
