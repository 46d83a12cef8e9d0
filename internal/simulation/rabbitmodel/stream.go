package rabbitmodel

import (
	"slices"
	"time"
)

const (
	// chunkHeader and entryHeader are the bytes that a chunk and each of its
	// entries use in addition to the messages themselves.
	chunkHeader = 48
	entryHeader = 4 + 40 // with the AMQP 1.0 sections of a message

	defaultSegment = 500_000_000
)

// A log is the content of a stream: segments of chunks of messages.
type log struct {
	args     Args
	segments []segment
	next     int64 // position of the next message
}

// A segment is the unit that retention removes.
type segment struct {
	chunks []chunk
	bytes  int
}

// A chunk is the unit in which messages are written and sent to readers.
type chunk struct {
	first    int64
	at       time.Duration
	messages []*Message
}

// A pending is a published message that is not in a chunk yet.
type pending struct {
	message *Message
	publish *publish
}

func newLog(args Args) *log {
	if args.SegmentBytes == 0 {
		args.SegmentBytes = defaultSegment
	}
	return &log{args: args, segments: []segment{{}}}
}

// Flush writes the pending messages as one chunk, and confirms them. It reports
// whether there were any.
func (q *Queue) Flush() bool {
	if q.log == nil || len(q.open) == 0 {
		return false
	}
	open := q.open
	q.open = nil
	c := chunk{first: q.log.next, at: q.broker.now}
	for _, p := range open {
		c.messages = append(c.messages, p.message)
	}
	q.log.write(c, q.broker.OwnPositions, q.broker.now)
	for _, p := range open {
		p.publish.done(false)
	}
	q.touch()
	q.broker.deliver()
	return true
}

// Pending returns the number of messages that are not in a chunk yet.
func (q *Queue) Pending() int { return len(q.open) }

func (l *log) write(c chunk, own int64, now time.Duration) {
	last := &l.segments[len(l.segments)-1]
	if last.bytes >= l.args.SegmentBytes {
		l.segments = append(l.segments, segment{})
		l.next += own // RabbitMQ's own entry at the beginning of a segment
		c.first = l.next
		l.retain(now)
		last = &l.segments[len(l.segments)-1]
	}
	last.chunks = append(last.chunks, c)
	last.bytes += chunkHeader
	for _, m := range c.messages {
		last.bytes += entryHeader + len(m.Body) + len(m.Key) + len(m.Exchange)
	}
	l.next += int64(len(c.messages))
}

// retain removes the oldest segments until the limits are met. It keeps the last
// segment.
func (l *log) retain(now time.Duration) {
	total := 0
	for _, s := range l.segments {
		total += s.bytes
	}
	for len(l.segments) > 1 {
		oldest := l.segments[0]
		tooMany := l.args.MaxBytes > 0 && total > l.args.MaxBytes
		tooOld := l.args.MaxAge > 0 && len(oldest.chunks) > 0 &&
			oldest.chunks[len(oldest.chunks)-1].at+l.args.MaxAge < now
		if !tooMany && !tooOld {
			return
		}
		total -= oldest.bytes
		l.segments = slices.Delete(l.segments, 0, 1)
	}
}

// Truncate removes all segments but the last n, as retention does when it
// overtakes a reader. It returns the first position that is left.
func (q *Queue) Truncate(n int) int64 {
	l := q.log
	if extra := len(l.segments) - max(n, 1); extra > 0 {
		l.segments = slices.Delete(l.segments, 0, extra)
	}
	return l.first()
}

// first returns the oldest position that is kept, or next when none is.
func (l *log) first() int64 {
	for _, s := range l.segments {
		if len(s.chunks) > 0 {
			return s.chunks[0].first
		}
	}
	return l.next
}

// First returns the oldest position that a stream keeps.
func (q *Queue) First() int64 { return q.log.first() }

// NextOffset returns the position of the next message.
func (q *Queue) NextOffset() int64 { return q.log.next }

// find returns the chunk with a position or, if that was removed, the oldest
// chunk. It returns nil if all chunks are before the position.
func (l *log) find(at int64) *chunk {
	for i := range l.segments {
		s := &l.segments[i]
		if len(s.chunks) == 0 {
			continue
		}
		if last := &s.chunks[len(s.chunks)-1]; at >= last.first+int64(len(last.messages)) {
			continue
		}
		j, exact := slices.BinarySearchFunc(s.chunks, at, func(c chunk, at int64) int { return int(c.first - at) })
		if !exact && j > 0 {
			j--
		}
		return &s.chunks[j]
	}
	return nil
}

// begin returns the position at which a reader begins. With head, a reader that
// asks for a position begins at the first position of that one's chunk.
func (l *log) begin(b Begin, head bool) int64 {
	switch b.At {
	case "first":
		return l.first()
	case "next":
		return l.next
	case "last":
		if c := l.find(l.next - 1); c != nil && l.next > 0 {
			return c.first
		}
		return l.next
	case "timestamp":
		for _, s := range l.segments {
			for _, c := range s.chunks {
				if c.at >= b.Since {
					return c.first
				}
			}
		}
		return l.next
	case "":
	default:
		panic(Unsupported{"x-stream-offset " + b.At})
	}
	at := b.Offset
	if c := l.find(at); c != nil {
		at = max(at, c.first)
		if head {
			at = c.first
		}
	}
	return at
}

// readStream sends a consumer the chunks for which it has credit. Of its first
// chunk it gets the messages from its position on.
func (q *Queue) readStream(c *consumer) {
	for c.credit > 0 {
		k := q.log.find(c.next)
		if k == nil {
			return
		}
		for i, m := range k.messages {
			if at := k.first + int64(i); at >= c.next {
				c.send(item{message: m, offset: at})
			}
		}
		c.next = k.first + int64(len(k.messages))
	}
}

// At returns the message at a position, nil when it was removed.
func (q *Queue) At(offset int64) *Message {
	c := q.log.find(offset)
	if c == nil || offset < c.first {
		return nil
	}
	return c.messages[offset-c.first]
}
