package simulation

import (
	"strconv"
	"time"

	"github.com/hometrip/gateway/upstream/eventlog"
)

// Where the event log is, as in Config.Log.
const (
	logStream = ""           // RabbitMQ's stream
	logRedis  = "redis"      // a stream in Redis; services publish to RabbitMQ, which has no streams
	logPosted = "redis-http" // a stream in Redis; services publish over HTTP
)

// A servedLog is the state of the event log that the rules need, in RabbitMQ or in
// Redis. It belongs to its run.
type servedLog struct {
	r         *run
	redis     *redisLog     // nil: the log is a stream of RabbitMQ
	era       int           // number of the present log
	rewound   int           // how often the log was deleted or has lost entries
	rewoundAt time.Duration // the last time of these
}

// offset returns the offset of a position in the present log.
func (l *servedLog) offset(position int64) eventlog.Offset {
	identity := ""
	if l.redis != nil {
		identity = l.redis.identity()
	} else {
		identity = strconv.Itoa(l.r.broker.broker.Queue(streamName).Args.MaxBytes)
	}
	return eventlog.Offset{Log: identity, Position: eventlog.Position(position)}
}

// bounds returns the positions of the oldest and the newest entry. known is false
// if there is no log.
func (l *servedLog) bounds() (first, last int64, known bool) {
	if l.redis != nil {
		return l.redis.bounds()
	}
	q := l.r.broker.broker.Queue(streamName)
	if q == nil {
		return 0, 0, false
	}
	return q.First() + 1, q.NextOffset(), true
}

// lacks reports whether a log does not have the entry at a position any more.
func (l *servedLog) lacks(identity string, position int64) bool {
	first, last, known := l.bounds()
	switch {
	case !known || position < first || position > last:
		return true
	case l.redis != nil:
		return l.redis.hasLost(identity, position)
	}
	return l.rewound > 0
}

// truncate removes all but the newest entries, as retention does.
func (l *servedLog) truncate() {
	if l.redis != nil {
		l.r.redis.admin("XTRIM", redisLogKey, "MAXLEN", "1")
		l.redis.trimmed(nil)
	} else if q := l.r.broker.broker.Queue(streamName); q != nil {
		q.Truncate(1)
	}
	l.r.recovery.truncated = l.r.now
}

// delete deletes the log, as an operator might by mistake.
func (l *servedLog) delete() {
	if l.redis != nil {
		if !l.r.redis.down {
			l.r.redis.admin("DEL", redisLogKey)
			l.redis.compare()
		}
		return
	}
	l.r.broker.deleteStream()
}
