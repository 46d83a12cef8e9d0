package adapter

import "time"

// lingerTime is how long a room's channel stays subscribed after its last
// member has left: clients that come and go should not cost Redis two commands
// each time.
const lingerTime = 5 * time.Second

// A phase is how far the subscription to a room's channel is.
type phase uint8

const (
	phaseWaiting   phase = iota // to be sent
	phaseSent                   // SUBSCRIBE was sent, Redis has not confirmed it
	phaseConfirmed              // Redis sends what is published
	phaseWithdrawn              // UNSUBSCRIBE was sent; what is wanted again waits for its end
)

// subscriptions decides which channels are to be subscribed to, from which
// rooms have members on this node. No I/O, no clock and no goroutine; not safe
// for concurrent use.
type subscriptions struct {
	connected bool
	rooms     map[string]*subscription
	changed   []*subscription // to be looked at by next
	lingering []lingering     // the oldest first
}

// A subscription is that of one room.
type subscription struct {
	room   string
	phase  phase
	wanted bool
	left   time.Duration // when the last member did, if not wanted
	queued bool          // in changed
	ready  []func()      // to be called when confirmed
}

// A lingering is a room without members that stays subscribed until a time.
type lingering struct {
	s    *subscription
	left time.Duration
}

func newSubscriptions() *subscriptions {
	return &subscriptions{rooms: make(map[string]*subscription)}
}

// want records that a room has members.
func (u *subscriptions) want(room string) {
	s := u.rooms[room]
	if s == nil {
		s = &subscription{room: room}
		u.rooms[room] = s
	}
	s.wanted = true
	u.queue(s)
}

// unwant records that a room has no members any more, and returns the callbacks
// that waited for it.
func (u *subscriptions) unwant(room string, now time.Duration) (ready []func()) {
	s := u.rooms[room]
	switch {
	case s == nil || !s.wanted:
		return nil
	case !u.connected: // nobody waits
		delete(u.rooms, room)
		return nil
	}
	s.wanted, s.left = false, now
	u.lingering = append(u.lingering, lingering{s, now})
	ready, s.ready = s.ready, nil
	return ready
}

// await registers ready to be called when the room's messages reach this node.
// If they already do, or Redis is away, it returns true and does not register
// it.
func (u *subscriptions) await(room string, ready func()) bool {
	s := u.rooms[room]
	if !u.connected || s == nil || s.phase == phaseConfirmed {
		return true
	}
	s.ready = append(s.ready, ready)
	return false
}

// queue makes next return a subscription. Without a connection it does nothing;
// connect queues all.
func (u *subscriptions) queue(s *subscription) {
	if u.connected && !s.queued {
		s.queued = true
		u.changed = append(u.changed, s)
	}
}

// connect records that there is a new connection, without any subscription.
func (u *subscriptions) connect() {
	u.connected = true
	for _, s := range u.rooms {
		u.queue(s)
	}
}

// disconnect records that there is no connection. It returns the callbacks to
// be called because nothing will be confirmed. Rooms without members are
// removed, so that they do not accumulate meanwhile.
func (u *subscriptions) disconnect() (ready []func()) {
	u.connected, u.changed, u.lingering = false, nil, nil
	for room, s := range u.rooms {
		ready = append(ready, s.ready...)
		s.ready, s.phase, s.queued = nil, phaseWaiting, false
		if !s.wanted {
			delete(u.rooms, room)
		}
	}
	return ready
}

// next returns up to most rooms to subscribe to and to unsubscribe from. They
// count as sent from then on.
func (u *subscriptions) next(now time.Duration, most int) (subscribe, unsubscribe []string) {
	if !u.connected {
		return nil, nil
	}
	for len(u.lingering) > 0 && u.lingering[0].left+lingerTime <= now {
		if s := u.lingering[0].s; u.rooms[s.room] == s && !s.wanted && s.left == u.lingering[0].left {
			u.queue(s)
		}
		u.lingering = u.lingering[1:]
	}
	for len(u.changed) > 0 && len(subscribe)+len(unsubscribe) < most {
		s := u.changed[0]
		u.changed = u.changed[1:]
		s.queued = false
		switch {
		case u.rooms[s.room] != s: // has ended meanwhile, and the room may have a new one
		case s.phase == phaseWaiting && s.wanted:
			s.phase = phaseSent
			subscribe = append(subscribe, s.room)
		case s.phase == phaseWaiting:
			delete(u.rooms, s.room)
		case !s.wanted && s.phase == phaseConfirmed && s.left+lingerTime <= now:
			s.phase = phaseWithdrawn
			unsubscribe = append(unsubscribe, s.room)
		}
	}
	return subscribe, unsubscribe
}

// more reports whether next would return something.
func (u *subscriptions) more() bool { return u.connected && len(u.changed) > 0 }

// wake returns when next will return something because a room's linger time is
// over; false if no room lingers.
func (u *subscriptions) wake() (time.Duration, bool) {
	if len(u.lingering) == 0 {
		return 0, false
	}
	return u.lingering[0].left + lingerTime, true
}

// confirmed records that Redis has subscribed to a room's channel, and returns
// the callbacks that waited for it.
func (u *subscriptions) confirmed(room string, now time.Duration) (ready []func()) {
	s := u.rooms[room]
	if s == nil || s.phase != phaseSent {
		return nil
	}
	s.phase = phaseConfirmed
	ready, s.ready = s.ready, nil
	if !s.wanted {
		u.lingering = append(u.lingering, lingering{s, s.left})
	}
	return ready
}

// ended records that Redis has unsubscribed from a room's channel.
func (u *subscriptions) ended(room string) {
	s := u.rooms[room]
	if s == nil || s.phase != phaseWithdrawn {
		return
	}
	s.phase = phaseWaiting
	if s.wanted {
		u.queue(s)
		return
	}
	delete(u.rooms, room)
}
