package simulation

import (
	"time"

	"github.com/hometrip/gateway/internal/simulation/redismodel"
	"github.com/hometrip/gateway/upstream/eventlog"
	"github.com/hometrip/gateway/upstream/redislog/core"
)

// A redisReading drives a core.Reading, as a source of package redislog does. It is
// the part of a source that reads a stream of Redis, and belongs to it.
type redisReading struct {
	s       *source
	reading *core.Reading
	link    *redisLink
	asked   bool // a command is under way
	number  int  // of the last command
	giving  bool // entries are being passed to the client
}

// openRedisSource implements openSource for the log in Redis.
func openRedisSource(m *machine, at eventlog.Start, of sourceClient) *source {
	if !m.r.redis.reachable(m) {
		m.after(m.r.between(netLeast, dialMost), func() { of.sourceEnded(nil) })
		return nil
	}
	s := &source{m: m, of: of, start: at}
	d := &redisReading{s: s, reading: core.NewReading(at), link: m.r.redis.dial(m)}
	d.link.ended = func() { of.sourceEnded(s) }
	s.redis = d
	d.more()
	return s
}

func (d *redisReading) hangUp() {
	d.link.line.open = false
	d.link.s.forget(d.link)
}

// more sends the next command, if the last one has been answered and the client
// has taken its entries.
func (d *redisReading) more() {
	if d.asked || d.giving || !d.link.line.open {
		return
	}
	d.asked = true
	d.number++
	number := d.number
	m, command := d.s.m, d.reading.Command()
	d.link.send([][]string{command.Words(redisLogKey)}, 1, func(replies []redismodel.Reply, err error) {
		if d.asked = false; err == nil { // an error is reported by the link
			r := logReply(command.Kind, replies[0])
			d.take(&r)
		}
	})
	if command.Kind == core.Read {
		m.r.redis.endBlockedReads()
	}
	m.after(command.Within, func() {
		if d.asked && d.number == number {
			d.link.end() // no reply in time
		}
	})
}

func (d *redisReading) take(r *core.Reply) {
	s := d.s
	entries, err := d.reading.Take(r)
	if err != nil {
		s.m.r.trace(s.m.name, "log: reading ends: %v", err)
		d.link.end()
		return
	}
	if !s.open {
		s.open, s.info = true, d.reading.Info()
		s.of.sourceOpened(s)
	}
	d.giving = true
	for _, e := range entries {
		s.of.sourceTook(s, e)
	}
	if d.giving = false; s.of.idle() {
		d.more()
	}
}

// logReply converts a reply of the model, as the real driver does with one of
// rueidis.
func logReply(kind core.Kind, r redismodel.Reply) (x core.Reply) {
	switch {
	case r.Kind == redismodel.Fault:
		x.Err = r.Err()
	case r.Kind == redismodel.Null:
		x.Nil = true
	case kind == core.Eval:
		x.List = r.Strings()
	case kind == core.Number:
		x.Number = r.Int
	case kind == core.Range:
		x.Entries = rawEntries(r)
	default: // a map of streams and their entries
		x.Entries = rawEntries(r.Elems[1])
	}
	return x
}

func rawEntries(r redismodel.Reply) (list []core.Raw) {
	for _, e := range r.Elems {
		list = append(list, core.Raw{ID: e.Elems[0].Text, Fields: e.Elems[1].Strings()})
	}
	return list
}

// endBlockedReads advances the model's time at regular times, so that blocked reads end.
func (s *redisServer) endBlockedReads() {
	if s.polls {
		return
	}
	s.polls = true
	s.r.after(readPoll, func() {
		s.polls = false
		if s.hangs <= s.r.now && !s.down {
			s.advance()
			s.flush()
		}
		if len(s.links) > 0 {
			s.endBlockedReads()
		}
	})
}

const readPoll = 50 * time.Millisecond // precision with which blocked reads end
