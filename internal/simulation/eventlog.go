package simulation

import (
	"strconv"
	"time"

	"github.com/hometrip/gateway/upstream/eventlog"
)

// Where the services' events are, as Config.Log has it.
const (
	logStream = ""           // RabbitMQ's stream
	logRedis  = "redis"      // a stream in Redis; services publish to RabbitMQ, which has no streams
	logPosted = "redis-http" // the same, and services publish over HTTP
)

// A servedLog has the state of the log that the rules use, for a log in RabbitMQ
// or in Redis. Owned by its run.
type servedLog struct {
	r       *run
	redis   *redisLog     // nil: it is RabbitMQ's stream
	era     int           // counts the logs
	rewound int           // logs that were deleted, or have lost entries
	anewAt  time.Duration // when the last of these was
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

// bounds returns the positions of the oldest and the newest entry; there is no
// log unless known.
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

// lacks reports whether a log does not have an entry that it had.
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

// delete deletes the log, as an operator might do by mistake.
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
