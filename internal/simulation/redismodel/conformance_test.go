package redismodel

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/internal/testkit/redistest"
	"github.com/hometrip/gateway/rooms/cluster/presence"
	"github.com/hometrip/gateway/rooms/cluster/sessions"
	"github.com/hometrip/gateway/upstream/redislog/core"
)

var (
	seeds = flag.Int("seeds", 12, "number of scripts to compare with a real server")
	first = flag.Uint64("seed", 1, "seed of the first script")
)

const (
	conns    = 4 // the last one sends the commands that must not be in a MULTI, and reads expired keys
	commandN = 150
)

// COMMAND INFO of a real server must have the flags and the arity of each
// modelled command.
func TestFlagsAndArityAreThoseOfTheServer(t *testing.T) {
	server, err := redistest.Start(nil)
	testkit.Need(t, err)
	defer server.Close()
	p, err := dial(server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	for name, d := range commands {
		asked := name
		switch name { // the flags of their subcommands count
		case "CLIENT":
			asked = "CLIENT|TRACKING"
		case "XINFO":
			asked = "XINFO|STREAM"
		case "MEMORY":
			asked = "MEMORY|USAGE"
		case "PUBSUB":
			asked = "PUBSUB|NUMSUB"
		}
		p.send("COMMAND", "INFO", asked)
		r, err := p.next()
		if err != nil || len(r.Elems) != 1 || len(r.Elems[0].Elems) < 3 {
			t.Fatalf("%s: %v, %v", name, r, err)
		}
		var want int
		for _, flag := range r.Elems[0].Elems[2].Elems {
			want |= map[string]int{"write": writes, "readonly": readonly, "denyoom": grows, "loading": whileLoading}[flag.Text]
		}
		if d.flags != want {
			t.Errorf("%s has the flags %04b, want those of the server: %v", name, d.flags, r.Elems[0].Elems[2])
		}
		if got := int(r.Elems[0].Elems[1].Int); name == asked && got != d.arity {
			t.Errorf("%s has the arity %d, want that of the server: %d", name, d.arity, got)
		}
	}
}

// A pair is the model and a real server, with the same number of connections.
type pair struct {
	t     *testing.T
	rng   *rand.Rand
	model *Server
	conns []*Conn
	peers []*peer
	multi [conns]bool
	log   []string
	ids   uint64
}

// Scripts of commands drawn from a seed run against the model and a real server.
// Both must write the same replies and pushes to each connection in the same
// order.
func TestModelAnswersAsTheServerDoes(t *testing.T) {
	server, err := redistest.Start(nil)
	testkit.Need(t, err)
	defer server.Close()
	for seed := *first; seed < *first+uint64(*seeds); seed++ {
		if !t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) { compare(t, server, seed) }) {
			break
		}
	}
}

func compare(t *testing.T, server *redistest.Server, seed uint64) {
	p := &pair{t: t, rng: rand.New(rand.NewPCG(seed, 0)), model: New()}
	p.model.Script(sessions.Write, WriteRecord)
	p.model.Script(core.Script, AppendEvent)
	for _, s := range presence.Scripts() {
		p.model.Script(s.Source(), Presence[s.String()])
	}
	p.model.Advance(time.Duration(time.Now().UnixNano())) // the entries of the log have times
	for range conns {
		peer, err := dial(server.Addr)
		if err != nil {
			t.Fatal(err)
		}
		defer peer.conn.Close()
		p.peers = append(p.peers, peer)
		p.conns = append(p.conns, p.model.Connect())
	}
	p.do(conns-1, "FLUSHALL")
	p.do(conns-1, "CONFIG", "SET", "maxmemory", "0")
	for range commandN {
		p.step()
	}
	for c := range p.conns { // finds pushes that the model does not have
		if p.multi[c] {
			p.do(c, "DISCARD")
		}
		p.do(c, "ECHO", "end")
	}
}

// do executes a command on both and compares what they write to each connection.
func (p *pair) do(c int, args ...string) {
	p.t.Helper()
	p.log = append(p.log, fmt.Sprintf("%d> %s", c, strings.Join(args, " ")))
	p.peers[c].send(args...)
	if args[0] == "CONFIG" { // the model has a field for what it sets
		p.model.Full = args[3] == "1"
		p.conns[c].Out = append(p.conns[c].Out, ok)
	} else {
		p.conns[c].Do(args...)
	}
	p.settle(args)
}

// settle compares what both have written to all connections.
func (p *pair) settle(args []string) {
	p.t.Helper()
	for i, conn := range p.conns {
		for _, want := range conn.Out {
			got, err := p.peers[i].next()
			a, b := someTime.ReplaceAllString(normal(got, args), "time"), someTime.ReplaceAllString(normal(want, args), "time")
			if err != nil || a != b {
				p.t.Fatalf("%s\nconnection %d: the server writes %s (%v), the model %s",
					strings.Join(p.log, "\n"), i, a, err, b)
			}
		}
		conn.Out = nil
	}
}

// someTime matches a current time, or the rest of a longTime, in milliseconds.
var someTime = regexp.MustCompile(`\b([1-9]\d{12}|4\d{6}|5000000)\b`)

// normal formats a reply without what differs between servers: the order of
// sets, maps and scans, and the rest of a time to live.
func normal(r Reply, args []string) string {
	name := strings.ToUpper(args[0])
	switch {
	case (name == "TTL" || name == "PTTL") && r.Kind == Int && r.Int > 0:
		return "some time"
	case name == "EXEC" && r.Kind == Array:
		list := make([]string, len(r.Elems))
		for i, e := range r.Elems {
			if list[i] = normal(e, []string{""}); e.Kind == Int && e.Int > 1000 {
				list[i] = "some time"
			}
		}
		return strings.Join(list, " ")
	case r.Kind == Array && len(r.Elems) == 2 && r.Elems[0].Text == "0" && r.Elems[1].Kind == Array: // a scan
		return "scan " + sorted(r.Elems[1].Elems, 1)
	case name == "SRANDMEMBER" && r.Kind == Array:
		return "set " + sorted(r.Elems, 1)
	case r.Kind == Set:
		return "set " + sorted(r.Elems, 1)
	case r.Kind == Map && len(r.Elems) > 0 && r.Elems[0].Text == "length":
		return xinfoText(r)
	case r.Kind == Map:
		return "map " + sorted(r.Elems, 2)
	}
	if name == "MEMORY" && r.Kind == Int {
		return "some bytes"
	}
	if r.Kind == Fault { // the server appends the hash of the script and the line
		text, _, _ := strings.Cut(r.Text, " script: ")
		return "-" + text
	}
	return r.String()
}

// sorted formats elements in groups of n, in sorted order.
func sorted(elems []Reply, n int) string {
	var list []string
	for group := range slices.Chunk(elems, n) {
		list = append(list, array(group...).String())
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// xinfoText formats XINFO STREAM without the fields that the model lacks.
func xinfoText(r Reply) string {
	var b strings.Builder
	for i := 0; i+1 < len(r.Elems); i += 2 {
		switch r.Elems[i].Text {
		case "radix-tree-keys", "radix-tree-nodes", "groups":
		default:
			fmt.Fprintf(&b, "%s=%s ", r.Elems[i].Text, r.Elems[i+1])
		}
	}
	return b.String()
}

func (p *pair) pick(list ...string) string { return list[p.rng.IntN(len(list))] }

func (p *pair) some(prefix string, n int) string { return prefix + strconv.Itoa(p.rng.IntN(n)) }

// step does one random action.
func (p *pair) step() {
	c := p.rng.IntN(conns - 1)
	switch n := p.rng.IntN(100); {
	case p.conns[c].block != nil:
		p.feed(c)
	case n < 3 && !p.multi[c]:
		p.tracking(c)
	case n < 10:
		p.transaction(c)
	case n < 22 && !p.multi[c]:
		p.channels(c)
	case n < 24:
		p.expire()
	case n < 25:
		p.do(conns-1, "CONFIG", "SET", "maxmemory", p.pick("0", "0", "1"))
	case n < 26 && !p.multi[c]:
		p.do(c, "FLUSHALL")
	case n < 29 && !p.multi[c]:
		p.do(c, "XREAD", "BLOCK", "0", "STREAMS", "stream:blocked", "$")
	default:
		p.do(c, p.command(c)...)
	}
}

// feed adds an entry to the stream for which a connection is blocked.
func (p *pair) feed(c int) {
	p.model.Full = false
	p.do(conns-1, "CONFIG", "SET", "maxmemory", "0")
	if p.rng.IntN(3) == 0 {
		p.do(c, "ECHO", "behind") // is executed after the read
	}
	p.ids++
	p.do(conns-1, "XADD", "stream:blocked", strconv.FormatUint(p.ids, 10), "k", "v")
}

func (p *pair) tracking(c int) {
	if p.conns[c].tracking.on {
		if p.rng.IntN(3) == 0 {
			p.do(c, "CLIENT", "TRACKING", "OFF")
		}
		return
	}
	args := []string{"CLIENT", "TRACKING", "ON"}
	if p.rng.IntN(3) > 0 {
		args = append(args, "OPTIN")
	}
	if p.rng.IntN(3) == 0 {
		args = append(args, "NOLOOP")
	}
	p.do(c, args...)
}

// transaction begins or ends a MULTI, or reads as a client-side cache does.
func (p *pair) transaction(c int) {
	switch {
	case p.multi[c]:
		p.multi[c] = false
		p.do(c, p.pick("EXEC", "EXEC", "EXEC", "DISCARD"))
	case p.conns[c].tracking.optIn && p.rng.IntN(3) > 0:
		p.do(c, "CLIENT", "CACHING", "YES")
		key := p.some("set:", 4)
		if p.rng.IntN(2) == 0 {
			p.do(c, "MULTI")
			p.do(c, "PTTL", "no such key")
			p.do(c, "SMEMBERS", key)
			p.do(c, "EXEC")
		} else {
			p.do(c, "SMEMBERS", key)
		}
	default:
		p.multi[c] = true
		p.do(c, "MULTI")
	}
}

func (p *pair) channels(c int) {
	channel := p.some("channel:", 3)
	switch p.rng.IntN(8) {
	case 0:
		p.do(c, "SUBSCRIBE", channel, p.some("channel:", 3))
	case 1:
		p.do(c, "SSUBSCRIBE", channel)
	case 2:
		p.do(c, "UNSUBSCRIBE", channel)
	case 3:
		p.do(c, "SUNSUBSCRIBE", channel)
	case 4:
		p.do(c, "SPUBLISH", channel, "sharded")
	case 5:
		p.do(c, "PUBSUB", "NUMSUB", channel, "nobody")
	default:
		p.do(c, "PUBLISH", channel, "text")
	}
}

// expire lets a key expire while no command is sent.
func (p *pair) expire() {
	key := p.some("str:", 4)
	p.do(conns-1, "SET", key, "short", "PX", "20")
	time.Sleep(30 * time.Millisecond)
	p.log = append(p.log, "30 ms pass")
	p.model.Advance(p.model.Now() + 30*time.Millisecond)
	p.do(conns-1, "EXISTS", key) // the server removes the key now at the latest
}

// eventLog draws a command that nodes use on the event log. The ids of entries
// contain the time, except in streams that begin with a fixed id.
func (p *pair) eventLog(key string) []string {
	const log = "1700000000000-"
	body := strings.Repeat("x", p.rng.IntN(400))
	switch p.rng.IntN(16) {
	case 0:
		return []string{"DEL", key}
	case 1:
		return []string{"XADD", key, "NOMKSTREAM", log + "1000", "at", "5"} // fails unless the stream has a fixed id
	case 2:
		return []string{"XADD", key, log + "1", "at", "5", "key", "k"}
	case 3:
		return []string{"XLEN", key}
	case 4:
		return []string{"XRANGE", key, p.pick("-", log+"3", log+"7"), "+", "COUNT", "1"}
	case 5:
		return []string{"XREAD", "COUNT", "3", "STREAMS", key, p.pick("0-0", log+"2")}
	case 6:
		return []string{"XTRIM", key, "MAXLEN", p.pick("1", "4", "20")}
	case 7:
		return []string{"XTRIM", key, "MINID", log + p.pick("2", "5", "1000")}
	case 8:
		return []string{"MEMORY", "USAGE", key, "SAMPLES", "100"}
	case 9:
		return []string{"EVAL", core.Script, "1", key}
	case 10:
		return []string{"EVAL", core.Script, "1", key, p.pick("1700000000000", "1700000000001")}
	}
	return []string{"EVAL", core.Script, "1", key, "key", "message.sent", "body", body}
}
