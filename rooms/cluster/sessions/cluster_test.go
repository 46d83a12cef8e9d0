package sessions

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

// A cluster is some nodes and a Redis, driven by the test.
type cluster struct {
	t     *testing.T
	now   time.Time
	redis map[string]string
	nodes map[string]*node
	batch uint64
	away  bool // Redis is down
}

type node struct {
	core         *Core
	name         string
	unsubscribed bool          // it is not subscribed, so it counts as dead
	frozen       bool          // it does not answer
	has          *rooms.Record // the record that it answers with
	answers      bool
	requests     []Request
	results      map[uint64]Result
}

var names = wire.NewNames("ws:", 1)

func newCluster(t *testing.T, list ...string) *cluster {
	w := &cluster{t: t, now: time.Unix(1e9, 0), redis: map[string]string{}, nodes: map[string]*node{}}
	for _, name := range list {
		w.nodes[name] = &node{core: New(names, name), name: name, results: map[uint64]Result{}}
	}
	return w
}

// do executes a command.
func (w *cluster) do(c wire.Command) wire.Reply {
	if w.away {
		return wire.Reply{Err: errLost}
	}
	key := c.Keys[0]
	value, found := w.redis[key]
	switch c.Name {
	case "SET":
		if found && slices.Contains(c.Args, "NX") {
			return wire.Reply{Nil: true}
		}
		w.redis[key] = c.Args[0]
		return wire.Reply{Text: "OK"}
	case "EVAL":
		return w.write(key, c.Args)
	case "GET":
		return wire.Reply{Nil: !found, Text: value}
	case "PUBLISH":
		for _, n := range w.nodes {
			if names.SessionChannel(n.name) != key || n.unsubscribed {
				continue
			}
			if !n.frozen {
				if r, asks := n.core.Receive([]byte(c.Args[0])); asks {
					n.requests = append(n.requests, r)
				}
			}
			return wire.Reply{Int: 1}
		}
		return wire.Reply{}
	}
	w.t.Fatalf("command %v", c)
	return wire.Reply{}
}

// write does what the Lua script does.
func (w *cluster) write(key string, args []string) wire.Reply {
	if old, err := rooms.ParseRecord([]byte(w.redis[key])); err == nil {
		moves, _ := strconv.Atoi(args[0])
		if old.Moves > uint32(moves) && wire.Decimal(int64(rooms.NodeMark(old.Node))) != args[1] {
			return wire.Reply{}
		}
	}
	if w.redis[key] = args[2]; args[2] == "" {
		delete(w.redis, key)
	}
	return wire.Reply{Int: 1}
}

// step executes one batch of a node, and reports whether there was one.
func (w *cluster) step(n *node) bool {
	if n.frozen {
		return false
	}
	w.batch++
	b, ok := n.core.Commands(w.batch)
	if !ok {
		return false
	}
	var replies []wire.Reply
	for _, c := range b.Commands {
		replies = append(replies, w.do(c))
	}
	n.core.Reply(b.ID, replies, w.now)
	return true
}

func (w *cluster) settle() {
	for busy := true; busy; {
		busy = false
		for _, n := range w.nodes {
			busy = w.step(n) || w.answer(n) || busy
			n.core.Tick(w.now)
			for _, r := range n.core.Results() {
				n.results[r.Ask] = r
			}
		}
		if w.away {
			return // failed commands are repeated without end
		}
	}
}

// answer answers the oldest request of a node that answers.
func (w *cluster) answer(n *node) bool {
	if !n.answers || len(n.requests) == 0 || n.frozen {
		return false
	}
	r := n.requests[0]
	n.requests = n.requests[1:]
	if n.has == nil {
		n.core.Answer(r, nil, rooms.RecoveryUnknown)
		return true
	}
	n.core.Answer(r, n.has, rooms.RecoveryDone)
	n.has = nil
	return true
}

func record(node, user string) *rooms.Record {
	return &rooms.Record{PID: "p", ID: "i", User: user, Node: node, Log: "log1", Rooms: []rooms.RoomFrom{{Name: "user:" + user, From: 3}}}
}

func save(n *node, r *rooms.Record) { n.core.Save(r.PID, rooms.AppendRecord(nil, r), time.Minute) }

func (w *cluster) take(n *node, user string) uint64 {
	ask := n.core.Take("p", user, w.now)
	w.settle()
	return ask
}

func (w *cluster) want(n *node, ask uint64, why rooms.RecoveryResult) {
	w.t.Helper()
	r, ok := n.results[ask]
	if !ok || r.Why != why || (r.Record != nil) != (why == rooms.RecoveryDone) {
		w.t.Errorf("result %+v (%v), want %v", r, ok, why)
	}
}
