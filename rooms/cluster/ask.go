package cluster

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

const (
	// answerTimeout is how long a node may take to answer.
	answerTimeout = 2 * time.Second

	maxAnswering = 4       // questions that a node answers at a time; more are not answered
	maxQuestion  = 4 << 10 // bytes
	maxAnswer    = 4 << 20 // bytes
)

// A question is published on a channel to which all nodes subscribe. An answer
// goes to the channel that is named after the question's id.
type question struct {
	ID   string          `json:"id"`
	From uint32          `json:"from"`
	Body json.RawMessage `json:"body"`
}

// An answer is what another node publishes in reply to a question.
type answer struct {
	From uint32          `json:"from"`
	Body json.RawMessage `json:"body"`
}

// Ask asks all other nodes a question, in JSON. It returns their answers, and
// the numbers of the nodes that did not answer before ctx was over. The error
// says that Redis cannot be reached.
func (c *Cluster) Ask(ctx context.Context, body []byte) (answers [][]byte, silent []uint32, err error) {
	cs := c.connections()
	if cs == nil {
		return nil, nil, errDisconnected
	}
	open := make(map[uint32]bool)
	c.mu.Lock()
	for _, p := range c.node.Stats().Peers {
		open[p.Node] = true
	}
	c.mu.Unlock()
	if len(open) == 0 {
		return nil, nil, nil
	}
	q := question{ID: strings.ToLower(rand.Text()), From: c.number, Body: body}
	text, err := json.Marshal(q)
	if err != nil {
		return nil, nil, err
	}
	came, end := cs.await(ctx, c.names.Answers(q.ID), func() { cs.publish(ctx, c.names.Questions(), text) })
	defer end()
	for len(open) > 0 {
		select {
		case text := <-came:
			var a answer
			if json.Unmarshal([]byte(text), &a) == nil {
				delete(open, a.From)
				answers = append(answers, a.Body)
			}
		case <-ctx.Done():
			for number := range open {
				silent = append(silent, number)
			}
			return answers, silent, nil
		}
	}
	return answers, nil, nil
}

// await subscribes to a channel until end is called, calls heard once the
// subscription is confirmed, and returns the messages.
func (cs *conns) await(ctx context.Context, channel string, heard func()) (came <-chan string, end func()) {
	messages := make(chan string, 256)
	ctx, end = context.WithCancel(ctx)
	hooked := rueidis.WithOnSubscriptionHook(ctx, func(change rueidis.PubSubSubscription) {
		if !strings.HasSuffix(change.Kind, "unsubscribe") {
			go heard()
		}
	})
	go func() {
		_ = cs.subscriber.Receive(hooked, cs.subscription(channel), func(m rueidis.PubSubMessage) {
			select {
			case messages <- m.Message:
			default: // the reader has gone
			}
		})
	}()
	return messages, end
}

func (cs *conns) publish(ctx context.Context, channel string, text []byte) {
	b := cs.directory.B()
	if cs.sharded {
		cs.directory.Do(ctx, b.Spublish().Channel(channel).Message(string(text)).Build())
		return
	}
	cs.directory.Do(ctx, b.Publish().Channel(channel).Message(string(text)).Build())
}

// hear is the goroutine that receives questions of other nodes.
func (c *Cluster) hear(cs *conns) {
	places := make(chan struct{}, maxAnswering)
	for cs.ctx.Err() == nil {
		_ = cs.subscriber.Receive(cs.ctx, cs.subscription(c.names.Questions()), func(m rueidis.PubSubMessage) {
			var q question
			if len(m.Message) > maxQuestion || json.Unmarshal([]byte(m.Message), &q) != nil || q.From == c.number {
				return
			}
			select {
			case places <- struct{}{}:
				go func() {
					defer func() { <-places }()
					c.answer(cs, &q)
				}()
			default:
			}
		})
		sleep(cs.ctx, redialMin)
	}
}

func (c *Cluster) answer(cs *conns, q *question) {
	ctx, cancel := context.WithTimeout(cs.ctx, answerTimeout)
	defer cancel()
	text, err := json.Marshal(answer{From: c.number, Body: c.config.Answer(ctx, q.Body)})
	if err == nil && len(text) <= maxAnswer {
		cs.publish(ctx, c.names.Answers(q.ID), text)
	}
}

// Number is the node's number, as in the log and in its lease.
func (c *Cluster) Number() string { return strconv.FormatUint(uint64(c.number), 10) }

// Name is the name under which the sessions of this node are recorded; "" if
// clients cannot recover sessions.
func (c *Cluster) Name() string {
	if c.sessions == nil {
		return ""
	}
	return c.sessions.Node()
}

// Records returns the records that Redis has of the sessions of a user. It
// reads the records of all users, so it is for operators only.
func (c *Cluster) Records(ctx context.Context, user string) (list []*rooms.Record, err error) {
	cs := c.connections()
	for shard := 0; ; shard++ {
		for cursor := "0"; ; {
			page := cs.do(wire.Batch{Kind: wire.Scan, Shard: shard, Commands: []wire.Command{
				{Name: "SCAN", Args: []string{cursor, "MATCH", c.names.SessionPattern(), "COUNT", strconv.Itoa(scanCount)}}}})[0]
			switch {
			case page.Nil:
				return list, nil
			case page.Err != nil:
				return list, fmt.Errorf("read the records of sessions: %w", page.Err)
			case ctx.Err() != nil:
				return list, fmt.Errorf("read the records of sessions: %w", ctx.Err())
			}
			list = append(list, cs.records(page.List, user)...)
			if cursor = page.Next; cursor == "0" {
				break
			}
		}
	}
}

// records reads those records with these keys that belong to a user.
func (cs *conns) records(keys []string, user string) (list []*rooms.Record) {
	if len(keys) == 0 {
		return nil
	}
	var b wire.Batch
	for _, key := range keys {
		b.Commands = append(b.Commands, wire.Command{Name: "GET", Keys: []string{key}})
	}
	for _, r := range cs.do(b) {
		if record, err := rooms.ParseRecord([]byte(r.Text)); r.Err == nil && !r.Nil && err == nil && record.User == user {
			list = append(list, record)
		}
	}
	return list
}
