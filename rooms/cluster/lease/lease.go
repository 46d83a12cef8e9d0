// Package lease maintains a node's lease in Redis and its sessions, and finds
// the other nodes and removes dead ones. It is a state machine without
// goroutines and I/O: inputs and outputs are values, and the time is an
// argument.
//
//	lease.go  this node's sessions and their lease
//	peers.go  the other nodes, according to their leases
//	sweep.go  the removal of dead sessions from the directory
package lease

import (
	"errors"
	"time"

	"github.com/hometrip/gateway/rooms/cluster/wire"
)

const (
	// renewalsPerLease is how many times a lease is renewed within its length.
	renewalsPerLease = 5

	// RetryMin is the shortest pause between two attempts while Redis fails.
	RetryMin = 50 * time.Millisecond

	// RetryMax is the longest pause between two attempts while Redis fails.
	RetryMax = time.Second

	// restartDelay is the pause between the end of a session and the next one.
	restartDelay = 5 * time.Millisecond

	// maxFormer is how many former sessions are remembered that may still be in
	// the directory.
	maxFormer = 64
)

var errEnded = errors.New("the lease has ended")

// A Config is the configuration of a Lease.
type Config struct {
	Names  wire.Names
	Node   uint32
	Lease  time.Duration // length of a lease; a node that does not renew it within that time is dead
	Answer time.Duration // Redis counts as unreachable if it does not answer within this time
}

// A phase is a stage in the life of a session.
type phase uint8

const (
	none      phase = iota // no session, or Redis may have forgotten it
	beginning              // its lease is being written
	live                   // Redis has its lease
)

// A step says what the batch under way does.
type step uint8

const (
	idle     step = iota
	probing       // checks whether Redis answers, while there is no subscription
	renewing      // also reads the leases of the other nodes that are known
	asking        // reads the leases of all other nodes, because there are new ones
	forgetting
)

// A Lease has a node's lease and its sessions. A session lasts as long as Redis
// certainly has what was written in it. After a lost connection, a lost lease
// or a flushed database the next session begins, and the node registers all its
// rooms again. So a session that was found dead stays dead, and commands in its
// name that are executed late do no harm.
//
// It is not safe for concurrent use.
type Lease struct {
	c Config

	phase      phase
	session    int64   // the current session, or the last one
	former     []int64 // sessions before it that may still be in the directory
	begun      bool    // a session has begun, and Begun has not reported it yet
	subscribed bool
	sessions   int64 // number of sessions that have begun

	flight  uint64 // id of the batch under way; 0: none
	step    step
	sent    time.Time
	renewed time.Time // when the last renewal was sent
	asked   []int64   // sessions whose leases are being read
	next    time.Time
	pause   time.Duration
	failing time.Time // since when every command has failed; zero: the last one succeeded
	failed  error     // the last error
	away    bool      // Redis does not answer
	reached bool      // Redis has answered at least once
	redial  bool      // a new connection is wanted
	why     string    // why the last session ended; "": Ended has reported it

	peers peers
}

// New makes a lease without a session.
func New(c Config) *Lease {
	return &Lease{c: c, session: wire.Session(c.Node, 0), pause: RetryMin, peers: newPeers(c.Node)}
}

// Session returns the session, 0 if there is none, and former sessions that may
// still be in the directory.
func (l *Lease) Session() (session int64, former []int64) {
	if l.phase != live {
		return 0, l.former
	}
	return l.session, l.former
}

// State returns the session or the last one, the former ones, and whether the
// session is live.
func (l *Lease) State() (session int64, former []int64, isLive bool) {
	return l.session, l.former, l.phase == live
}

// Assume takes over the session of another process, if the session is live and
// this node receives what others publish. Otherwise the next session begins.
func (l *Lease) Assume(session int64, former []int64, isLive bool, now time.Time) {
	l.session, l.former, l.sessions = session, former, 1
	l.phase, l.next = none, now
	if isLive && l.subscribed {
		l.phase, l.begun, l.reached = live, true, true
	}
}

// Begun reports once for each session that it has begun.
func (l *Lease) Begun() bool {
	b := l.begun
	l.begun = false
	return b
}

// Ended returns once for each session why it has ended.
func (l *Lease) Ended() (why string) {
	why = l.why
	l.why = ""
	return why
}

// Sessions returns how many sessions have begun.
func (l *Lease) Sessions() int64 { return l.sessions }

// Away reports whether Redis does not answer.
func (l *Lease) Away() bool { return l.away }

// Reached reports whether Redis has ever answered.
func (l *Lease) Reached() bool { return l.reached }

// Subscribed records whether this node receives what others publish. Without
// that no session begins.
func (l *Lease) Subscribed(yes bool, now time.Time) {
	l.subscribed = yes
	if yes && l.phase == none {
		l.soon(now)
	}
}

// IsSubscribed returns the argument of the last call of Subscribed.
func (l *Lease) IsSubscribed() bool { return l.subscribed }

// Lose ends the session: Redis may have lost what was written in it.
func (l *Lease) Lose(why string, now time.Time) {
	if l.phase == live {
		l.why = why
	}
	l.flight, l.step = 0, idle
	if l.phase != none {
		l.phase, l.next = none, now.Add(restartDelay)
	}
}

// Failed records that no connection could be made.
func (l *Lease) Failed(err error, now time.Time) { l.fail(err, now) }

// Redial reports once that the connections should be made again, because every
// command on them has failed for the length of a lease. A server that has
// become a replica answers every write with an error.
func (l *Lease) Redial() bool {
	r := l.redial
	l.redial = false
	return r
}

// Trouble returns the error of the last command that failed, nil if Redis
// answers.
func (l *Lease) Trouble() error { return l.failed }

func (l *Lease) soon(at time.Time) {
	if l.next.IsZero() || at.Before(l.next) {
		l.next = at
	}
}

// Next returns when Tick and Take are to be called. Zero means not before
// another input.
func (l *Lease) Next() time.Time {
	switch {
	case l.flight != 0 && l.away:
		return time.Time{}
	case l.flight != 0:
		return l.sent.Add(l.c.Answer)
	}
	return l.next
}

// Tick records that Redis does not answer, if a reply is late.
func (l *Lease) Tick(now time.Time) {
	if l.flight != 0 && !l.away && now.Sub(l.sent) >= l.c.Answer {
		l.away = true
		l.failed = errors.New("no answer")
	}
}

// Take returns the batch that is to be sent now. mine is the content of the
// lease.
func (l *Lease) Take(id uint64, mine wire.Lease, now time.Time) (b wire.Batch, ok bool) {
	if l.flight != 0 || now.Before(l.next) {
		return b, false
	}
	switch {
	case l.phase == none && !l.subscribed:
		l.step = probing
		b.Commands = []wire.Command{{Name: "SMEMBERS", Keys: []string{l.c.Names.Nodes()}}}
	case l.step == asking:
		b = wire.Batch{Commands: []wire.Command{l.peers.ask(l.c.Names, &l.asked)}}
	case l.step == forgetting:
		b = l.forget()
	default:
		b = l.renew(mine, now)
	}
	b.ID, b.Kind, l.flight, l.sent = id, wire.Renewal, id, now
	return b, true
}

// renew writes the lease, and reads those of the other nodes that are known, in
// one exchange: a second one would make renewals rarer when Redis is late. If a
// lease is already there, it must not have ended: others may have acted on that.
func (l *Lease) renew(mine wire.Lease, now time.Time) wire.Batch {
	args := []string{mine.String(), "XX", "PX", wire.Decimal(l.c.Lease.Milliseconds())}
	if l.phase == none {
		if l.sessions > 0 {
			l.former = append(l.former, l.session)
			l.former = l.former[max(0, len(l.former)-maxFormer):]
		}
		l.session++
		l.sessions++
		l.phase = beginning
	}
	if l.phase == beginning {
		args = []string{mine.String(), "PX", wire.Decimal(l.c.Lease.Milliseconds())}
	}
	l.step, l.renewed = renewing, now
	n := l.c.Names
	b := wire.Batch{Commands: []wire.Command{
		{Name: "SET", Keys: []string{n.Lease(l.session)}, Args: args},
		{Name: "SADD", Keys: []string{n.Nodes()}, Args: []string{wire.Decimal(l.session)}},
		{Name: "SMEMBERS", Keys: []string{n.Nodes()}},
	}}
	if l.asked = l.asked[:0]; !l.peers.nobody() {
		b.Commands = append(b.Commands, l.peers.ask(n, &l.asked))
	}
	return b
}

// forget removes former sessions that are in no room any more.
func (l *Lease) forget() wire.Batch {
	var b wire.Batch
	gone := wire.Command{Name: "SREM", Keys: []string{l.c.Names.Nodes()}}
	del := wire.Command{Name: "DEL"}
	for _, s := range l.former {
		gone.Args = append(gone.Args, wire.Decimal(s))
		del.Keys = append(del.Keys, l.c.Names.Lease(s))
	}
	b.Commands = []wire.Command{gone, del}
	return b
}

// Reply handles the replies to the batch of that id. registered says that the
// directory has all rooms of the session.
func (l *Lease) Reply(id uint64, replies []wire.Reply, registered bool, now time.Time) {
	if id != l.flight {
		return // a reply of a session that has ended
	}
	l.flight = 0
	if err := wire.FirstError(replies); err != nil {
		l.step = idle
		l.fail(err, now)
		return
	}
	switch l.step {
	case probing:
		l.answered()
		l.done(now)
		if l.subscribed {
			l.next = now
		}
	case renewing:
		if replies[0].Nil {
			l.Lose(errEnded.Error(), now)
			return
		}
		if l.peers.sessions(replies[2].List); l.peers.knew(l.asked) {
			var leases []string
			if len(replies) > 3 {
				leases = replies[3].List
			}
			l.found(leases, registered, now)
			return
		}
		l.step = asking
	case asking:
		l.found(replies[0].List, registered, now)
	case forgetting:
		l.former = nil
		l.done(now)
	}
}

// found handles the leases of the other nodes.
func (l *Lease) found(leases []string, registered bool, now time.Time) {
	l.peers.found(l.asked, leases, now)
	if l.phase == beginning {
		l.phase, l.begun = live, true
	}
	l.answered()
	if registered && len(l.former) > 0 {
		l.step = forgetting
		return
	}
	l.done(now)
}

func (l *Lease) answered() {
	l.away, l.reached, l.failing, l.failed, l.pause = false, true, time.Time{}, nil, RetryMin
}

// done waits until the next renewal. The pause begins when the last one was sent,
// so that a late Redis does not make renewals rarer than its replies.
func (l *Lease) done(now time.Time) {
	l.step = idle
	l.next = now.Add(l.c.Lease / renewalsPerLease)
	if due := l.renewed.Add(l.c.Lease / renewalsPerLease); l.phase == live && due.Before(l.next) {
		l.next = due
	}
}

func (l *Lease) fail(err error, now time.Time) {
	l.away, l.failed = true, err
	l.next = now.Add(l.pause)
	l.pause = min(2*l.pause, RetryMax)
	if l.failing.IsZero() {
		l.failing = now
	}
	if now.Sub(l.failing) >= l.c.Lease {
		l.failing, l.redial = now, true
	}
}
