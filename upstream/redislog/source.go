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
	asked  chan answer // has the answer to what was asked for; nil: nothing is
}

func (s *source) Info() eventlog.Info     { return s.info }
func (s *source) Taken(eventlog.Position) {}
func (s *source) Close()                  { s.client.Close() }

// Next implements eventlog.Source. It may return none before wait has passed.
// What was asked for stays asked for when it returns none: to give up a command
// that waits would end its connection.
func (s *source) Next(ctx context.Context, wait time.Duration) ([]eventlog.Entry, error) {
	clear(s.batch)
	s.batch = s.batch[:0]
	if s.asked == nil {
		s.ask()
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case a := <-s.asked:
		s.asked = nil
		return s.gather(ctx, a)
	case <-timer.C:
	case <-ctx.Done():
	}
	return nil, nil
}

// An answer is what Redis says to a question for entries.
type answer struct {
	streams map[string][]rueidis.XRangeSlice
	err     error
}

// ask asks for entries. The answer comes to s.asked, at the latest when the
// connection is closed.
func (s *source) ask() {
	asked := make(chan answer, 1)
	s.asked = asked
	command := s.client.B().Xread().Count(int64(min(s.window, batchMost))).Block(blockFor.Milliseconds()).
		Streams().Key(s.log.config.Key).Id(id(s.of, s.after)).Build()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), blockFor+answerTimeout)
		defer cancel()
		streams, err := s.client.Do(ctx, command).AsXReadSlices()
		if ctx.Err() != nil {
			err = fmt.Errorf("no answer in %v", blockFor+answerTimeout)
		}
		asked <- answer{streams, err}
	}()
}

// gather returns the entries of an answer.
func (s *source) gather(ctx context.Context, a answer) ([]eventlog.Entry, error) {
	switch {
	case rueidis.IsRedisNil(a.err):
		return nil, s.unchanged(ctx)
	case a.err != nil:
		return nil, fmt.Errorf("redis: read %s: %w", s.log.config.Key, a.err)
	}
	for _, raw := range a.streams[s.log.config.Key] {
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

var errOtherLog = errors.New("redis: the stream was deleted and created again")

// unchanged reports an error when the log has become another one, or ends
// before what was read of it.
func (s *source) unchanged(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	end, err := s.log.look(ctx, s.client)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return nil // the wait was ended; it asks again in a second
	case err != nil:
		return err
	case end.log != s.of:
		return errOtherLog
	case end.position < s.after:
		return fmt.Errorf("redis: the stream ends at position %v and was read up to %v: it has lost entries", end.position, s.after)
	}
	return nil
}
