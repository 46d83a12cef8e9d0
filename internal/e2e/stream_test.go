package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// walk is the sequence of steps of the driver, a client that joins and leaves the
// rooms A and B. Each bit of a maximal-length sequence chooses the room of the next
// step; any 16 bits in a row occur once. A member that begins to listen in the middle
// must therefore have seen the last steps of the driver: any lost, repeated or swapped
// event breaks the match.
type walk struct {
	register uint16
	in       [2]bool
	letters  strings.Builder
}

// position is the number of letters that identify a place in the walk.
const position = 16

// next returns the event and the room of the next step.
func (w *walk) next() (event, room string) {
	bit := (w.register ^ w.register>>2 ^ w.register>>3 ^ w.register>>5) & 1
	w.register = w.register>>1 | bit<<15
	w.in[bit] = !w.in[bit]
	event, room = "leave_room", string('A'+rune(bit))
	letter := strings.ToLower(room)
	if w.in[bit] {
		event, letter = "join_room", room
	}
	w.letters.WriteString(letter)
	return event, room
}

// pace is the least time between two steps. After each 16 steps the driver waits until
// all have received them: members that fall behind would not upgrade in time.
const pace = 8 * time.Millisecond

// 300 members upgrade from polling to WebSocket while a driver joins and leaves their
// rooms. Each member must see every step of the driver, in order and once, across its
// upgrade.
func TestStreamDuringUpgrade(t *testing.T) {
	const (
		crowds  = 2
		members = 150 // in each crowd
	)
	g := start(t)
	driver := g.dial(t, "driver", false)
	var all []*crowd
	for i := range crowds {
		all = append(all, g.crowd(t, "default", "stream.mjs", fmt.Sprint(i*members), fmt.Sprint(members)))
	}
	w := &walk{register: 0xACE1}
	drive(t, driver, w, all, crowds*members)
	driver.do("join_room", "END")

	for _, c := range all {
		for _, seen := range c.want("end", members) {
			if len(seen.Letters) < position || !strings.HasSuffix(w.letters.String(), seen.Letters) {
				t.Errorf("member %d saw %d steps which are not the driver's last steps (%d of them before its upgrade):\nsaw  %s\nsent %s",
					seen.Member, len(seen.Letters), seen.Before, seen.Letters, w.letters.String())
			}
			if seen.Before == 0 || seen.Before == len(seen.Letters) {
				t.Errorf("member %d saw %d of its %d steps before its upgrade, want some before and some after it", seen.Member, seen.Before, len(seen.Letters))
			}
		}
	}
}

// drive makes steps until all members have upgraded, and then as many as identify each
// member's place in the walk.
func drive(t *testing.T, driver *client, w *walk, all []*crowd, members int) {
	t.Helper()
	deadline := time.Now().Add(6 * patience)
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	emit := func(event, room string) {
		t.Helper()
		if err := driver.Emit(event, map[string]string{"roomType": "conversation", "roomId": room}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range all {
		c.want("pace", 1)
	}
	for rest := 2; rest > 0; {
		for range position {
			emit(w.next())
			<-ticker.C
		}
		emit("join_room", "PACE")
		emit("leave_room", "PACE")
		if members == 0 {
			rest--
		} else if time.Now().After(deadline) {
			t.Fatalf("%d members have not upgraded", members)
		}
		for _, c := range all {
			for c.oneOf("upgraded", "pace").Step == "upgraded" {
				members--
			}
		}
	}
}
