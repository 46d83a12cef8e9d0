package upstream

import (
	"time"

	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/upstream/eventlog"
)

// timestampLogEvery is the shortest pause between two log lines about
// timestamps.
const timestampLogEvery = time.Minute

// publishedAt returns when an event was published, from its AMQP property
// timestamp, which is in seconds. Milliseconds and microseconds, which some
// libraries set, are recognised; without a plausible value it is the time of
// arrival. plausible is false if the property was wrong.
func publishedAt(timestamp, arrived time.Time) (published time.Time, plausible bool) {
	switch {
	case timestamp.IsZero():
		return arrived, true
	case rooms.Plausible(timestamp, arrived):
		return timestamp, true
	}
	if t, ok := rooms.PlausibleUnix(float64(timestamp.Unix()), arrived); ok {
		return t, false
	}
	return arrived, false
}

// published returns when an entry was published. A wrong timestamp is counted,
// and logged from time to time.
func (in *intake) published(e *eventlog.Entry, arrived time.Time) time.Time {
	t, plausible := publishedAt(e.Published, arrived)
	if plausible {
		return t
	}
	in.count.badTimestamps.Add(1)
	if skipped, ok := in.timestampLines.Allow(arrived, timestampLogEvery); ok {
		in.log.Warn("timestamp of an event is not in seconds since 1970, or more than a day ahead: correct its publisher",
			"key", e.Key, "appId", e.AppID, "timestamp", e.Published.Unix(), "takenFor", t.UTC(), "notLogged", skipped)
	}
	return t
}
