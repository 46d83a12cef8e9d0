package main

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// roomRows are sent by users with a good token.
var roomRows = []*row{
	{
		name: "event-flood", setup: defaults, attack: eventFlood,
		threat: "8 sockets that type with acks, 1,200 times a second each",
		stops:  "MAX_EVENTS_PER_SECOND (100), MAX_EVENTS_BURST (1000); refused, then disconnected",
		moved:  []string{"events_too_fast_total", `sessions_closed_total{reason="too_fast"}`},
	},
	{
		name: "room-flood", setup: defaults, attack: roomFlood,
		threat: "20 sockets that join 1,050 rooms each, and leave them all at once",
		stops:  "MAX_ROOMS (1000), MAX_ROOM_ID_LENGTH (256)",
		moved:  []string{"events_refused_total"},
	},
	{
		name: "crowd", setup: defaults, length: 4 * time.Second, attack: crowd,
		threat: "900 sockets join one room: 404,550 announcements, and as many when they go",
		stops:  "PRESENCE_MAX_MEMBERS (500)",
		moved:  []string{"presence_muted_total"},
	},
	{
		name: "typing-crowd", setup: defaults, length: 4 * time.Second, attack: typingCrowd,
		threat: "300 sockets in one room that type 80 times a second each: 7 million deliveries a second",
		stops:  "MAX_PRESENCE_PER_SECOND (100000 for each loop)",
		moved:  []string{"typing_muted_total"},
	},
	{
		name: "revolving-door", setup: defaults, length: 4 * time.Second, attack: revolvingDoor,
		threat: "300 sockets that join and leave one room, 50 times a second each, and all are told",
		stops:  "MAX_PRESENCE_PER_SECOND (100000 for each loop)",
		moved:  []string{"presence_muted_total"},
	},
	{
		name: "never-reading", setup: defaults, length: 5 * time.Second, attack: neverReading(10, 4096, 150),
		threat: "10 sockets that do not read what services send them, 2.4 MB/s each",
		stops:  "MAX_PENDING_BYTES (1 MiB)",
		moved:  []string{`sessions_closed_total{reason="slow_consumer"}`},
	},
	{
		name: "never-reading-100", setup: defaults, length: 6 * time.Second, attack: neverReading(100, 4096, 50),
		threat: "100 of them: 100 MiB would wait before each has met its own bound",
		stops:  "MAX_TOTAL_PENDING_BYTES (a quarter of GOMEMLIMIT: 64 MiB)",
		moved:  []string{`sessions_closed_total{reason="shed"}`},
	},
	{
		name: "vanishing", setup: defaults, length: 8 * time.Second, attack: vanishing,
		threat: "200 sockets a second of two users that ask for recovery, join 20 rooms and vanish: each may come back for two minutes",
		stops:  "MAX_RECOVERY_PER_USER (100), MAX_RECOVERY_SESSIONS (100000), MAX_RECOVERY_BYTES (64 MiB)",
		moved:  []string{"recovery_evicted_total"},
	},
	{
		name: "one-user", setup: defaults, length: 4 * time.Second, attack: oneUser,
		threat: "one token, 1,200 sockets",
		stops:  "MAX_SOCKETS_PER_USER (1000)",
		moved:  []string{`connects_total{result="refused"}`},
	},
}

func eventFlood(a *attack) {
	const each = 30
	batch := strings.Repeat(roomEvent("1", "typing", "attackers"), each)
	parallel(8, func(k int) {
		var f *attacker
		a.pace(40, func(int) bool {
			if f == nil {
				if f = a.socket(k, attackerName(k)); f != nil {
					f.send(roomEvent("", "join_room", "attackers"))
				}
			}
			if f != nil && !f.send(batch) {
				f.close()
				f = nil
			}
			a.tally("events", each)
			return true
		})
	})
}

func roomFlood(a *attack) {
	parallel(20, func(k int) {
		f := a.socket(k, attackerName(k))
		if f == nil {
			return
		}
		f.send(roomEvent("1", "join_room", strings.Repeat("x", 257)))
		a.pace(500, func(i int) bool {
			a.tally("joins", 1)
			return f.send(roomEvent("1", "join_room", fmt.Sprintf("attacker-%d-%d", k, i))) && i < 1050
		})
		f.close()
	})
}

func vanishing(a *attack) {
	const users, rooms = 2, 20
	var joins strings.Builder
	for i := range rooms {
		joins.WriteString(roomEvent("", "join_room", fmt.Sprint("attackers-", i)))
	}
	a.pace(200, func(i int) bool {
		f := a.dial(i)
		if f == nil || !f.webSocket() {
			return true
		}
		f.send(text(`40{"recovery":true,"token":"` + a.token(attackerName(i%users)) + `"}`))
		if f.awaitPacket("40{") && f.send(joins.String()) && f.awaitPacket("42") {
			a.tally("sessions left", 1)
		}
		f.reset()
		return true
	})
}

func crowd(a *attack) {
	const n, perSecond = 900, 450
	for _, f := range a.openSockets(n, perSecond, attackerName) {
		a.tally("joins", 1)
		f.send(roomEvent("1", "join_room", "crowd"))
	}
	a.sleep(time.Second)
	a.end()
}

func typingCrowd(a *attack) {
	const n, perSecond, each = 300, 300, 20
	attackers := a.openSockets(n, perSecond, attackerName)
	for _, f := range attackers {
		f.send(roomEvent("1", "join_room", "crowd"))
	}
	batch := strings.Repeat(roomEvent("", "typing", "crowd"), each)
	a.pace(4*float64(len(attackers)), func(i int) bool {
		a.tally("events", each)
		attackers[i%len(attackers)].send(batch)
		return true
	})
}

func revolvingDoor(a *attack) {
	const n, perSecond, each = 300, 300, 10
	attackers := a.openSockets(n, perSecond, attackerName)
	batch := strings.Repeat(roomEvent("1", "join_room", "crowd")+roomEvent("1", "leave_room", "crowd"), each) + roomEvent("1", "join_room", "crowd")
	a.pace(2.5*float64(len(attackers)), func(i int) bool {
		a.tally("events", 2*each+1)
		attackers[i%len(attackers)].send(batch)
		return true
	})
}

// neverReading has n sockets of one user not read, with small buffers, while a
// service sends that user so many notifications of 16 KB a second.
func neverReading(n, receive int, perSecond float64) func(*attack) {
	const size = 16_000
	return func(a *attack) {
		for i := range n {
			if f := a.dialFrom(address(i), receive); f != nil {
				f.connect("sloth")
			}
		}
		service := a.dial(0)
		if service == nil {
			return
		}
		body := fmt.Sprintf(`{"userId":"sloth","notificationId":"1","message":"%s"}`, strings.Repeat("x", size))
		request := post("/events/notification.created", body, "Authorization: Bearer "+publishToken)
		a.pace(perSecond, func(int) bool {
			status, answer := service.request(request)
			if status != http.StatusAccepted && a.running() {
				a.problem("the service was answered with %d %s", status, answer)
			}
			a.tally("notifications", 1)
			return status != 0
		})
	}
}

func oneUser(a *attack) {
	a.openSockets(1200, 600, func(int) string { return "attacker" })
}
