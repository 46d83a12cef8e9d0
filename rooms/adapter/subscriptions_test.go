package adapter

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

const most = 100

func TestASubscriptionIsAwaited(t *testing.T) {
	u := newSubscriptions()
	u.connect()
	u.want("a")
	called := 0
	if u.await("a", func() { called++ }) {
		t.Fatal("known before it was sent")
	}
	if subscribe, _ := u.next(0, most); !slices.Equal(subscribe, []string{"a"}) {
		t.Fatalf("to subscribe: %v", subscribe)
	}
	for _, ready := range u.confirmed("a", 0) {
		ready()
	}
	if called != 1 || !u.await("a", nil) {
		t.Errorf("called %d times, and not known after", called)
	}
}

func TestNobodyWaitsForRedisThatIsAway(t *testing.T) {
	u := newSubscriptions()
	u.want("a")
	if !u.await("a", nil) {
		t.Error("waits without a connection")
	}
	u.connect()
	u.await("a", func() {})
	if len(u.disconnect()) != 1 {
		t.Error("who waited was not let go")
	}
}

func TestARoomThatIsLeftLingers(t *testing.T) {
	u := newSubscriptions()
	u.connect()
	u.want("a")
	u.next(0, most)
	u.confirmed("a", 0)
	u.unwant("a", 0)
	if _, unsubscribe := u.next(lingerTime-1, most); unsubscribe != nil {
		t.Error("unsubscribed too early")
	}
	u.want("a")
	u.unwant("a", time.Second)
	if _, unsubscribe := u.next(lingerTime, most); unsubscribe != nil {
		t.Error("the first leave counted though the room had members again")
	}
	if _, unsubscribe := u.next(lingerTime+time.Second, most); !slices.Equal(unsubscribe, []string{"a"}) {
		t.Errorf("to unsubscribe: %v", unsubscribe)
	}
	u.want("a")
	if subscribe, _ := u.next(lingerTime+time.Second, most); subscribe != nil {
		t.Error("subscribed before the unsubscription has ended, which would end it")
	}
	u.ended("a")
	if subscribe, _ := u.next(lingerTime+time.Second, most); !slices.Equal(subscribe, []string{"a"}) {
		t.Errorf("to subscribe again: %v", subscribe)
	}
}

// TestSubscriptionsFollowTheRooms walks at random through joins, leaves, lost
// connections and late confirmations, with a model of Redis beside it.
func TestSubscriptionsFollowTheRooms(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		u := newSubscriptions()
		var (
			now     time.Duration
			names   = []string{"a", "b", "c", "d"}
			members = map[string]bool{}
			redis   = map[string]bool{}
			pending []func() // confirmations on their way
			waiting int
		)
		lose := func() {
			for _, ready := range u.disconnect() {
				ready()
			}
			clear(redis)
			pending = nil
		}
		step := func() {
			subscribe, unsubscribe := u.next(now, 1+r.IntN(3))
			for _, room := range subscribe {
				redis[room] = true
				pending = append(pending, func() {
					for _, ready := range u.confirmed(room, now) {
						ready()
					}
				})
			}
			for _, room := range unsubscribe {
				if members[room] {
					t.Fatalf("seed %d: a room with members is unsubscribed", seed)
				}
				delete(redis, room)
				pending = append(pending, func() { u.ended(room) })
			}
		}
		for range 400 {
			now += time.Duration(r.Int64N(int64(2 * time.Second)))
			room := names[r.IntN(len(names))]
			switch r.IntN(8) {
			case 0, 1:
				if !members[room] {
					members[room] = true
					u.want(room)
				}
				waiting++
				if u.await(room, func() {
					waiting--
					if u.connected && members[room] && !redis[room] {
						t.Fatalf("seed %d: acknowledged before Redis knew", seed)
					}
				}) {
					waiting--
				}
			case 2, 3:
				if members[room] {
					delete(members, room)
					for _, ready := range u.unwant(room, now) {
						ready()
					}
				}
			case 4, 5:
				step()
			case 6:
				if len(pending) > 0 {
					pending[0]()
					pending = pending[1:]
				}
			case 7:
				if r.IntN(10) == 0 {
					lose()
				} else if !u.connected && r.IntN(3) == 0 {
					u.connect()
				}
			}
			if !u.connected && (len(u.rooms) != len(members) || len(u.lingering)+len(u.changed) > 0) {
				t.Fatalf("seed %d: without a connection %d rooms are known, %d linger, %d have changed; %d have members",
					seed, len(u.rooms), len(u.lingering), len(u.changed), len(members))
			}
		}
		lose()
		u.connect()
		for range 100 {
			now += lingerTime
			step()
			for _, p := range pending {
				p()
			}
			pending = nil
		}
		if waiting != 0 || len(redis) != len(members) || len(u.rooms) != len(members) {
			t.Fatalf("seed %d: %d wait, Redis has %v, the rooms are %v, known %d", seed, waiting, redis, members, len(u.rooms))
		}
	}
}
