package cluster

import (
	"context"
	"time"

	"github.com/redis/rueidis"
)

const (
	// parkedBytes is how much may wait in a lane for one node that is not
	// subscribed; its lease bounds how long.
	parkedBytes = 4 << 20

	// parcelBytes bounds what goes to a node with one PUBLISH, but for a
	// single message that is larger.
	parcelBytes = 256 << 10
)

// A parcel is what goes to one node with one PUBLISH. Owned by its lane.
type parcel struct {
	node      uint32
	body      []byte
	letters   int64     // messages in it
	flights   []*flight // of the events in it that must not get lost
	questions []*waiter // in it
	parked    time.Time
}

// pack puts the letters of the batch into parcels for the nodes of the
// reading, each node's in the order of the batch; the first time with
// questions and answers.
func (l *lane) pack(r *reading, first bool) (parcels []parcel) {
	clear(l.last)
	for i := range l.batch {
		x := &l.batch[i]
		switch {
		case x.answer != 0:
			if first {
				p := l.parcel(&parcels, x.answer, x)
				p.body = appendSignal(p.body, x.number, flagAnswer, x.members, x.Room)
			}
		case x.question:
			for _, node := range r.nodes[x.at] {
				if first {
					p := l.parcel(&parcels, node, x)
					p.body = appendSignal(p.body, x.number, flagQuestion, x.members, x.Room)
					if x.waiter != nil {
						p.questions = append(p.questions, x.waiter)
					}
				}
			}
		default:
			for _, node := range r.nodes[x.at] {
				p := l.parcel(&parcels, node, x)
				p.body = appendRecord(p.body, x.number, x.members, &x.Broadcast)
				p.letters++
				if x.flight != nil {
					p.flights = append(p.flights, x.flight)
				}
			}
		}
	}
	return parcels
}

// parcel returns the node's last parcel, or a new one when a letter does not
// fit any more.
func (l *lane) parcel(parcels *[]parcel, node uint32, x *letter) *parcel {
	at, ok := l.last[node]
	if !ok || len((*parcels)[at].body)+x.size() > parcelBytes {
		at = len(*parcels)
		l.last[node] = at
		body := make([]byte, 0, envelopeHead+recordHead+len(x.Room)+x.size())
		*parcels = append(*parcels, parcel{node: node, body: appendEnvelopeHead(body, l.c.node, l.index)})
	}
	return &(*parcels)[at]
}

// send publishes parcels, and then the fence. What has no receiver is parked.
func (l *lane) send(ctx context.Context, v *view, parcels []parcel, fence []rueidis.Completed) error {
	var commands []rueidis.Completed
	var sent []parcel
	for _, p := range parcels {
		if len(l.parked[p.node]) > 0 { // behind the others
			l.park(p)
			continue
		}
		sent = append(sent, p)
		commands = append(commands, l.publishing(v, p))
	}
	if len(commands) == 0 || v.sharded {
		commands = append(commands, fence...)
	}
	if len(commands) == 0 {
		return nil
	}
	results := v.client.DoMulti(ctx, commands...)
	for _, r := range results {
		if err := r.Error(); err != nil {
			return err
		}
	}
	for i, p := range sent {
		l.sent(p, results[i])
	}
	return nil
}

func (l *lane) publishing(v *view, p parcel) rueidis.Completed {
	b, channel, body := v.client.B(), l.c.names.channel(p.node), rueidis.BinaryString(p.body)
	if v.sharded {
		return b.Spublish().Channel(channel).Message(body).Build()
	}
	return b.Publish().Channel(channel).Message(body).Build()
}

// sent counts a parcel, or parks it when nobody got it.
func (l *lane) sent(p parcel, result rueidis.RedisResult) {
	if receivers, err := result.AsInt64(); err == nil && receivers == 0 {
		l.park(p)
		return
	}
	l.c.stats.envelopes.Add(1)
	l.c.stats.published.Add(p.letters)
}

// park keeps a parcel for a node that is not subscribed, if there is an event
// in it that must not get lost.
func (l *lane) park(p parcel) {
	if len(p.questions) > 0 {
		l.unheard(p.node, p.questions)
		p.questions = nil
	}
	size := 0
	for _, other := range l.parked[p.node] {
		size += len(other.body)
	}
	if len(p.flights) == 0 || size > 0 && size+len(p.body) > parkedBytes {
		l.c.stats.dropped[DropNoReceiver].Add(p.letters)
		return
	}
	for _, f := range p.flights {
		l.c.flights.hold(f)
	}
	p.parked = time.Now()
	l.parked[p.node] = append(l.parked[p.node], p)
	l.parking.Store(true)
}

// unpark tries to send what is parked, each node's oldest first, until the node
// is seen to be gone.
func (l *lane) unpark(ctx context.Context, v *view) error {
	for node, waiting := range l.parked {
		for len(waiting) > 0 {
			p := waiting[0]
			if v.mayHave(node, p.parked) {
				receivers, err := v.client.Do(ctx, l.publishing(v, p)).AsInt64()
				if err != nil {
					return err
				}
				if receivers == 0 {
					break
				}
				l.c.stats.envelopes.Add(1)
				l.c.stats.published.Add(p.letters)
			} else {
				l.c.stats.dropped[DropNoReceiver].Add(p.letters)
			}
			for _, f := range p.flights {
				l.c.flights.land(f)
			}
			waiting = waiting[1:]
			l.parked[node] = waiting
		}
		if len(waiting) == 0 {
			delete(l.parked, node)
		}
	}
	l.parking.Store(len(l.parked) > 0)
	return nil
}
