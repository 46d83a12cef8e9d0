package simulation

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/rooms/cluster/presence"
)

// checkPresence checks that the published states are true when nothing happens any
// more, and that Redis has the same state and nothing else.
func (r *run) checkPresence() {
	j := &r.presence
	if j.rooms == nil {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(j.rooms)) {
		a := j.rooms[name]
		there := a.total > 0
		if here := a.publishedAt != 0 && a.occupied; here != there && !j.forgotten(a) {
			r.fail("the published presence is wrong", "%s has %d members since %v, the last event says occupied: %v, at %v", name, a.total, a.changed, here, a.timestamp)
		}
		j.checkState(a)
	}
	j.checkKeys()
}

// forgotten reports whether Redis may have lost the state that was published last,
// or a change that was made while it was down.
func (j *presenceJudge) forgotten(a *presenceRoom) bool {
	return slices.ContainsFunc(j.r.redis.losses, func(lost time.Duration) bool {
		return a.publishedAt < lost+lostTime && (a.publishedAt > lost-replicaMost || a.total == 0 && a.changed < lost+lostTime)
	})
}

// checkState checks the answer of GET /users.
func (j *presenceJudge) checkState(a *presenceRoom) {
	r := j.r
	if !rooms.OfUser(a.name) {
		return
	}
	c := presence.Ask(names, strings.TrimPrefix(a.name, rooms.UserRoom("")))
	conn := r.redis.server.Connect()
	conn.Do(append([]string{"EVAL", c.Script.Source(), "1", c.Keys[0]}, c.Args...)...)
	u, err := presence.ParseUser(r.redis.replyOf("EVAL", conn.Out[0]))
	conn.Close()
	switch {
	case err != nil || u.Sockets != a.total || u.Nodes != len(a.sockets):
		r.fail("a wrong answer about a user's presence", "%s has %d sockets on %d nodes: %+v, %v", a.name, a.total, len(a.sockets), u, err)
	case u.Sockets > 0 && u.Since.Sub(epoch) > r.now:
		r.fail("a wrong answer about a user's presence", "%s: %+v", a.name, u)
	}
}

// checkKeys checks that Redis has no unpublished change, and only counts of
// running nodes.
func (j *presenceJudge) checkKeys() {
	r := j.r
	r.redis.advance()
	c := r.redis.server.Connect()
	defer c.Close()
	do := func(args ...string) []string {
		c.Do(args...)
		list := c.Out[len(c.Out)-1].Strings()
		c.Out = nil
		return list
	}
	prefix := names.Presence("", "")
	prefix = prefix[:strings.Index(prefix, "{")+1]
	for _, key := range r.redis.server.Keys() {
		rest, is := strings.CutPrefix(key, prefix)
		_, what, _ := strings.Cut(rest, "}:")
		switch {
		case !is:
		case what == "untold":
			r.fail("something waits for ever", "rooms are not told: %v", do("ZRANGE", key, "0", "-1"))
		case what == "sessions":
			if list := do("ZRANGE", key, "0", "-1"); len(list) != r.running() {
				r.fail("redis has counts of nodes that are gone", "sessions %v of %d nodes", list, r.running())
			}
		case strings.HasPrefix(what, "of:"):
			j.checkRoom(strings.TrimPrefix(what, "of:"), do("HGETALL", key))
		case strings.HasPrefix(what, "has:"):
			j.checkSession(key, strings.TrimPrefix(what, "has:"), do("SMEMBERS", key))
		}
	}
}

// checkRoom checks the count of a room in Redis.
func (j *presenceJudge) checkRoom(name string, hash []string) {
	sum := "0"
	for i := 0; i+1 < len(hash); i += 2 {
		switch hash[i] {
		case "telling":
			j.r.fail("something waits for ever", "%s is being told: %v", name, hash)
		case "n":
			sum = hash[i+1]
		}
	}
	if total := j.room(name).total; sum != strconv.Itoa(total) {
		j.r.fail("redis counts a room wrong", "%s has %d members: %v", name, total, hash)
	}
}

// checkSession checks that a session which has rooms is in the list of sessions.
func (j *presenceJudge) checkSession(key, session string, list []string) {
	c := j.r.redis.server.Connect()
	defer c.Close()
	if c.Do("ZSCORE", names.Presence("s", "sessions"), session); c.Out[0].Text == "" {
		j.r.fail("redis has counts of nodes that are gone", "%s has %v", key, list)
	}
}
