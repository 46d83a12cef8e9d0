package simulation

import (
	"errors"

	"github.com/hometrip/gateway/internal/simulation/redismodel"
	"github.com/hometrip/gateway/upstream/eventlog"
	"github.com/hometrip/gateway/upstream/redislog/core"
)

// An appender is a node's driver for writing the log in Redis: it appends, trims,
// and forwards the events that services publish to RabbitMQ. It belongs to its
// machine, and is nil if the log is in RabbitMQ.
type appender struct {
	m       *machine
	link    *redisLink // nil: not connected
	waiting []appending
	busy    bool // a batch is under way
	trim    core.Trimming
	forward *forwarder // nil: services publish over HTTP
}

// An appending is an entry that is being appended.
type appending struct {
	command core.Command
	done    func(error)
}

var errUnreachable = errors.New("Redis cannot be reached")

func newAppender(m *machine) *appender {
	l := m.r.log.redis
	if l == nil {
		return nil
	}
	d := &appender{m: m, trim: core.Trimming{Retention: l.retention}}
	if !l.posted {
		d.forward = &forwarder{m: m}
	}
	return d
}

func (d *appender) begin() {
	if d == nil {
		return
	}
	d.trimLater()
	if d.forward != nil {
		d.forward.begin()
	}
}

// end closes the connections when the node dies.
func (d *appender) end() {
	if d == nil {
		return
	}
	if d.link != nil {
		d.link.line.open = false
		d.m.r.redis.forget(d.link)
	}
	if d.forward != nil && d.forward.link != nil {
		d.forward.link.hangUp()
	}
}

// connect returns the connection for appending and trimming, and opens it if
// necessary. It returns nil if Redis is unreachable.
func (d *appender) connect() *redisLink {
	if d.link != nil || !d.m.r.redis.reachable(d.m) {
		return d.link
	}
	l := d.m.r.redis.dial(d.m)
	l.ended = func() {
		if d.link == l {
			d.link = nil
		}
	}
	d.link = l
	return l
}

// append adds an entry to the log. done is called with the result.
func (d *appender) append(e *eventlog.Entry, done func(error)) {
	d.waiting = append(d.waiting, appending{core.Append(e), done})
	d.send()
}

// send appends the waiting entries, up to core.AppendsAtOnce in a batch.
func (d *appender) send() {
	if d.busy || len(d.waiting) == 0 {
		return
	}
	d.busy = true
	m := d.m
	m.after(m.r.between(0, turnDelay), func() {
		n := min(len(d.waiting), core.AppendsAtOnce)
		batch := d.waiting[:n:n]
		d.waiting = d.waiting[n:]
		l := d.connect()
		if l == nil {
			m.after(m.r.between(netLeast, dialMost), func() { d.answer(nil, batch, nil, errUnreachable) })
			return
		}
		commands := make([][]string, n)
		for i := range batch {
			commands[i] = batch[i].command.Words(redisLogKey)
		}
		l.send(commands, n, func(replies []redismodel.Reply, err error) { d.answer(l, batch, replies, err) })
	})
}

func (d *appender) answer(l *redisLink, batch []appending, replies []redismodel.Reply, err error) {
	d.busy = false
	leave := false
	for i := range batch {
		failed := err
		if err == nil {
			r := logReply(core.Eval, replies[i])
			_, failed = core.Appended(&r)
			leave = leave || r.Err != nil
		}
		batch[i].done(failed)
	}
	if leave {
		l.end()
	}
	d.send()
}

func (d *appender) trimLater() {
	d.m.after(d.trim.Pause(d.m.r.rng.Float64()), func() {
		d.trim.MaxBytes = d.m.r.log.redis.limit()
		d.trim.Begin()
		d.trimNext()
	})
}

// trimNext executes the next command of a round of trimming.
func (d *appender) trimNext() {
	command, goesOn := d.trim.Command()
	if !goesOn {
		if _, leave := d.trim.Err(); leave && d.link != nil {
			d.link.end()
		}
		d.trimLater()
		return
	}
	l := d.connect()
	if l == nil {
		d.trimLater()
		return
	}
	l.send([][]string{command.Words(redisLogKey)}, 1, func(replies []redismodel.Reply, err error) {
		r := core.Reply{Err: err}
		if err == nil {
			r = logReply(command.Kind, replies[0])
		}
		d.trim.Take(&r)
		d.trimNext()
	})
}
