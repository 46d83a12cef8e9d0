package authz

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/hometrip/gateway/rooms"
)

const (
	// setTTL bounds the memory spent on sets that nobody asks about any more:
	// Redis tells of changes.
	setTTL = time.Hour

	// askTimeout is for Redis to answer; who waits is told that there was no
	// answer then.
	askTimeout = 2 * time.Second

	// manyUsers is from how many on it is cheaper to read the whole set than
	// to ask for each user.
	manyUsers = 32

	reviewPause = 100 * time.Millisecond // between two reviews: changes in a row are looked at together
	retryPause  = time.Second            // while Redis is away
)

// Members is this node's rooms.
type Members interface {
	// Users, Expel, Names: as those of rooms.Hub.
	Users(ctx context.Context, room string) ([]string, error)
	Expel(room string, users []string, reason string)
	Names(limit int) (names []string, total int)
}

// sets lets a user into the rooms whose set in Redis has the user. Sets are
// read through the client-side cache. When one changes, those who are in the
// room are looked at again. Safe for concurrent use.
type sets struct {
	prefix  string // of the keys; the room follows
	connect func(invalidated func([]rueidis.RedisMessage)) (rueidis.Client, error)
	log     *slog.Logger
	members Members       // owned by run, as is failing
	failing bool          // and the log has been told
	epoch   atomic.Uint64 // counts changes
	client  atomic.Pointer[rueidis.Client]

	mu     sync.Mutex // guards the following
	review map[string]struct{}
	all    bool          // all rooms are to be reviewed
	work   chan struct{} // has a token when there is something to review
}

func newSets(c Config) *sets {
	return &sets{
		prefix: c.Prefix, connect: c.Connect, log: c.Log,
		review: make(map[string]struct{}), work: make(chan struct{}, 1),
	}
}

func (s *sets) quick(rooms.Identity, string) (Verdict, bool) { return Verdict{}, false }

// begin notes what has changed so far. Should a change come while an answer is
// under way, the one who was let in is looked at again.
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
	case err != nil:
		return unknown("Redis: %v", err)
	case in:
		return yes("the set %s has the user", key)
	}
	return no("the set %s does not have the user", key)
}

// run connects, and reviews rooms whose sets have changed, until ctx is over.
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

// complain logs the first failure after a success: there is one a second while
// Redis is away.
func (s *sets) complain(err error) {
	if s.failing {
		return
	}
	s.failing = true
	s.log.Warn("room authorization: Redis does not answer; nobody is let into a room, and who is in one stays", "error", err)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// invalidated is called by rueidis while it reads. nil stands for everything:
// the connection was lost, or the database flushed.
func (s *sets) invalidated(keys []rueidis.RedisMessage) {
	s.epoch.Add(1)
	if keys == nil {
		s.mu.Lock()
		s.all = true
		s.mu.Unlock()
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
	s.mu.Lock()
	s.review[room] = struct{}{}
	s.mu.Unlock()
	s.ring()
}

func (s *sets) ring() {
	select {
	case s.work <- struct{}{}:
	default:
	}
}

// reviewAll looks at the members of the rooms whose sets have changed. What
// fails is tried again, and everybody stays until then.
func (s *sets) reviewAll(ctx context.Context) error {
	for _, room := range s.take() {
		if err := s.reviewMembers(ctx, room); err != nil {
			s.reviewRoom(room)
			return err
		}
	}
	return nil
}

// take returns the rooms to be reviewed and leaves none.
func (s *sets) take() (list []string) {
	s.mu.Lock()
	all := s.all
	s.all = false
	for room := range s.review {
		list = append(list, room)
	}
	clear(s.review)
	s.mu.Unlock()
	if !all {
		return list
	}
	_, total := s.members.Names(0)
	names, _ := s.members.Names(total + total/8)
	for _, room := range names {
		if !strings.HasPrefix(room, userPrefix) {
			list = append(list, room)
		}
	}
	return list
}

const userPrefix = "user:"

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
		own := room == notificationPrefix+user
		if !in[i] && !own {
			out = append(out, user)
		}
	}
	if len(out) > 0 {
		s.members.Expel(room, out, "no longer a member")
	}
	return nil
}

// whoIsIn reports which users a room's set has. It reads through the cache, so
// that Redis tells of the next change too.
func (s *sets) whoIsIn(ctx context.Context, room string, users []string) ([]bool, error) {
	client, key := *s.client.Load(), s.prefix+room
	in := make([]bool, len(users))
	if len(users) >= manyUsers {
		members, err := client.DoCache(ctx, client.B().Smembers().Key(key).Cache(), setTTL).AsStrSlice()
		if err != nil {
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
		if in[i], err = result.AsBool(); err != nil {
			return nil, err
		}
	}
	return in, nil
}
