package redismodel

import (
	"strconv"
	"time"

	"github.com/hometrip/gateway/rooms/cluster/presence"
)

// longTime is a lease, a grace or a claim in ms that does not end during a
// comparison. One of 0 ms ends at once.
const longTime = "5000000"

// presence draws a script of package presence, or a command that reads what the
// scripts have written.
func (p *pair) presence(c int) []string {
	if p.multi[c] {
		return nil // whether two scripts of one transaction see the same time is not defined
	}
	time.Sleep(2 * time.Millisecond) // each script gets its own time, since an unchanged score sends no invalidation
	p.model.Advance(p.model.Now() + 2*time.Millisecond)
	room, session := p.some("room", 2), p.some("node.", 3)
	key, untold, has := "p:of:"+room, "p:untold", "p:has:"+session
	keep, wait := p.pick("0", longTime), p.pick("0", "0", longTime)
	switch p.rng.IntN(14) {
	case 0, 1:
		args := []string{session, wait, p.pick("0", "1"), p.pick("0", "1")}
		for range p.rng.IntN(3) {
			args = append(args, p.some("node.", 3))
		}
		return presenceScript("renew", []string{"p:sessions", "p:lock"}, args...)
	case 2, 3, 4, 5:
		keys := []string{key, untold, has, "p:gone:" + session}
		args := []string{room, session, p.pick("0", "0", "1", "2"), wait, keep, p.pick("0", "0", "1")}
		for range p.rng.IntN(3) {
			former := p.some("node.", 3)
			keys, args = append(keys, "p:has:"+former), append(args, former)
		}
		return presenceScript("write", keys, args...)
	case 6, 7:
		return presenceScript("claim", []string{key, untold}, room, p.some("id", 100), wait, keep)
	case 8, 9:
		p.confirm(c, room, wait, keep)
		return []string{"HGET", key, "told"}
	case 10:
		return presenceScript("overdue", []string{untold}, p.pick("0", "4000000"), p.pick("1", "64"))
	case 11:
		return presenceScript("state", []string{key})
	case 12:
		return []string{"SRANDMEMBER", has, "64"}
	}
	return p.written(key, session)
}

func presenceScript(name string, keys []string, args ...string) []string {
	for _, s := range presence.Scripts() {
		if s.String() == name {
			return append(append([]string{"EVAL", s.Source(), strconv.Itoa(len(keys))}, keys...), args...)
		}
	}
	panic(name)
}

// written draws a command that reads what the scripts have written, or removes
// some of it.
func (p *pair) written(key, session string) []string {
	switch p.rng.IntN(6) {
	case 0:
		return []string{"HGETALL", key}
	case 1:
		return []string{"ZRANGE", "p:untold", "0", "-1"}
	case 2:
		return []string{"ZRANGE", "p:sessions", "0", "-1", "WITHSCORES"}
	case 3:
		return []string{"PTTL", key}
	case 4:
		return []string{"SET", "p:gone:" + session, "1", "PX", longTime}
	}
	return []string{"DEL", p.pick("p:lock", "p:gone:"+session, "p:sessions")}
}

// confirm runs the script confirm on both, each with the time that its own
// claim has returned.
func (p *pair) confirm(c int, room, grace, keep string) {
	p.t.Helper()
	key := "p:of:" + room
	p.peers[c].send("HGET", key, "telling")
	real, err := p.peers[c].next()
	for err == nil && real.Kind == Push {
		p.t.Fatalf("connection %d: %v came and was not expected", c, real)
	}
	p.conns[c].Do("HGET", key, "telling")
	model := p.conns[c].Out[len(p.conns[c].Out)-1]
	p.conns[c].Out = p.conns[c].Out[:len(p.conns[c].Out)-1]
	if err != nil || real.Kind != model.Kind {
		p.t.Fatalf("connection %d: the server is telling %v (%v), the model %v", c, real, err, model)
	}
	args := func(telling string) []string {
		return presenceScript("confirm", []string{key, "p:untold"}, room, telling, grace, keep)
	}
	p.log = append(p.log, strconv.Itoa(c)+"> confirm "+room+" "+model.Text)
	p.peers[c].send(args(real.Text)...)
	p.conns[c].Do(args(model.Text)...)
	p.settle([]string{"EVAL"})
}
