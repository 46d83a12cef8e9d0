package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// The driver walks in and out of the rooms A and B; where it goes next is a
// bit of a maximal-length sequence, in which any 16 bits in a row come once.
// So a member that joined in the middle must have seen a tail of the driver's
// steps, letter for letter: a gap, a double or a swap anywhere ends that.
type walk struct {
	register uint16
	in       [2]bool
	letters  strings.Builder
}

// position is how many letters name a place in the walk.
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

// pace is the least time between two steps. A position of them is taken in by
// all before the next is begun: members that fall behind do not upgrade in time.
const pace = 8 * time.Millisecond

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
				t.Errorf("member %d saw %d steps which are not the last of the driver's (%d of them before its upgrade):\nsaw  %s\nsent %s",
					seen.Member, len(seen.Letters), seen.Before, seen.Letters, w.letters.String())
			}
			if seen.Before == 0 || seen.Before == len(seen.Letters) {
				t.Errorf("member %d saw %d of its %d steps before its upgrade, which proves nothing", seen.Member, seen.Before, len(seen.Letters))
			}
		}
	}
}

// drive takes steps until all members have upgraded, and then enough for each
// to know where it is.
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
