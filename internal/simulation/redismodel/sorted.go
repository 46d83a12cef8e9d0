package redismodel

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A scored is a member of a sorted set with its score.
type scored struct {
	member string
	score  float64
}

// order returns the members ordered by score, then by name.
func (v *value) order() []scored {
	if v == nil {
		return nil
	}
	list := make([]scored, 0, len(v.sorted))
	for m, score := range v.sorted {
		list = append(list, scored{m, score})
	}
	slices.SortFunc(list, func(a, b scored) int {
		return cmp.Or(cmp.Compare(a.score, b.score), cmp.Compare(a.member, b.member))
	})
	return list
}

func zadd(s *Server, _ *Conn, args []string) Reply {
	var nx, xx, gt, lt, ch bool
	i := 2
options:
	for ; i < len(args); i++ {
		switch strings.ToUpper(args[i]) {
		case "NX":
			nx = true
		case "XX":
			xx = true
		case "GT":
			gt = true
		case "LT":
			lt = true
		case "CH":
			ch = true
		case "INCR":
			refuse(args)
		default:
			break options
		}
	}
	pairs := args[i:]
	if len(pairs) == 0 || len(pairs)%2 != 0 {
		return syntax
	}
	if nx && xx || nx && (gt || lt) || gt && lt {
		refuse(args) // errors that no caller relies on
	}
	scores := make([]float64, 0, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		f, err := strconv.ParseFloat(pairs[i], 64)
		if err != nil {
			return notFloat
		}
		scores = append(scores, f)
	}
	v, bad := s.lookup(args[1], "zset", !xx)
	if bad != nil {
		return *bad
	}
	if v == nil {
		return number(0)
	}
	if v.sorted == nil {
		v.sorted = make(map[string]float64)
	}
	added, changed := 0, 0
	for i, score := range scores {
		m := pairs[2*i+1]
		old, there := v.sorted[m]
		switch {
		case !there && xx, there && nx, there && gt && score <= old, there && lt && score >= old:
		case !there:
			added++
			v.sorted[m] = score
		case old != score:
			changed++
			v.sorted[m] = score
		}
	}
	if added+changed > 0 {
		s.modified(args[1])
	}
	if ch {
		added += changed
	}
	return number(int64(added))
}

func zrem(s *Server, _ *Conn, args []string) Reply {
	v, bad := s.lookup(args[1], "zset", false)
	if bad != nil {
		return *bad
	}
	if v == nil {
		return number(0)
	}
	return s.zremove(args[1], v, args[2:])
}

func (s *Server) zremove(key string, v *value, members []string) Reply {
	before := len(v.sorted)
	for _, m := range members {
		delete(v.sorted, m)
	}
	gone := before - len(v.sorted)
	s.shrunk(key, gone, len(v.sorted))
	return number(int64(gone))
}

func zscore(s *Server, _ *Conn, args []string) Reply {
	v, bad := s.lookup(args[1], "zset", false)
	if bad != nil {
		return *bad
	}
	if v == nil {
		return null
	}
	if score, there := v.sorted[args[2]]; there {
		return double(score)
	}
	return null
}

func zcard(s *Server, _ *Conn, args []string) Reply {
	v, bad := s.lookup(args[1], "zset", false)
	if bad != nil {
		return *bad
	}
	if v == nil {
		return number(0)
	}
	return number(int64(len(v.sorted)))
}

// A bound is one end of a range of scores.
type bound struct {
	score     float64
	exclusive bool
}

func parseBound(text string) (b bound, good bool) {
	text, b.exclusive = strings.CutPrefix(text, "(")
	switch strings.ToLower(text) {
	case "-inf":
		b.score = math.Inf(-1)
	case "+inf", "inf":
		b.score = math.Inf(1)
	default:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return b, false
		}
		b.score = f
	}
	return b, true
}

// between returns the members whose scores are in a range.
func between(list []scored, from, to string) (found []scored, bad *Reply) {
	low, good1 := parseBound(from)
	high, good2 := parseBound(to)
	if !good1 || !good2 {
		r := fault("ERR min or max is not a float")
		return nil, &r
	}
	for _, m := range list {
		if (m.score > low.score || m.score == low.score && !low.exclusive) &&
			(m.score < high.score || m.score == high.score && !high.exclusive) {
			found = append(found, m)
		}
	}
	return found, nil
}

// slice returns list[from:to] with Redis' indexes: inclusive, -1 is the last.
func slice[T any](list []T, from, to string) (part []T, bad *Reply) {
	i, err1 := strconv.Atoi(from)
	j, err2 := strconv.Atoi(to)
	if err1 != nil || err2 != nil {
		return nil, &notInt
	}
	n := len(list)
	if i < 0 {
		i = max(i+n, 0)
	}
	if j < 0 {
		j += n
	}
	j = min(j, n-1)
	if i > j {
		return nil, nil
	}
	return list[i : j+1], nil
}

func zrange(s *Server, _ *Conn, args []string) Reply {
	byScore := strings.EqualFold(args[0], "ZRANGEBYSCORE")
	scores, offset, limit := false, 0, -1
	for i := 4; i < len(args); i++ {
		switch strings.ToUpper(args[i]) {
		case "WITHSCORES":
			scores = true
		case "BYSCORE":
			byScore = true
		case "LIMIT":
			if i+2 >= len(args) {
				return syntax
			}
			var err1, err2 error
			offset, err1 = strconv.Atoi(args[i+1])
			limit, err2 = strconv.Atoi(args[i+2])
			if err1 != nil || err2 != nil {
				return notInt
			}
			i += 2
		default:
			refuse(args)
		}
	}
	if (offset != 0 || limit != -1) && !byScore {
		refuse(args)
	}
	part := slice[scored]
	if byScore {
		part = between
	}
	_, list, bad := s.part(args, part)
	if bad != nil {
		return *bad
	}
	if byScore {
		list = list[min(max(offset, 0), len(list)):]
		if limit >= 0 {
			list = list[:min(limit, len(list))]
		}
	}
	return scoredList(list, scores)
}

func scoredList(list []scored, scores bool) Reply {
	all := array()
	for _, m := range list {
		if scores {
			all.Elems = append(all.Elems, array(bulk(m.member), double(m.score)))
		} else {
			all.Elems = append(all.Elems, bulk(m.member))
		}
	}
	return all
}

func zcount(s *Server, _ *Conn, args []string) Reply {
	_, list, bad := s.part(args, between)
	if bad != nil {
		return *bad
	}
	return count(list)
}

// part returns the members in a range. As in Redis, the error for a bad range
// comes before the error for a key of another type.
func (s *Server) part(args []string, part func([]scored, string, string) ([]scored, *Reply)) (*value, []scored, *Reply) {
	if _, bad := part(nil, args[2], args[3]); bad != nil {
		return nil, nil, bad
	}
	v, bad := s.lookup(args[1], "zset", false)
	if bad != nil {
		return nil, nil, bad
	}
	list, bad := part(v.order(), args[2], args[3])
	return v, list, bad
}

func names(list []scored) []string {
	all := make([]string, len(list))
	for i, m := range list {
		all[i] = m.member
	}
	return all
}

func zremByScore(s *Server, _ *Conn, args []string) Reply { return s.zremRange(args, between) }

func zremByRank(s *Server, _ *Conn, args []string) Reply { return s.zremRange(args, slice[scored]) }

func (s *Server) zremRange(args []string, part func([]scored, string, string) ([]scored, *Reply)) Reply {
	v, list, bad := s.part(args, part)
	if bad != nil {
		return *bad
	}
	if v == nil {
		return number(0)
	}
	return s.zremove(args[1], v, names(list))
}

func zscan(s *Server, _ *Conn, args []string) Reply {
	if args[2] != "0" || len(args) != 3 && !(len(args) == 5 && strings.EqualFold(args[3], "COUNT")) {
		refuse(args)
	}
	v, bad := s.lookup(args[1], "zset", false)
	if bad != nil {
		return *bad
	}
	all := array()
	for _, m := range v.order() {
		all.Elems = append(all.Elems, bulk(m.member), bulk(formatFloat(m.score)))
	}
	return array(bulk("0"), all)
}
