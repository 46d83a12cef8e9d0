package authz

import (
	"context"
	"log/slog"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/hometrip/gateway/rooms"
)

const (
	// setTTL limits the memory spent on sets that are not asked about any more.
	// Redis sends invalidations of changes.
	setTTL = time.Hour

	// askTimeout is how long Redis may take to answer.
	askTimeout = 2 * time.Second

	// manyUsers is the number of users from which on it is cheaper to read the
	// whole set than to ask for each user.
	manyUsers = 32

	reviewPause = 100 * time.Millisecond // between two reviews: changes in a row are looked at together
	retryPause  = time.Second            // while Redis is away
	reviewers   = 8                      // rooms reviewed at a time: most of it is waiting for Redis
)

// Members is this node's rooms.
type Members interface {
	// Users, Expel and Names are those of rooms.Hub.
	Users(ctx context.Context, room string) ([]string, error)
	Expel(room string, users []string, reason string)
	Names(limit int) (names []string, total int)
}

// sets allows a user the rooms whose set in Redis contains the user. Sets are
// read through the client-side cache. When a set changes, the members of its
// room are checked again. Safe for concurrent use.
type sets struct {
	prefix  string // of the keys; the room follows
	connect func(invalidated func([]rueidis.RedisMessage)) (rueidis.Client, error)
	log     *slog.Logger
	members Members       // set before anything is reviewed
	failing bool          // and the log has been told; owned by run
	epoch   atomic.Uint64 // counts changes
	client  atomic.Pointer[rueidis.Client]

	due  reviews
	work chan struct{} // has a token when something may be due
}

func newSets(c Config) *sets {
	return &sets{
		prefix: c.Prefix, connect: c.Connect, log: c.Log,
		due: reviews{rooms: make(map[string]uint64)}, work: make(chan struct{}, 1),
	}
}

func (s *sets) quick(rooms.Identity, string) (Verdict, bool) { return Verdict{}, false }

// begin records the current version of the room's set. If the set changes while
// an answer is under way, the user who was let in is checked again.
func (s *sets) begin(room string) (given func()) {
	before := s.epoch.Load()
	return func() {
		if s.epoch.Load() != before {
			s.reviewRoom(room)
		}
	}
}

func (s *sets) decide(ctx context.Context, who rooms.Identity, room string) Verdict {
	client := s.client.Load()
	if client == nil {
		return unknown("Redis is not connected")
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	key := s.prefix + room
	in, err := (*client).DoCache(ctx, (*client).B().Sismember().Key(key).Member(who.UserID).Cache(), setTTL).AsBool()
	switch {
	case noSet(err):
		return no("%s is not a set", key)
	case err != nil:
		return unknown("Redis: %v", err)
	case in:
		return yes("the set %s has the user", key)
	}
	return no("the set %s does not have the user", key)
}

// run connects, and checks the members of rooms whose sets have changed, until
// ctx ends.
func (s *sets) run(ctx context.Context, members Members) {
	s.members = members
	for ctx.Err() == nil {
		client, err := s.connect(s.invalidated)
		if err == nil {
			s.client.Store(&client)
			s.failing = false
			break
		}
		s.complain(err)
		pause(ctx, retryPause)
	}
	for ctx.Err() == nil {
		select {
		case <-s.work:
			if err := s.reviewAll(ctx); err != nil && ctx.Err() == nil {
				s.complain(err)
				pause(ctx, retryPause)
				s.ring() // for what is still due
				continue
			}
			s.failing = false
			pause(ctx, reviewPause)
		case <-ctx.Done():
		}
	}
	if client := s.client.Load(); client != nil {
		(*client).Close()
	}
}

// complain logs the first failure after a success. While Redis is down there is
// one each second.
func (s *sets) complain(err error) {
	if s.failing {
		return
	}
	s.failing = true
	s.log.Warn("room authorization: Redis does not answer; joins are refused, members stay", "error", err)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// invalidated is called by rueidis on the goroutine that reads. nil stands for
// everything: the connection was lost, or the database flushed.
func (s *sets) invalidated(keys []rueidis.RedisMessage) {
	s.epoch.Add(1)
	if keys == nil {
		s.due.addAll()
		s.ring()
		return
	}
	for i := range keys {
		if key, err := keys[i].ToString(); err == nil {
			if room, ok := strings.CutPrefix(key, s.prefix); ok {
				s.reviewRoom(room)
			}
		}
	}
}

func (s *sets) reviewRoom(room string) {
	s.due.add(room)
	s.ring()
}

func (s *sets) ring() {
	select {
	case s.work <- struct{}{}:
	default:
	}
}

// reviewAll checks the members of all rooms that are due. A room whose check
// fails stays due, and its members stay in it. It returns the first error.
func (s *sets) reviewAll(ctx context.Context) error {
	if all := s.due.takeAll(); all {
		names, _ := s.members.Names(math.MaxInt)
		for _, room := range names {
			if rooms.OfClients(room) {
				s.due.add(room)
			}
		}
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var first error
	var once sync.Once
	var under sync.WaitGroup
	places := make(chan struct{}, reviewers)
	for room, version := range s.due.list() {
		places <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		under.Go(func() {
			defer func() { <-places }()
			err := s.reviewMembers(ctx, room)
			if err == nil {
				s.due.done(room, version)
				return
			}
			once.Do(func() { first = err })
			if _, reply := rueidis.IsRedisErr(err); !reply {
				stop(err) // it is not about this room: the others would fail too
			}
		})
	}
	under.Wait()
	return first
}

func (s *sets) reviewMembers(ctx context.Context, room string) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	users, err := s.members.Users(ctx, room)
	if err != nil || len(users) == 0 {
		return err
	}
	in, err := s.whoIsIn(ctx, room, users)
	if err != nil {
		return err
	}
	var out []string
	for i, user := range users {
		own := room == rooms.NotificationPrefix+user
		if !in[i] && !own {
			out = append(out, user)
		}
	}
	if len(out) > 0 {
		s.members.Expel(room, out, "no longer a member")
	}
	return nil
}

// whoIsIn returns which of some users are in a room's set. It reads through the
// cache, so that Redis sends an invalidation at the next change too.
func (s *sets) whoIsIn(ctx context.Context, room string, users []string) ([]bool, error) {
	client, key := *s.client.Load(), s.prefix+room
	in := make([]bool, len(users))
	if len(users) >= manyUsers {
		members, err := client.DoCache(ctx, client.B().Smembers().Key(key).Cache(), setTTL).AsStrSlice()
		if err != nil && !noSet(err) {
			return nil, err
		}
		have := make(map[string]bool, len(members))
		for _, m := range members {
			have[m] = true
		}
		for i, user := range users {
			in[i] = have[user]
		}
		return in, nil
	}
	commands := make([]rueidis.CacheableTTL, len(users))
	for i, user := range users {
		commands[i] = rueidis.CT(client.B().Sismember().Key(key).Member(user).Cache(), setTTL)
	}
	for i, result := range client.DoMultiCache(ctx, commands...) {
		var err error
		if in[i], err = result.AsBool(); err != nil && !noSet(err) {
			return nil, err
		}
	}
	return in, nil
}

// noSet reports whether a key holds something other than a set; no user is in
// it then.
func noSet(err error) bool {
	reply, ok := rueidis.IsRedisErr(err)
	return ok && strings.HasPrefix(reply.Error(), "WRONGTYPE")
}
