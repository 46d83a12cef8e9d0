package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/upstream/eventlog"
)

const (
	segmentBytes  = 50_000_000 // retention removes whole segments
	rolloverHoles = 1          // positions that RabbitMQ uses for its own entry when it begins a segment (3.10)
	identityRange = 1 << 24    // of what is added to the size limit; less than half of a segment
)

// Config has the addresses of RabbitMQ and the names and limits of the stream.
type Config struct {
	Addresses []string // AMQP URLs of RabbitMQ's nodes, tried in this order
	Exchanges []string // topic exchanges that services publish to
	Keys      []string // patterns of the events' keys
	Prefix    string   // of the names of queues
	Retention time.Duration
	MaxBytes  int
	Logger    *slog.Logger
}

// A Log is the stream of the services' events: an eventlog.Log. Safe for
// concurrent use.
type Log struct {
	config Config
	name   string // of the stream

	mu      sync.Mutex      // guards the following
	limit   int64           // x-max-length-bytes of the stream, which is its identity; 0: not known yet
	host    string          // of the last attempt
	foreign []string        // used as they were found
	misfit  error           // how the stream differs from what is configured
	warned  map[string]bool // of these, those that the log has told of

	reading  dialer
	appender appender
}

// New returns a log; it connects when it is used.
func New(c Config) (*Log, error) {
	if len(c.Addresses) == 0 || len(c.Exchanges) == 0 || c.Prefix == "" || c.Retention <= 0 || c.MaxBytes <= 0 || c.Logger == nil {
		return nil, errors.New("rabbitmq: want addresses, exchanges, a prefix, retention, a size and a logger")
	}
	l := &Log{config: c, name: StreamName(c.Prefix), host: hostOf(c.Addresses[0]), warned: make(map[string]bool)}
	l.appender.init(l)
	return l, nil
}

// Host returns host:port of the last attempt to read.
func (l *Log) Host() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.host
}

// Foreign returns the queues and exchanges that exist with other arguments and
// are used as they are.
func (l *Log) Foreign() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.foreign...)
}

// Close ends the connection that appends, if there is one.
func (l *Log) Close() { l.appender.close() }

// Open implements eventlog.Log: it tries the addresses in turn. A node of a
// cluster may refuse to read a stream of which it has no replica.
func (l *Log) Open(ctx context.Context, at eventlog.Start) (eventlog.Source, error) {
	var errs []error
	for _, address := range l.config.Addresses {
		l.mu.Lock()
		l.host = hostOf(address)
		l.mu.Unlock()
		s, err := l.openAt(ctx, address, at, true)
		if errors.Is(err, errUnmarked) {
			s, err = l.openAt(ctx, address, at, false)
		}
		if err == nil {
			return s, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

// openAt connects to one address, declares what is needed and begins to read.
// mark: it also finds the end of the log.
func (l *Log) openAt(ctx context.Context, address string, at eventlog.Start, mark bool) (*source, error) {
	var s *source
	_, err := l.reading.open(ctx, []string{address}, "reads "+l.name, func(conn *link) error {
		identity, err := l.declare(conn)
		if err == nil {
			s = &source{log: l, conn: conn, info: eventlog.Info{Identity: identity, Holes: rolloverHoles}}
			err = s.begin(ctx, at, mark)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", hostOf(address), err)
		}
		return nil
	})
	return s, err
}

// declare creates the exchanges, the stream and its bindings if they do not
// exist, and returns the stream's identity.
func (l *Log) declare(conn *link) (identity string, err error) {
	d := &declarer{conn: conn}
	defer d.close()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.foreign = nil
	for _, exchange := range l.config.Exchanges {
		foreign, err := d.exchange(exchange)
		if err != nil {
			return "", fmt.Errorf("declare exchange %s: %w", exchange, err)
		}
		l.note(exchange, foreign, "patterns of keys need a topic exchange")
	}
	if err := l.declareStream(d); err != nil {
		return "", fmt.Errorf("declare stream %s: %w", l.name, err)
	}
	for _, exchange := range l.config.Exchanges {
		for _, key := range l.config.Keys {
			foreign, err := d.bind(l.name, key, exchange)
			if err != nil {
				return "", fmt.Errorf("bind stream %s to %s: %w", l.name, exchange, err)
			}
			l.note(l.name+" bound to "+exchange, foreign, "the binding has to be there already")
		}
	}
	return l.identity(), nil
}

// identity returns the identity of the stream. l.mu is held. A stream that was
// created by others without a limit has none.
func (l *Log) identity() string { return strconv.FormatInt(l.limit, 36) }

// declareStream declares the stream with the limit that it has, or creates it
// with a new one.
func (l *Log) declareStream(d *declarer) error {
	if there, err := d.exists(l.name); err != nil && !refused(err) {
		return err
	} else if !there || l.limit == 0 {
		l.limit = l.newLimit()
	}
	err := d.declare(l.name, l.args())
	if current, other := currentLimit(err); other {
		l.limit = current
		if current != 0 {
			err = d.declare(l.name, l.args())
		}
	}
	switch {
	case err == nil:
		if most := int64(l.config.MaxBytes); l.limit < most || l.limit >= most+identityRange {
			l.misfit = fmt.Errorf("it has a limit of %d bytes", l.limit)
			l.note(l.name, l.misfit, "EVENT_LOG_MAX_BYTES takes effect when the stream is created")
		}
		return nil
	case noStreams(err):
		return fmt.Errorf("RabbitMQ has no streams (want 3.9 or later, and rabbitmqctl enable_feature_flag stream_queue): %w: %w", eventlog.ErrNoLog, err)
	case refused(err):
		l.misfit = err
		l.note(l.name, err, "it may forget events earlier or later than EVENT_LOG_RETENTION says")
		return d.look(l.name)
	}
	return err
}

// newLimit returns a limit that earlier streams are unlikely to have had.
func (l *Log) newLimit() int64 { return int64(l.config.MaxBytes) + rand.Int64N(identityRange) }

func (l *Log) args() amqp.Table {
	return amqp.Table{
		amqp.QueueTypeArg:                 amqp.QueueTypeStream,
		"x-max-length-bytes":              l.limit,
		"x-max-age":                       strconv.Itoa(int(l.config.Retention/time.Second)) + "s",
		"x-stream-max-segment-size-bytes": int64(segmentBytes),
	}
}

// limitPattern finds the limit of a stream in RabbitMQ's refusal to declare it
// with another one (3.10, 3.13, 4.0).
var limitPattern = regexp.MustCompile(`inequivalent arg 'x-max-length-bytes' .* but current is (?:the value )?'(\d+)'`)

// currentLimit returns the limit that a stream has, 0 for none, if err says
// that it differs from the declared one.
func currentLimit(err error) (limit int64, other bool) {
	reason := reasonOf(err)
	if !strings.Contains(reason, "inequivalent arg 'x-max-length-bytes'") {
		return 0, false
	}
	if m := limitPattern.FindStringSubmatch(reason); m != nil {
		limit, _ = strconv.ParseInt(m[1], 10, 64)
	}
	return limit, true
}

// noStreams reports whether err says that RabbitMQ has no streams: before 3.9,
// or with the feature flag stream_queue off.
func noStreams(err error) bool {
	reason := reasonOf(err)
	return strings.Contains(reason, "feature flag") || strings.Contains(reason, "invalid arg 'x-queue-type'")
}

// note records a queue or exchange that has other arguments, and logs it the first
// time. l.mu is held.
func (l *Log) note(name string, foreign error, missing string) {
	if foreign == nil {
		return
	}
	l.foreign = append(l.foreign, name)
	if !l.warned[name] {
		l.warned[name] = true
		l.config.Logger.Warn("used as it was found on RabbitMQ: "+missing, "name", name, "reason", foreign)
	}
}
