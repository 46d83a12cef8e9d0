package redismodel

import (
	"math"
	"strconv"
)

// Presence has a Go function for each script of package presence, by the
// script's name. The comments of the scripts document their keys and arguments.
var Presence = map[string]Script{
	"renew": renewPresence, "write": writePresence, "claim": claimPresence, "confirm": confirmPresence,
	"overdue": overduePresence, "state": presenceState,
}

// A caller executes a command as redis.call does.
type caller func(args ...string) Reply

// unixMilli returns the server's time in ms, as the scripts read it.
func (call caller) unixMilli() int64 {
	t := call("TIME").Elems
	return integer(t[0].Text)*1000 + integer(t[1].Text)/1000
}

// told returns the state of a room that was published to services last.
func (call caller) told(room string) string {
	if r := call("HGET", room, "told"); r.Kind != Null {
		return r.Text
	}
	return "0"
}

// rest removes the data of a room that is empty and whose state is published.
func (call caller) rest(room, keep string) {
	switch {
	case call("HGET", room, "d").Text == "1":
		call("PERSIST", room)
	case integer(keep) > 0 && call("HEXISTS", room, "seen").Int == 1:
		call("PEXPIRE", room, keep)
	default:
		call("DEL", room)
	}
}

func integer(text string) int64 {
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

// score returns a member's score in a sorted set; false: it is no member.
func (call caller) score(key, member string) (score float64, there bool) {
	r := call("ZSCORE", key, member)
	if r.Kind == Null {
		return 0, false
	}
	score, _ = strconv.ParseFloat(r.Text, 64)
	return score, true
}

// renewPresence implements the script renew.
func renewPresence(do func(args ...string) Reply, keys, argv []string) Reply {
	call := caller(do)
	now := call.unixMilli()
	end := decimal(now + integer(argv[1]))
	score, there := call.score(keys[0], argv[0])
	if argv[2] == "1" && !there || there && score < 0 {
		return bulk("gone")
	}
	call("ZADD", keys[0], end, argv[0])
	for _, former := range argv[4:] {
		if score, there := call.score(keys[0], former); !there || score >= 0 {
			call("ZADD", keys[0], end, former)
		}
	}
	if argv[3] != "1" {
		return bulk("")
	}
	if holder := call("GET", keys[1]); holder.Kind != Null && holder.Text != argv[0] {
		return bulk("")
	}
	dead := call("ZRANGEBYSCORE", keys[0], "-inf", decimal(now), "LIMIT", "0", "1").Elems
	if len(dead) == 0 {
		return bulk("")
	}
	call("SET", keys[1], argv[0], "PX", argv[1])
	call("ZADD", keys[0], "-1", dead[0].Text)
	return bulk(dead[0].Text)
}

// writePresence implements the script write.
func writePresence(do func(args ...string) Reply, keys, argv []string) Reply {
	call := caller(do)
	now, room := call.unixMilli(), keys[0]
	if argv[5] == "0" && call("EXISTS", keys[3]).Int == 1 {
		return number(-1)
	}
	count, old := integer(argv[2]), int64(0)
	take := func(session, has string) {
		old += integer(call("HGET", room, "c:"+session).Text)
		call("HDEL", room, "c:"+session)
		call("SREM", has, argv[0])
	}
	for i, former := range argv[6:] {
		take(former, keys[4+i])
	}
	take(argv[1], keys[2])
	if count > 0 {
		call("HSET", room, "c:"+argv[1], argv[2])
		call("SADD", keys[2], argv[0])
	}
	n := call("HINCRBY", room, "n", decimal(count-old)).Int
	present, wait := call("HGET", room, "d"), int64(0)
	d := present.Text
	switch {
	case n > 0 && d != "1":
		d = "1"
		call("HSET", room, "d", d, "since", decimal(now))
		call("PERSIST", room)
	case n <= 0 && d == "1":
		d, wait = "0", integer(argv[3])
		call("HSET", room, "d", d, "seen", decimal(now))
	case n <= 0 && present.Kind == Null:
		call("DEL", room)
		return number(-2)
	default:
		return number(-2)
	}
	if call("HEXISTS", room, "telling").Int == 1 {
		return number(-2)
	}
	if call.told(room) == d {
		call("ZREM", keys[1], argv[0])
		call.rest(room, argv[4])
		return number(-2)
	}
	call("ZADD", keys[1], decimal(now+wait), argv[0])
	return number(wait)
}

// claimPresence implements the script claim.
func claimPresence(do func(args ...string) Reply, keys, argv []string) Reply {
	call := caller(do)
	now, room := call.unixMilli(), keys[0]
	due, there := call.score(keys[1], argv[0])
	if !there {
		return bulk("")
	}
	if due > float64(now) {
		return bulk(decimal(int64(math.Floor(due - float64(now)))))
	}
	telling := call("HGET", room, "telling")
	if telling.Kind == Null {
		d := "0"
		if r := call("HGET", room, "d"); r.Kind != Null {
			d = r.Text
		}
		if d == call.told(room) {
			call("ZREM", keys[1], argv[0])
			call.rest(room, argv[3])
			return bulk("")
		}
		since := "seen"
		if d == "1" {
			since = "since"
		}
		at, n := call("HGET", room, since), call("HGET", room, "n")
		if at.Kind == Null || n.Kind == Null {
			refuse(append([]string{"the script claim of a room without a time or a sum:"}, argv...))
		}
		telling = bulk(d + " " + argv[1] + " " + n.Text + " " + at.Text)
		call("HSET", room, "telling", telling.Text)
	}
	call("ZADD", keys[1], decimal(now+integer(argv[2])), argv[0])
	return bulk(telling.Text)
}

// confirmPresence implements the script confirm.
func confirmPresence(do func(args ...string) Reply, keys, argv []string) Reply {
	call := caller(do)
	now, room := call.unixMilli(), keys[0]
	if r := call("HGET", room, "telling"); r.Kind == Null || r.Text != argv[1] {
		return number(-2)
	}
	call("HDEL", room, "telling")
	call("HSET", room, "told", argv[1][:1])
	d := call("HGET", room, "d")
	if d.Kind != Null && d.Text == call.told(room) {
		call("ZREM", keys[1], argv[0])
		call.rest(room, argv[3])
		return number(-2)
	}
	wait := int64(0)
	if d.Text == "0" {
		seen := call("HGET", room, "seen")
		if seen.Kind == Null {
			refuse(append([]string{"the script confirm of a room without a time:"}, argv...))
		}
		wait = max(0, integer(seen.Text)+integer(argv[2])-now)
	}
	call("ZADD", keys[1], decimal(now+wait), argv[0])
	return number(wait)
}

// overduePresence implements the script overdue.
func overduePresence(do func(args ...string) Reply, keys, argv []string) Reply {
	until := caller(do).unixMilli() - integer(argv[0])
	return do("ZRANGEBYSCORE", keys[0], "-inf", decimal(until), "LIMIT", "0", argv[1])
}

// presenceState implements the script state.
func presenceState(do func(args ...string) Reply, keys, _ []string) Reply {
	all := do("HGETALL", keys[0]).Elems
	n, nodes, since, seen := "0", int64(0), "", ""
	for i := 0; i+1 < len(all); i += 2 {
		value := all[i+1].Text
		switch name := all[i].Text; {
		case len(name) >= 2 && name[:2] == "c:":
			nodes++
		case name == "n":
			n = value
		case name == "since":
			since = value
		case name == "seen":
			seen = value
		}
	}
	return array(bulk(n), bulk(decimal(nodes)), bulk(since), bulk(seen))
}
