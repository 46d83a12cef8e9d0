package adapter

import (
	"context"
	"sync"

	"github.com/redis/rueidis"
)

const (
	// maxWaiting is how many messages may wait for Redis: more than a node
	// says in a second, less than what is stale when it comes.
	maxWaiting = 8192

	// publishBatch is how many PUBLISH commands leave in one write.
	publishBatch = 128
)

// A publisher sends messages to Redis in the order in which they were given to
// it, in batches, over the connection there is at the time. Safe for
// concurrent use.
type publisher struct {
	stats *counters
	bell  chan struct{} // has a token when something waits

	mu      sync.Mutex
	open    bool // there is a connection
	waiting []outgoing
}

// outgoing is a message that waits.
type outgoing struct {
	channel string
	payload []byte
}

func (p *publisher) init(stats *counters) {
	p.stats, p.bell = stats, make(chan struct{}, 1)
}

// publish queues a message. It reports false, and counts, when it is dropped.
func (p *publisher) publish(channel string, payload []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.open || len(p.waiting) >= maxWaiting {
		p.stats.unpublished.Add(1)
		return false
	}
	p.waiting = append(p.waiting, outgoing{channel, payload})
	select {
	case p.bell <- struct{}{}:
	default:
	}
	return true
}

// setOpen begins to take messages, or drops those that wait.
func (p *publisher) setOpen(open bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = open
	if !open {
		p.stats.unpublished.Add(int64(len(p.waiting)))
		p.waiting = nil
	}
}

// take returns up to n messages.
func (p *publisher) take(n int) []outgoing {
	p.mu.Lock()
	defer p.mu.Unlock()
	n = min(n, len(p.waiting))
	batch := p.waiting[:n:n]
	p.waiting = p.waiting[n:]
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
			commands := make(rueidis.Commands, len(batch))
			for i, m := range batch {
				commands[i] = client.B().Publish().Channel(m.channel).Message(rueidis.BinaryString(m.payload)).Build()
			}
			for i, result := range client.DoMulti(ctx, commands...) {
				if err := result.Error(); err != nil {
					p.stats.unpublished.Add(int64(len(batch) - i))
					return err
				}
			}
		}
	}
}
