package redislog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/rueidis"

	"github.com/hometrip/gateway/upstream/eventlog"
)

const (
	batchMost = 128 // entries that Redis sends at once

	// blockFor is how long Redis waits for an entry before it answers that there
	// is none. The source then asks whether the log is still the same.
	blockFor = time.Second

	// answerTimeout is for an answer of Redis, beside that time. The connection
	// counts as lost then.
	answerTimeout = 5 * time.Second
)

// A source reads the stream over a connection of its own. It implements
// eventlog.Source. Owned by one goroutine.
//
// It asks for entries when the reader wants some, so nothing is sent that was
// not asked for, and Taken has nothing to do.
type source struct {
	log    *Log
	client rueidis.Client
	info   eventlog.Info
	of     string            // number of the log
	after  eventlog.Position // of the entry that came last
	window int
	batch  []eventlog.Entry
}

func (s *source) Info() eventlog.Info     { return s.info }
func (s *source) Taken(eventlog.Position) {}
func (s *source) Close()                  { s.client.Close() }

// Next implements eventlog.Source. It may return none before wait has passed.
func (s *source) Next(ctx context.Context, wait time.Duration) ([]eventlog.Entry, error) {
	clear(s.batch)
	s.batch = s.batch[:0]
	wait = min(wait, blockFor)
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	defer time.AfterFunc(wait+answerTimeout, cancel).Stop()
	streams, err := s.client.Do(reading, s.read(wait)).AsXReadSlices()
	switch {
	case ctx.Err() != nil:
		return nil, nil
	case rueidis.IsRedisNil(err):
		return nil, s.unchanged(ctx, wait)
	case reading.Err() != nil:
		return nil, fmt.Errorf("redis: no answer in %v", wait+answerTimeout)
	case err != nil:
		return nil, fmt.Errorf("redis: read %s: %w", s.log.config.Key, err)
	}
	for _, raw := range streams[s.log.config.Key] {
		log, position, err := parseID(raw.ID)
		if err != nil {
			return nil, err
		}
		if log != s.of {
			if len(s.batch) > 0 {
				break // first those of the old log
			}
			return nil, errOtherLog
		}
		s.batch = append(s.batch, entryOf(position, raw.FieldValues))
		s.after = position
	}
	return s.batch, nil
}

// read is the command that reads on. Less than a millisecond is no time to
// wait, and 0 would have Redis wait for ever.
func (s *source) read(wait time.Duration) rueidis.Completed {
	count := s.client.B().Xread().Count(int64(min(s.window, batchMost)))
	from := id(s.of, s.after)
	if wait < time.Millisecond {
		return count.Streams().Key(s.log.config.Key).Id(from).Build()
	}
	return count.Block(wait.Milliseconds()).Streams().Key(s.log.config.Key).Id(from).Build()
}

var errOtherLog = errors.New("redis: the stream was deleted and made anew")

// unchanged reports an error when the log has become another one, or ends
// before what was read of it.
func (s *source) unchanged(ctx context.Context, wait time.Duration) error {
	if wait < time.Millisecond {
		return nil // it was a look on the way
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	end, err := s.log.look(ctx, s.client)
	switch {
	case err != nil:
		return err
	case end.log != s.of:
		return errOtherLog
	case end.position < s.after:
		return fmt.Errorf("redis: the stream ends at position %v and was read up to %v: it has lost entries", end.position, s.after)
	}
	return nil
}
