package rooms

import "sync/atomic"

// Stats are the counters of one shard. Any goroutine may write or read them.
type Stats struct {
	Sockets       atomic.Int64 // connected now
	Absent        atomic.Int64 // ended, and still members until PRESENCE_GRACE is over
	Members       atomic.Int64 // memberships now, user rooms included
	Connects      atomic.Int64
	ConnectErrors atomic.Int64
	EventsIn      atomic.Int64 // from clients
	EventsUnknown atomic.Int64 // no handler of that name
	EventsRefused atomic.Int64 // answered with an error
	EventsTooFast atomic.Int64 // refused because of the rate
	JoinsDenied   atomic.Int64 // refused by the Authorizer
	JoinsOverUser atomic.Int64 // refused because the user is in too many rooms
	JoinsOverNode atomic.Int64 // refused because rooms use too much on this node
	RoomBytes     atomic.Int64 // held by rooms and memberships now, users' own not counted
	Expelled      atomic.Int64 // sockets taken out of a room they may no longer be in
	CrowdsMuted   atomic.Int64 // user_joined and user_left not sent because of Limits
	TypingsMuted  atomic.Int64 // typing messages not sent because of Limits
	Broadcasts    atomic.Int64
	Deliveries    atomic.Int64 // broadcasts times members
	TokensExpired atomic.Int64
	Ordered       atomic.Int64 // sockets disconnected by order
	TokensRenewed atomic.Int64
	MailboxFull   atomic.Int64 // broadcasts lost because the mailbox was full
}

// Totals is a snapshot of Stats, summed over the shards.
type Totals struct {
	Sockets, Absent, Members, Connects, ConnectErrors int64
	EventsIn, EventsUnknown, EventsRefused            int64
	EventsTooFast, JoinsDenied, Expelled              int64
	JoinsOverUser, JoinsOverNode, RoomBytes           int64
	CrowdsMuted, TypingsMuted                         int64
	Broadcasts, Deliveries                            int64
	TokensExpired, TokensRenewed, Ordered             int64
	MailboxFull, MailboxWaiting                       int64
}

func (t *Totals) add(s *Stats) {
	t.Sockets += s.Sockets.Load()
	t.Absent += s.Absent.Load()
	t.Members += s.Members.Load()
	t.Connects += s.Connects.Load()
	t.ConnectErrors += s.ConnectErrors.Load()
	t.EventsIn += s.EventsIn.Load()
	t.EventsUnknown += s.EventsUnknown.Load()
	t.EventsRefused += s.EventsRefused.Load()
	t.EventsTooFast += s.EventsTooFast.Load()
	t.JoinsDenied += s.JoinsDenied.Load()
	t.JoinsOverUser += s.JoinsOverUser.Load()
	t.JoinsOverNode += s.JoinsOverNode.Load()
	t.RoomBytes += s.RoomBytes.Load()
	t.Expelled += s.Expelled.Load()
	t.CrowdsMuted += s.CrowdsMuted.Load()
	t.TypingsMuted += s.TypingsMuted.Load()
	t.Broadcasts += s.Broadcasts.Load()
	t.Deliveries += s.Deliveries.Load()
	t.TokensExpired += s.TokensExpired.Load()
	t.Ordered += s.Ordered.Load()
	t.TokensRenewed += s.TokensRenewed.Load()
	t.MailboxFull += s.MailboxFull.Load()
}
