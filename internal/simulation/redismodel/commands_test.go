package redismodel

import (
	"strconv"

	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/rooms/cluster/sessions"
)

// command draws a command on keys. Some of the keys hold another type.
func (p *pair) command(c int) []string {
	if p.rng.IntN(12) == 0 {
		return p.eventLog(p.some("log:", 2))
	}
	if p.rng.IntN(8) == 0 {
		if args := p.presence(c); args != nil {
			return args
		}
	}
	key := p.pick("str:", "hash:", "set:", "zset:", "stream:")
	kind := key
	if p.rng.IntN(20) == 0 {
		kind = p.pick("str:", "hash:", "set:", "zset:", "stream:")
	}
	name := p.some(key, 4)
	if p.rng.IntN(8) == 0 {
		return p.generic(name)
	}
	switch kind {
	case "str:":
		return p.strings(name)
	case "hash:":
		return p.hashes(name)
	case "set:":
		return p.sets(name)
	case "zset:":
		return p.zsets(name)
	}
	return p.streams(name)
}

func (p *pair) generic(key string) []string {
	switch p.rng.IntN(12) {
	case 10:
		return []string{"SCAN", "0", "MATCH", p.pick("s*:1", "*", "set\\:*"), "COUNT", "1000"}
	case 0:
		return []string{"DEL", key, p.some("set:", 4)}
	case 1:
		return []string{"UNLINK", key}
	case 2:
		return []string{"EXISTS", key, p.some("str:", 4), key}
	case 3:
		return []string{"TYPE", key}
	case 4:
		return []string{p.pick("EXPIRE", "PEXPIRE"), key, p.pick("100000", "200000", "0", "-1", "x")}
	case 5:
		return []string{"PERSIST", key}
	case 6:
		return []string{p.pick("TTL", "PTTL"), key}
	case 7:
		return []string{"DBSIZE"}
	case 8:
		return []string{"GET"} // too few arguments
	case 9:
		return []string{"MGET", key, p.some("str:", 4)}
	}
	return []string{"PING"}
}

func (p *pair) strings(key string) []string {
	value := p.pick("5", "17", "text", "")
	if p.rng.IntN(4) == 0 {
		return p.records(key)
	}
	switch p.rng.IntN(10) {
	case 8:
		return []string{"GETRANGE", key, p.pick("0", "2", "9"), p.pick("0", "3", "20", "x")}
	case 0:
		return []string{"GETDEL", key}
	case 1:
		return []string{"SET", key, value, "NX", "PX", "100000"}
	case 2:
		return []string{"SET", key, value, "XX", "GET"}
	case 3:
		return []string{"SET", key, value, p.pick("EX", "PX"), p.pick("1000", "0", "x")}
	case 4:
		return []string{"SET", key, value, "KEEPTTL"}
	case 5:
		return []string{"INCR", key}
	case 6:
		return []string{"INCRBY", key, p.pick("7", "-3", "x")}
	case 7:
		return []string{"SET", key, value}
	}
	return []string{"GET", key}
}

// records draws the script that writes or removes the record of a session.
func (p *pair) records(key string) []string {
	nodes := []string{"a", "b"}
	r := rooms.Record{PID: "p", User: "u", Node: nodes[p.rng.IntN(2)], Moves: []uint32{0, 1, 255, 256, 1 << 31}[p.rng.IntN(5)]}
	form := string(rooms.AppendRecord(nil, &r))
	if p.rng.IntN(4) == 0 {
		form = ""
	}
	return []string{"EVAL", sessions.Write, "1", key,
		strconv.FormatUint(uint64(r.Moves), 10), strconv.FormatUint(uint64(rooms.NodeMark(r.Node)), 10), form, "100000"}
}

func (p *pair) hashes(key string) []string {
	f := func() string { return p.some("f", 5) }
	switch p.rng.IntN(9) {
	case 8:
		return []string{"HINCRBY", key, f(), p.pick("7", "-3", "x")}
	case 0:
		return []string{"HGET", key, f()}
	case 1:
		return []string{"HMGET", key, f(), f()}
	case 2:
		return []string{"HGETALL", key}
	case 3:
		return []string{"HDEL", key, f(), f()}
	case 4:
		return []string{"HLEN", key}
	case 5:
		return []string{"HEXISTS", key, f()}
	case 6:
		return []string{"HSET", key, f(), "1", f()}
	}
	return []string{"HSET", key, f(), "1", f(), "2"}
}

func (p *pair) sets(key string) []string {
	m := func() string { return p.some("", 6) }
	switch p.rng.IntN(9) {
	case 8:
		return []string{"SRANDMEMBER", key, p.pick("6", "60")}
	case 0, 1:
		return []string{"SREM", key, m(), m()}
	case 2:
		return []string{"SMEMBERS", key}
	case 3:
		return []string{"SISMEMBER", key, m()}
	case 4:
		return []string{"SCARD", key}
	}
	return []string{"SADD", key, m(), m()}
}

func (p *pair) zsets(key string) []string {
	m := func() string { return p.some("m", 6) }
	score := func() string { return p.pick("1", "2", "3.5", "-4", "1000000") }
	limit := func() string { return p.pick("-inf", "+inf", "2", "(2", "3.5", "x") }
	index := func() string { return p.pick("0", "1", "2", "-1", "-2", "-10", "9") }
	switch p.rng.IntN(16) {
	case 0:
		return []string{"ZREM", key, m(), m()}
	case 1:
		return []string{"ZSCORE", key, m()}
	case 2:
		return []string{"ZCARD", key}
	case 3:
		return []string{"ZRANGE", key, index(), index(), "WITHSCORES"}
	case 4:
		return []string{"ZRANGE", key, limit(), limit(), "BYSCORE", "LIMIT", "1", "2"}
	case 5:
		return []string{"ZRANGEBYSCORE", key, limit(), limit()}
	case 6:
		return []string{"ZCOUNT", key, limit(), limit()}
	case 7:
		return []string{"ZREMRANGEBYSCORE", key, limit(), limit()}
	case 8:
		return []string{"ZREMRANGEBYRANK", key, index(), index()}
	case 9:
		return []string{"ZSCAN", key, "0", "COUNT", "100"}
	case 10:
		return []string{"ZADD", key, p.pick("NX", "XX", "GT", "LT"), "CH", score(), m()}
	}
	return []string{"ZADD", key, score(), m(), score(), m()}
}

func (p *pair) streams(key string) []string {
	id := func() string { return p.pick("0", "3", "10-1", "20", "x") }
	switch p.rng.IntN(13) {
	case 0:
		return []string{"XLEN", key}
	case 1:
		return []string{p.pick("XRANGE", "XRANGE", "XREVRANGE"), key, p.pick("-", "(3", "5-1"), p.pick("+", "30", "(20")}
	case 2:
		return []string{"XRANGE", key, "-", "+", "COUNT", p.pick("1", "3", "0")}
	case 3:
		return []string{"XREAD", "COUNT", "2", "STREAMS", key, p.some("stream:", 4), id(), p.pick("0", "$")}
	case 4:
		return []string{"XTRIM", key, "MAXLEN", p.pick("2", "=", "x")}
	case 5:
		return []string{"XTRIM", key, "MINID", "=", id()}
	case 6:
		return []string{"XDEL", key, id(), "5"}
	case 7:
		return []string{"XINFO", "STREAM", key}
	case 8:
		return []string{"XADD", key, "MAXLEN", "~", "3", p.nextID(), "f", "v"}
	case 9:
		return []string{"XADD", key, "NOMKSTREAM", "MAXLEN", "3", p.nextID(), "f", "v"}
	case 10:
		return []string{"XADD", key, p.pick("0-0", "5-*", "3", "1"), "f", "v"}
	}
	return []string{"XADD", key, p.nextID(), "f", "v", "g", "w"}
}

func (p *pair) nextID() string {
	p.ids += uint64(p.rng.IntN(3))
	return strconv.FormatUint(p.ids, 10) + p.pick("", "-1", "-*")
}
