package main

import (
	"fmt"
	"strings"
	"time"
)

// shortLinger has the directory forget rooms before the heap is looked at.
const shortLinger = "ROOM_LINGER=2000"

// Gateways with Redis and RabbitMQ beside them, one for each kind of key and
// each room policy.
var (
	hs256 = &setup{name: "hs256-open", alg: "HS256", services: true, env: []string{"ROOM_POLICY=open", shortLinger}}
	rs256 = &setup{name: "rs256-claims", alg: "RS256", services: true, env: []string{"ROOM_POLICY=claims", shortLinger}}
	es256 = &setup{name: "es256-webhook", alg: "ES256", services: true, env: []string{"ROOM_POLICY=webhook", shortLinger}}
	eddsa = &setup{name: "eddsa-redis", alg: "EdDSA", services: true, env: []string{"ROOM_POLICY=redis", shortLinger}}
)

// tokenRows meet what tokens, rooms and their policies cost.
var tokenRows = []*row{
	badTokens("bad-tokens-hs256", hs256),
	refreshes("refresh-hs256", hs256),
	{
		name: "room-hoard", setup: hs256, length: 10 * time.Second, attack: hoarding(1, 16*mib),
		threat: "one token, 300 sockets that join 999 rooms each, with ids of 256 bytes",
		stops:  "MAX_ROOMS_PER_USER (5000), a share of MAX_ROOM_BYTES",
		moved:  []string{`joins_refused_total{reason="user"}`},
		still:  []string{`connections_refused_total{reason="memory"}`},
	},
	{
		name: "room-hoards", setup: hs256, length: 10 * time.Second, attack: hoarding(100, memoryLimit/2),
		threat: "100 tokens with 3 such sockets each",
		stops:  "MAX_ROOM_BYTES (a quarter of GOMEMLIMIT: 64 MiB)",
		moved:  []string{`joins_refused_total{reason="node"}`},
		still:  []string{`connections_refused_total{reason="memory"}`},
	},
	badTokens("bad-tokens-rs256", rs256),
	refreshes("refresh-rs256", rs256),
	{
		name: "joins-claims", setup: rs256, attack: deniedJoins,
		threat: "joins of rooms that the token does not name, 800 a second", stops: "ROOM_POLICY (open; here claims)",
		moved: []string{"joins_denied_total"},
	},
	badTokens("bad-tokens-es256", es256),
	refreshes("refresh-es256", es256),
	{
		name: "joins-webhook", setup: es256, length: 6 * time.Second, attack: failingJoins,
		threat: "one user's joins of rooms for which the application answers 400 or 500, or late; others join rooms that they may join",
		stops:  "4xx is an answer; a share of ROOM_AUTH_CONCURRENCY (32) and a circuit breaker for each user",
		moved:  []string{"joins_denied_total"},
	},
	badTokens("bad-tokens-eddsa", eddsa),
	refreshes("refresh-eddsa", eddsa),
	{
		name: "expulsions-redis", setup: eddsa, length: 6 * time.Second, attack: expulsions,
		threat: "a user is taken out of the sets of 10 rooms while Redis is out of reach for 200 ms",
		stops:  "a room stays due for review until its review has succeeded",
		moved:  []string{"expelled_total"},
	},
}

func badTokens(name string, s *setup) *row {
	return &row{
		name: name, setup: s, length: 5 * time.Second, attack: guessDearly,
		threat: "500 sockets with 20 forged CONNECTs each, signed with " + s.alg,
		stops:  "20 tries a session; what costs much is verified off the event loops, a share for each address",
		moved:  []string{`tokens_verified_total{result="bad_signature"}`},
	}
}

func refreshes(name string, s *setup) *row {
	return &row{
		name: name, setup: s, length: 5 * time.Second, attack: refreshFlood,
		threat: "40 sockets of one user with 900 refresh_token each, " + s.alg,
		stops:  "a refresh costs what CONNECT costs (MAX_EVENTS_BURST / 20); a share for each user",
		moved:  []string{"events_too_fast_total"},
	}
}

func guessDearly(a *attack) {
	const sockets, tries = 500, 20
	guess := text(`40{"token":"` + a.signer.forged("attacker") + `"}`)
	a.paced(300, func(i int) {
		if i >= sockets {
			return
		}
		f := a.dial(i)
		if f == nil || !f.webSocket() {
			return
		}
		go func() {
			for range tries {
				a.tally("forged tokens", 1)
				if !f.send(guess) || !f.awaitPacket("44{") {
					return
				}
			}
			f.readAll()
		}()
	})
}

func refreshFlood(a *attack) {
	const sockets, each = 40, 900
	refresh := text(`421["refresh_token",{"token":"` + a.token("attacker") + `"}]`)
	for _, f := range a.openSockets(sockets, 200, func(int) string { return "attacker" }) {
		go func() {
			for range each {
				if !f.send(refresh) {
					return
				}
				a.tally("refreshes", 1)
			}
		}()
	}
}

// hoard has each of the sockets join 999 rooms of its own, with the longest ids.
func (a *attack) hoard(attackers []*attacker) {
	const batch, batches, perSecond = 27, 37, 1800
	a.pace(perSecond, func(i int) bool {
		k, round := i%len(attackers), i/len(attackers)
		var joins strings.Builder
		for j := range batch {
			id := fmt.Sprintf("attacker-%d-%d-%d-", k, round, j)
			joins.WriteString(roomEvent("1", "join_room", id+strings.Repeat("x", 256-len(id))))
		}
		attackers[k].send(joins.String())
		a.tally("joins", batch)
		return i+1 < batches*len(attackers)
	})
}

// hoarding has so many users with 300 sockets together hoard rooms, and looks
// what Redis holds in the end.
func hoarding(users int, most float64) func(*attack) {
	return func(a *attack) {
		before := a.services.redisMemory()
		attackers := a.openSockets(300, 300, func(i int) string { return attackerName(i % users) })
		if len(attackers) == 0 {
			return
		}
		a.hoard(attackers)
		if n := a.services.redisMemory() - before; n > most {
			a.problem("rooms take %.0f MiB of Redis, %.0f are allowed", n/mib, most/mib)
		}
	}
}

func deniedJoins(a *attack) {
	parallel(8, func(k int) {
		f := a.socket(k, attackerName(k))
		if f == nil {
			return
		}
		a.pace(100, func(i int) bool {
			a.tally("joins", 1)
			return f.send(roomEvent("1", "join_room", fmt.Sprint("bench-", i%500)))
		})
	})
}

func failingJoins(a *attack) {
	kinds := []string{"odd", "broken", "slow"}
	for k, kind := range kinds {
		if f := a.socket(k, "attacker"); f != nil {
			go a.pace(50, func(i int) bool {
				a.tally("failing joins", 1)
				return f.send(roomEvent("1", "join_room", fmt.Sprint(kind, " ", i)))
			})
		}
	}
	f := a.dial(10)
	if f == nil || !f.connected("ann") {
		return
	}
	answers := make(chan string, 64)
	go f.frames(answers)
	a.pace(20, func(i int) bool {
		if !f.send(roomEvent("1", "join_room", fmt.Sprint("fine ", i))) {
			a.problem("the user who may join was disconnected")
			return false
		}
		a.tally("joins of others", 1)
		for answer := range answers {
			if strings.HasPrefix(answer, `431[`) {
				if !strings.Contains(answer, `"success":true`) {
					a.problem("another user's join was refused: %s", answer)
				}
				return true
			}
		}
		return false
	})
}

func expulsions(a *attack) {
	const rooms_ = 10
	names := make([]string, rooms_)
	for i := range names {
		names[i] = fmt.Sprint("attacker ", i)
		if _, err := a.services.redis.CLI("-n", "1", "SADD", "ws:acl:conversation:"+names[i], "attacker"); err != nil {
			a.problem("%v", err)
			return
		}
	}
	f := a.dial(0)
	if f == nil || !f.connected("attacker") {
		return
	}
	answers := make(chan string, 64)
	go f.frames(answers)
	for _, name := range names {
		f.send(roomEvent("1", "join_room", name))
	}
	joined, revoked := 0, 0
	for answer := range answers {
		switch {
		case strings.HasPrefix(answer, `431[`) && strings.Contains(answer, "success"):
			if joined++; joined == rooms_ {
				a.services.proxy.Cut()
				for _, name := range names {
					_, _ = a.services.redis.CLI("-n", "1", "SREM", "ws:acl:conversation:"+name, "attacker")
				}
				a.sleep(200 * time.Millisecond)
				a.services.proxy.Heal()
			}
		case strings.HasPrefix(answer, `42["room_revoked"`):
			revoked++
		}
		if revoked == rooms_ {
			break
		}
	}
	a.tally("rooms joined", joined)
	a.tally("rooms lost", revoked)
	if revoked < rooms_ {
		a.problem("a user who lost %d rooms was taken out of %d", rooms_, revoked)
	}
}
