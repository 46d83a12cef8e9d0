package presence

import (
	"slices"
	"strconv"
	"time"

	"github.com/hometrip/gateway/internal/shrink"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

// A teller has the rooms with an event to be published.
type teller struct {
	ready bool // events can be published

	busy      map[string]bool // rooms that are scheduled or under way
	soon      []string
	later     []due // in the order of their times
	claiming  int
	telling   int     // events that are being published
	events    []Event // to be published
	published []Event // events that RabbitMQ has confirmed
	look      time.Time
}

// note schedules a room for a time.
func (t *teller) note(room string, at, now time.Time) {
	if t.busy[room] || len(t.busy) >= maxDue {
		return
	}
	t.busy[room] = true
	if !now.Before(at) {
		t.soon = append(t.soon, room)
		return
	}
	i := len(t.later)
	for i > 0 && at.Before(t.later[i-1].at) {
		i--
	}
	t.later = slices.Insert(t.later, i, due{room, at})
}

// wake queues the scheduled rooms whose time has come.
func (t *teller) wake(now time.Time) {
	k := 0
	for ; k < len(t.later) && !now.Before(t.later[k].at); k++ {
		t.soon = append(t.soon, t.later[k].room)
	}
	t.later = shrink.Queue(t.later, k)
}

// again ends what is under way for a room, and schedules the room again after
// wait ms. A negative wait does not schedule it.
func (t *teller) again(room string, wait int64, now time.Time) {
	delete(t.busy, room)
	if wait >= 0 {
		t.note(room, now.Add(time.Duration(wait)*time.Millisecond), now)
	}
}

// Ready records whether events can be published now. No event is claimed while
// they cannot.
func (n *Core) Ready(yes bool) { n.tell.ready = yes }

// claims fills a batch with rooms whose events are to be claimed.
func (n *Core) claims(f *flight, b *Batch) bool {
	t := &n.tell
	k := min(len(t.soon), tellWindow-t.claiming-t.telling)
	if !t.ready || k <= 0 {
		return false
	}
	f.what = claims
	for _, room := range t.soon[:k] {
		n.ids++
		id := n.sessionName(n.session) + "." + strconv.FormatUint(n.ids, 36)
		f.names = append(f.names, room)
		b.Commands = append(b.Commands, n.script(claim, []string{n.roomKey(room), n.untoldKey(partitionOf(room))},
			room, id, wire.Decimal(claimTime.Milliseconds()), n.keep(room)))
	}
	t.soon = shrink.Queue(t.soon, k)
	t.claiming += k
	return true
}

func (n *Core) claimed(f *flight, replies []wire.Reply, err error, now time.Time) {
	t := &n.tell
	t.claiming -= len(f.names)
	for i, room := range f.names {
		if err != nil {
			t.again(room, retryMax.Milliseconds(), now)
			continue
		}
		if wait, isWait := strconv.ParseInt(replies[i].Text, 10, 64); isWait == nil {
			t.again(room, max(wait, 1), now)
			continue
		}
		e, ok := parseEvent(room, replies[i].Text)
		if !ok { // there is no event to publish
			t.again(room, nothing, now)
			continue
		}
		t.telling++
		t.events = append(t.events, e)
	}
}

// Events returns the events that are to be published now. Published must be
// called for each.
func (n *Core) Events() []Event {
	list := n.tell.events
	n.tell.events = nil
	return list
}

// Published records whether RabbitMQ has confirmed an event.
func (n *Core) Published(e Event, ok bool) {
	n.tell.telling--
	if !ok { // it is found in Redis when its time is over
		n.Stats.Failed++
		delete(n.tell.busy, e.Room)
		return
	}
	n.Stats.Told++
	n.tell.published = append(n.tell.published, e)
}

// confirms fills a batch with events that RabbitMQ has confirmed.
func (n *Core) confirms(f *flight, b *Batch) bool {
	t := &n.tell
	if len(t.published) == 0 {
		return false
	}
	f.what = confirms
	for _, e := range t.published {
		f.names, f.told = append(f.names, e.Room), append(f.told, e.form)
		b.Commands = append(b.Commands, n.script(confirm, []string{n.roomKey(e.Room), n.untoldKey(partitionOf(e.Room))},
			e.Room, e.form, wire.Decimal(n.c.Grace.Milliseconds()), n.keep(e.Room)))
	}
	t.published = nil
	return true
}

func (n *Core) confirmed(f *flight, replies []wire.Reply, _ error, now time.Time) {
	for i, room := range f.names {
		if replies[i].Err != nil { // it is published again after claimTime
			n.tell.again(room, nothing, now)
			continue
		}
		n.tell.again(room, replies[i].Int, now)
	}
}

// looks fills a batch that searches for rooms whose event was not published in
// time, because the node that wrote the change is dead or could not publish.
func (n *Core) looks(f *flight, b *Batch, now time.Time) bool {
	if !n.tell.ready || now.Before(n.tell.look) || n.under(looks) {
		return false
	}
	f.what = looks
	for p := range partitions {
		b.Commands = append(b.Commands, n.script(overdue, []string{n.untoldKey(p)},
			wire.Decimal(lookSlack.Milliseconds()), wire.Decimal(lookLimit)))
	}
	return true
}

func (n *Core) looked(_ *flight, replies []wire.Reply, err error, now time.Time) {
	n.tell.look = now.Add(lookInterval)
	if err != nil {
		return
	}
	for _, r := range replies {
		for _, room := range r.List {
			n.tell.note(room, now, now)
		}
		if len(r.List) == lookLimit { // there may be more
			n.tell.look = now.Add(lookInterval / 10)
		}
	}
}
