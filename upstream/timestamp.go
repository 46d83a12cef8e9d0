package upstream

import (
	"time"

	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/upstream/eventlog"
)

// timestampLogEvery is the shortest pause between two log lines about
// timestamps.
const timestampLogEvery = time.Minute

// publishedAt returns when an event was published, by its AMQP property
// timestamp, which is in seconds. Some libraries set milliseconds or
// microseconds, which is recognised; the time of arrival stands in for what is
// neither, and for none. plausible is false when the property was wrong.
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

// published returns when an entry was published. A timestamp that is wrong is
// counted and perhaps logged.
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
