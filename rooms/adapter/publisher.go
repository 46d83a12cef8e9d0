package adapter

import (
	"context"
	"sync"
	"time"

	"github.com/redis/rueidis"
)

const (
	// maxWaiting is how many messages may wait for Redis: more than a node
	// publishes in a second, but not so many that they are stale when they
	// arrive.
	maxWaiting = 8192

	// maxWaitingBytes is how many bytes they may have together. A larger
	// message is accepted if nothing else waits: it may be an answer that names
	// all sockets of a node.
	maxWaitingBytes = 32 << 20

	// publishBatch is how many PUBLISH commands leave in one write.
	publishBatch = 128
)

// A publisher sends messages to Redis in the order in which it got them, in
// batches, over the current connection. Safe for concurrent use.
type publisher struct {
	stats *counters
	bell  chan struct{} // has a token when something waits

	mu      sync.Mutex
	open    bool // there is a connection
	waiting []outgoing
	bytes   int // of waiting
}

// An outgoing is a message that waits.
type outgoing struct {
	channel string
	payload []byte
	once    string // key of which one node only makes a message; "": all do
}

// onceTime is how long such a key is kept: longer than a node may be behind in
// reading the log.
const onceTime = time.Hour

func (p *publisher) init(stats *counters) {
	p.stats, p.bell = stats, make(chan struct{}, 1)
}

// publish queues a message. It reports false, and counts, when it is dropped.
func (p *publisher) publish(channel string, payload []byte) bool {
	return p.queue(outgoing{channel: channel, payload: payload})
}

// publishOnce is publish for a message that several nodes have and only one is
// to send.
func (p *publisher) publishOnce(key, channel string, payload []byte) {
	p.queue(outgoing{channel, payload, key})
}

func (p *publisher) queue(m outgoing) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	full := len(p.waiting) >= maxWaiting || p.bytes > 0 && p.bytes+len(m.payload) > maxWaitingBytes
	if !p.open || full {
		p.stats.unpublished.Add(1)
		return false
	}
	p.waiting = append(p.waiting, m)
	p.bytes += len(m.payload)
	select {
	case p.bell <- struct{}{}:
	default:
	}
	return true
}

// setOpen starts accepting messages, or drops those that wait.
func (p *publisher) setOpen(open bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = open
	if !open {
		p.stats.unpublished.Add(int64(len(p.waiting)))
		p.waiting, p.bytes = nil, 0
	}
}

// take returns up to n messages.
func (p *publisher) take(n int) []outgoing {
	p.mu.Lock()
	defer p.mu.Unlock()
	n = min(n, len(p.waiting))
	batch := p.waiting[:n:n]
	p.waiting = p.waiting[n:]
	for _, m := range batch {
		p.bytes -= len(m.payload)
	}
	return batch
}

// run publishes over client until ctx is cancelled or a command fails.
func (p *publisher) run(ctx context.Context, client rueidis.Client) error {
	for {
		select {
		case <-p.bell:
		case <-ctx.Done():
			return ctx.Err()
		}
		for batch := p.take(publishBatch); len(batch) > 0; batch = p.take(publishBatch) {
			if err := p.send(ctx, client, batch); err != nil {
				return err
			}
		}
	}
}

func (p *publisher) send(ctx context.Context, client rueidis.Client, batch []outgoing) error {
	commands := make(rueidis.Commands, 0, len(batch))
	for _, m := range batch {
		if m.once != "" {
			first := client.B().Set().Key(m.once).Value("1").Nx().Px(onceTime).Build()
			if err := client.Do(ctx, first).Error(); rueidis.IsRedisNil(err) {
				continue // another node was first
			} else if err != nil {
				p.stats.unpublished.Add(int64(len(batch)))
				return err
			}
		}
		commands = append(commands, client.B().Publish().Channel(m.channel).Message(rueidis.BinaryString(m.payload)).Build())
	}
	for i, result := range client.DoMulti(ctx, commands...) {
		if err := result.Error(); err != nil {
			p.stats.unpublished.Add(int64(len(commands) - i))
			return err
		}
	}
	return nil
}
