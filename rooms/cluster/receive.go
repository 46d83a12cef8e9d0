package cluster

import (
	"context"
	"strings"

	"github.com/redis/rueidis"
)

// maxWindows is how many sources are remembered before those of nodes that are
// gone are forgotten.
const maxWindows = 4096

// A receiver takes what other nodes publish. Owned by the goroutine that
// receives from Redis, which must not be held up: it only appends to mailboxes.
type receiver struct {
	c       *Cluster
	windows map[source]*window
}

// take handles one envelope.
func (r *receiver) take(body string) {
	s := &r.c.stats
	from, records, err := parseEnvelope([]byte(body)) // one copy, which the messages keep
	if err != nil {
		s.dropped[DropMalformed].Add(1)
		r.c.keeper.complain(err)
		return
	}
	for len(records) > 0 {
		var x record
		if x, records, err = nextRecord(records); err != nil {
			s.dropped[DropMalformed].Add(1)
			r.c.keeper.complain(err)
			return
		}
		r.record(from, &x)
	}
}

func (r *receiver) record(from source, x *record) {
	s, l := &r.c.stats, r.c.lane(x.Room)
	switch {
	case x.flags&flagQuestion != 0:
		l.tally(x.Room, from.node, x.members)
		l.question(x.Room, from.node, x.number)
		return
	case x.flags&flagAnswer != 0:
		l.tally(x.Room, from.node, x.members)
		l.answered(from.node, x.number)
		return
	}
	s.received.Add(1)
	if !r.window(from).first(x.number) {
		s.duplicates.Add(1)
		return
	}
	l.tally(x.Room, from.node, x.members)
	if x.flags&flagOrder != 0 {
		r.c.receiveOrder(x.form)
		return
	}
	l.heard(x.Room)
	if r.c.local.Receive(x.Broadcast) == 0 {
		s.strays.Add(1)
	}
}

func (r *receiver) window(from source) *window {
	w := r.windows[from]
	if w == nil {
		if len(r.windows) >= maxWindows {
			r.forget()
		}
		w = &window{}
		r.windows[from] = w
	}
	return w
}

// forget drops the windows of nodes that have no lease.
func (r *receiver) forget() {
	v := r.c.view.Load()
	for from := range r.windows {
		if v == nil {
			delete(r.windows, from)
		} else if _, leased := v.peers[from.node]; !leased {
			delete(r.windows, from)
		}
	}
}

// subscribe receives what other nodes publish, until ctx is cancelled.
func (k *keeper) subscribe(ctx context.Context, client rueidis.Client) {
	r := &receiver{c: k.c, windows: make(map[source]*window)}
	hooked := rueidis.WithOnSubscriptionHook(ctx, func(s rueidis.PubSubSubscription) {
		if strings.HasSuffix(s.Kind, "unsubscribe") {
			k.subscribed.Store(false)
		} else if !k.subscribed.Swap(true) {
			k.unload()
			offer(k.kick)
		}
	})
	for ctx.Err() == nil {
		channel := k.c.names.channel(k.c.node)
		command := client.B().Subscribe().Channel(channel).Build()
		if client.Mode() == rueidis.ClientModeCluster {
			command = client.B().Ssubscribe().Channel(channel).Build()
		}
		err := client.Receive(hooked, command, func(m rueidis.PubSubMessage) { r.take(m.Message) })
		k.subscribed.Store(false)
		if err != nil && ctx.Err() == nil {
			k.complain(err)
		}
		k.sleep(ctx, reconnectMin)
	}
}
