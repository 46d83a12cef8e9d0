package upstream

import (
	"strings"
	"testing"

	"github.com/hometrip/gateway/upstream/eventlog"
)

// Look reports for each position of the log which event and rooms it was for, or why
// it was not delivered.
func TestLookDescribesTheEventAtAPosition(t *testing.T) {
	r := newReading(t, eventlog.NewMemory(2000), 1<<20)
	for range 20 { // the oldest are removed from the log
		r.say(1, 1)
	}
	said := r.say(7, 1)
	order := r.publish("user.disconnect", `{"userId":"ann"}`)
	unknown := r.publish("nobody.knows", `{}`)
	bad := r.publish("message.sent", `[]`)
	notice := r.publish("notification.created", `{"userId":"ann","notificationId":"1","eventId":"n1"}`)
	again := r.publish("notification.created", `{"userId":"ann","notificationId":"1","eventId":"n1"}`)
	for name, c := range map[string]struct {
		log      string
		position eventlog.Position
		found    bool
		event    string
		rooms    string
		trouble  string
	}{
		"a message":      {"", said, true, "new_message", "conversation:7", ""},
		"with its log":   {r.identity, said, true, "new_message", "conversation:7", ""},
		"of another log": {"other", said, false, "", "", "it was deleted and made anew"},
		"removed":        {"", 1, false, "", "", "it has been removed"},
		"an order":       {"", order, true, "", "", "an order of the back office"},
		"no route":       {"", unknown, true, "", "", "it cannot be delivered: no_route"},
		"no object":      {"", bad, true, "", "", "it cannot be delivered: not_an_object"},
		"to a user":      {"", notice, true, "new_notification", "user:ann", ""},
		"a repetition":   {"", again, true, "new_notification", "user:ann", "it repeats an event"},
		"in the future":  {"", again + 1, false, "", "", "there is no such position in the log yet"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := r.consumer.Look(t.Context(), c.log, c.position)
			if err != nil {
				t.Fatal(err)
			}
			if s.Found != c.found || s.Event != c.event || !strings.Contains(strings.Join(s.Rooms, ","), c.rooms) || !strings.Contains(s.Trouble, c.trouble) || (s.Trouble == "") != (c.trouble == "") {
				t.Errorf("Look returned %+v, want %+v", s, c)
			}
		})
	}
}
