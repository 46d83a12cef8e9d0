package redislog

import (
	"context"
	"time"

	"github.com/redis/rueidis"

	"github.com/hometrip/gateway/upstream/eventlog"
	"github.com/hometrip/gateway/upstream/redislog/core"
)

// A source reads the stream over a separate connection. It implements
// eventlog.Source and executes the commands of a core.Reading. Owned by one
// goroutine.
type source struct {
	log     *Log
	client  rueidis.Client
	reading *core.Reading
	asked   chan core.Reply // receives the answer to the command under way; nil: none is under way
}

// Open implements eventlog.Log.
func (l *Log) Open(ctx context.Context, at eventlog.Start) (eventlog.Source, error) {
	client, err := l.config.Open()
	if err != nil {
		return nil, err
	}
	s := &source{log: l, client: client, reading: core.NewReading(at)}
	r := l.do(ctx, client, s.reading.Command())
	if _, err := s.reading.Take(&r); err != nil {
		client.Close()
		return nil, l.failure(err)
	}
	return s, nil
}

func (s *source) Info() eventlog.Info     { return s.reading.Info() }
func (s *source) Taken(eventlog.Position) {}
func (s *source) Close()                  { s.client.Close() }

// Next implements eventlog.Source. It may return no entries before wait has
// passed. The command under way stays under way then, because cancelling a
// blocking command would close its connection.
func (s *source) Next(ctx context.Context, wait time.Duration) ([]eventlog.Entry, error) {
	if s.asked == nil {
		s.ask()
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case r := <-s.asked:
		s.asked = nil
		entries, err := s.reading.Take(&r)
		if err != nil {
			err = s.log.failure(err)
		}
		return entries, err
	case <-timer.C:
	case <-ctx.Done():
	}
	return nil, nil
}

// ask sends the next command. s.asked receives the answer, or an error when the
// connection is closed.
func (s *source) ask() {
	asked := make(chan core.Reply, 1)
	s.asked = asked
	command := s.reading.Command()
	go func() { asked <- s.log.do(context.Background(), s.client, command) }()
}
