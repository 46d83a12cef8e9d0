package rabbitmodel

import (
	"slices"
	"time"
)

const (
	// chunkHeader and entryHeader are what a chunk and each of its entries cost
	// beside the messages themselves.
	chunkHeader = 48
	entryHeader = 4 + 40 // with the AMQP 1.0 sections that a message becomes

	defaultSegment = 500_000_000
)

// A log is a stream's content: segments of chunks of messages.
type log struct {
	args     Args
	segments []segment
	next     int64 // position of what comes next
}

// A segment is what retention removes at once.
type segment struct {
	chunks []chunk
	bytes  int
}

// A chunk is what was written at once, and is read at once.
type chunk struct {
	first    int64
	at       time.Duration
	messages []*Message
}

// A pending is a message that is in no chunk yet.
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

// Flush writes what was published since the last chunk as one, and confirms
// it. It reports whether there was something.
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

// Pending is how many messages are in no chunk yet.
func (q *Queue) Pending() int { return len(q.open) }

func (l *log) write(c chunk, own int64, now time.Duration) {
	last := &l.segments[len(l.segments)-1]
	if last.bytes >= l.args.SegmentBytes {
		l.segments = append(l.segments, segment{})
		l.next += own // RabbitMQ's entry at the head of a segment
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

// retain removes the oldest segments that the limits do not allow for, but
// never the last one.
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

// Truncate removes the oldest segments but the last n, as retention does that
// overtakes a reader. It reports the first position that is left.
func (q *Queue) Truncate(n int) int64 {
	l := q.log
	if extra := len(l.segments) - max(n, 1); extra > 0 {
		l.segments = slices.Delete(l.segments, 0, extra)
	}
	return l.first()
}

// first is the oldest position that is kept; next when nothing is.
func (l *log) first() int64 {
	for _, s := range l.segments {
		if len(s.chunks) > 0 {
			return s.chunks[0].first
		}
	}
	return l.next
}

// First and Next tell what a stream keeps: positions from First up to and
// without Next.
func (q *Queue) First() int64 { return q.log.first() }

// NextOffset is the position of what is written next.
func (q *Queue) NextOffset() int64 { return q.log.next }

// find returns the chunk that holds a position or, when it is not kept any
// more, the oldest; nil when there is nothing from there on.
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

// begin returns the position at which a reader begins.
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

// readStream sends a consumer the chunks for which it has credit. Of the chunk
// it begins in it gets what is from its position on.
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

// At returns the message at a position, nil when it is not kept.
func (q *Queue) At(offset int64) *Message {
	c := q.log.find(offset)
	if c == nil || offset < c.first {
		return nil
	}
	return c.messages[offset-c.first]
}
