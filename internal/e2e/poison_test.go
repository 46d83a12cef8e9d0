package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	maxEvent    = 60_000 // bytes, MAX_EVENT_SIZE of the first gateway
	tooLargeEnd = "the end"
)

// undeliverableKinds has the kinds of events that the first gateway cannot deliver. body
// makes the n'th event of a kind.
var undeliverableKinds = []struct {
	reason, key string
	body        func(n int) string
}{
	{"not_json", "message.sent", func(n int) string { return fmt.Sprint("hello ", n) }},
	{"not_json", "message.sent", func(n int) string { return fmt.Sprintf("%d \xff", n) }},
	{"not_json", "message.sent", func(n int) string { return fmt.Sprintf(`{"n":%d,"conversationId":1`, n) }},
	{"not_an_object", "booking.paid", func(n int) string { return fmt.Sprintf("[%d]", n) }},
	{"no_room", "message.sent", func(n int) string { return fmt.Sprintf(`{"n":%d,"chatId":1,"message":"found"}`, n) }},
	{"bad_id", "notification.created", func(n int) string { return fmt.Sprintf(`{"n":%d,"userId":{}}`, n) }},
	{"too_many_rooms", "list", func(n int) string {
		return fmt.Sprintf(`{"n":%d,"userIds":[%s1]}`, n, strings.Repeat("1,", 10_000))
	}},
	{"too_large", "message.sent", func(n int) string {
		return fmt.Sprintf(`{"n":%d,"conversationId":1,"message":"%s%s"}`, n, strings.Repeat("x", maxEvent), tooLargeEnd)
	}},
	{"no_route", "message.edited", func(n int) string { return fmt.Sprintf(`{"n":%d,"conversationId":1}`, n) }},
}

// deadLetterLine returns a dead letter as the list shows it, without id and time.
func deadLetterLine(reason, key, body string) string {
	const preview = 60 // bytes
	text := body[:min(len(body), preview)]
	if strings.Contains(body, "\xff") {
		text = strconv.Quote(text)
	}
	if len(body) > preview {
		text += "…"
	}
	return reason + " " + key + " " + text
}

// letters returns the dead letters, sorted, and their ids by line.
func (h *fixture) letters() (lines []string, ids map[string]string) {
	h.t.Helper()
	ids = make(map[string]string)
	out := h.command("dead-letter", "list")
	for _, row := range strings.Split(out, "\n")[1:] {
		column := strings.Fields(row)
		if len(column) < 5 {
			continue // the last line, with the count
		}
		line := column[2] + " " + column[3] + " " + strings.Join(column[4:], " ")
		if at, err := time.Parse(time.RFC3339, column[1]); err != nil || time.Since(at).Abs() > time.Hour {
			h.t.Errorf("dead letter %q has a wrong time: %v", row, err)
		}
		lines = append(lines, line)
		ids[line] = column[0]
	}
	if want := fmt.Sprintf("\n%d dead letters\n", len(lines)); !strings.HasSuffix(out, want) {
		h.t.Errorf("the list does not end with %q: %s", want, out)
	}
	slices.Sort(lines)
	return lines, ids
}

// wantDeadLetters waits for as many dead letters as are wanted and compares them.
func (h *fixture) wantDeadLetters(want []string) (ids map[string]string) {
	h.t.Helper()
	slices.Sort(want)
	var got []string
	deadline := time.Now().Add(2 * patience)
	for got, ids = h.letters(); len(got) < len(want) && time.Now().Before(deadline); got, ids = h.letters() {
	}
	if !slices.Equal(got, want) {
		h.t.Fatalf("dead letters\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	return ids
}

// mix publishes deliverable events of conversation 1 and, between them, undeliverable
// events of every kind. It returns the lines of the dead letters expected for them.
func (h *fixture) mix(rounds, good int) (letters []string) {
	h.t.Helper()
	if err := h.publisher.Channel.QueueBind(h.name+".events", "message.edited", h.name, false, nil); err != nil {
		h.t.Fatal(err)
	}
	n := 0
	for round := range rounds {
		for _, kind := range undeliverableKinds {
			var batch []amqp.Publishing
			for range good {
				batch = append(batch, amqp.Publishing{Body: fmt.Appendf(nil, `{"conversationId":1,"message":%d,"timestamp":"T"}`, n)})
				n++
			}
			h.publish("message.sent", batch...)
			body := kind.body(round)
			h.publish(kind.key, amqp.Publishing{Body: []byte(body)})
			letters = append(letters, deadLetterLine(kind.reason, kind.key, body))
		}
	}
	return letters
}

const poisonRoutes = `
routes:
  - {event: list, rooms: "user:{userIds[]}", emit: list, fields: all}
`

// fixedRoutes can deliver the events that had no room or no route.
const fixedRoutes = poisonRoutes + `
  - {event: message.sent, rooms: "conversation:{conversationId|chatId}", emit: new_message, fields: [message, timestamp]}
  - {event: message.edited, rooms: "conversation:{conversationId}", emit: message_edited, fields: [n]}
`

// Undeliverable events of every kind are published between others. The other events
// must arrive, in order. The undeliverable ones become dead letters, which are listed,
// shown and dropped. After a restart with other routes and a larger MAX_EVENT_SIZE
// they are replayed: clients get those that can be delivered now, the rest become dead
// letters again.
func TestUndeliverableEventsBecomeDeadLettersAndCanBeReplayed(t *testing.T) {
	t.Parallel()
	const (
		rounds = 6
		good   = 10 // deliverable events before each undeliverable one
	)
	h := newFixture(t, "poison", poisonRoutes, fmt.Sprint("MAX_EVENT_SIZE=", maxEvent))
	a := h.audience(t, listener{"7", []string{"conversation:1"}})
	began := time.Now()
	letters := h.mix(rounds, good)
	for n := range rounds * good * len(undeliverableKinds) {
		a.want(t, "between poison", fmt.Sprintf(`0 new_message [{"conversationId":1,"message":%d,"timestamp":"T"}]`, n))
	}
	ids := h.wantDeadLetters(slices.Clone(letters))
	h.wantCounted(began, rounds)

	large := undeliverableKinds[7].body(2)
	line := deadLetterLine("too_large", "message.sent", large)
	shown := h.command("dead-letter", "show", ids[line])
	for _, want := range []string{
		"\nreason    too_large ", "\nevent     message.sent\n", "\nexchange  poison\n", "\nread from log ",
		"\nheader    x-gateway-reason: too_large\n", "\n" + large + "\n",
	} {
		if !strings.Contains(shown, want) {
			t.Errorf("the output of dead-letter show has no %.100q: %.1000s", want, shown)
		}
	}
	var letter struct {
		ID, Event string
		Body      json.RawMessage
	}
	if out := h.command("dead-letter", "show", ids[line], "--json"); json.Unmarshal([]byte(out), &letter) != nil ||
		letter.ID != ids[line] || letter.Event != "message.sent" || string(letter.Body) != large {
		t.Errorf("dead-letter show --json printed %.1000s, want the id, key and body", out)
	}
	var list struct {
		Count   int
		Letters []struct{ ID, Reason string }
	}
	if out := h.command("dead-letter", "list", "--json"); json.Unmarshal([]byte(out), &list) != nil ||
		list.Count != len(letters) || len(list.Letters) != len(letters) || list.Letters[0].Reason == "" {
		t.Errorf("dead-letter list --json printed %.1000s, want all dead letters with reasons", out)
	}
	if out, err := h.Run("dead-letter", "drop", "nope"); err == nil || !strings.Contains(out, "no dead letter nope") {
		t.Errorf("dropping an unknown dead letter: %v %s, want an error", err, out)
	}
	gone := deadLetterLine("not_json", "message.sent", "hello 0")
	if out := h.command("dead-letter", "drop", ids[gone]); out != "dropped 1\n" {
		t.Errorf("dead-letter drop printed %s, want dropped 1", out)
	}
	letters = slices.DeleteFunc(letters, func(l string) bool { return l == gone })
	h.wantDeadLetters(slices.Clone(letters))

	h.Stop()
	h.routes(fixedRoutes)
	h.Set(fmt.Sprint("MAX_EVENT_SIZE=", 2*maxEvent))
	h.Launch()
	a.joined()
	if out := h.command("dead-letter", "replay", ids[line]); out != "replayed 1\n" {
		t.Errorf("dead-letter replay printed %s, want replayed 1", out)
	}
	a.wantReplayed(t, 1, 0)
	if out, want := h.command("dead-letter", "replay", "--all"), fmt.Sprintf("replayed %d\n", len(letters)-1); out != want {
		t.Errorf("dead-letter replay --all printed %s, want %s", out, want)
	}
	a.wantReplayed(t, rounds-1, rounds)
	left := slices.DeleteFunc(letters, func(l string) bool {
		return strings.HasPrefix(l, "too_large") || strings.HasPrefix(l, "no_room") || strings.HasPrefix(l, "no_route")
	})
	h.wantDeadLetters(slices.Clone(left))
	if out, want := h.command("dead-letter", "drop", "--all"), fmt.Sprintf("dropped %d\n", len(left)); out != want {
		t.Errorf("dead-letter drop --all printed %s, want %s", out, want)
	}
	h.wantDeadLetters(nil)
}

// wantReplayed checks that the clients get, in any order, this many events that were too
// large, and this many of each kind that had no room or no route.
func (a audience) wantReplayed(t *testing.T, large, others int) {
	t.Helper()
	for _, c := range a.crowds {
		found := make(map[string]int)
		for _, s := range c.want("event", large+2*others) {
			if strings.Contains(s.Args, tooLargeEnd) {
				s.Args = tooLargeEnd
			}
			if s.Event == "new_message" && strings.Contains(s.Args, "found") {
				s.Args = "found"
			}
			found[s.Event+" "+s.Args]++
		}
		want := make(map[string]int)
		for n := range others {
			want["new_message found"]++
			want[fmt.Sprintf(`message_edited [{"n":%d}]`, n)] = 1
		}
		want["new_message "+tooLargeEnd] = large
		if fmt.Sprint(found) != fmt.Sprint(want) {
			t.Fatalf("after the replay clients got %v, want %v", found, want)
		}
	}
}

// wantCounted checks how the gateway counted the undeliverable events, and that it
// logged at most a line a second about them.
func (h *fixture) wantCounted(began time.Time, rounds int) {
	h.t.Helper()
	lines := strings.Count(h.Out.String(), "an event cannot be delivered")
	if most := int(time.Since(began)/time.Second) + 1; lines < 1 || lines > most {
		h.t.Errorf("%d lines about undeliverable events in the log, want 1 to %d", lines, most)
	}
	want := make(map[string]int)
	for _, kind := range undeliverableKinds {
		want[kind.reason] += rounds
	}
	for reason, n := range want {
		if got := h.Metric(fmt.Sprintf(`gateway_service_events_poison_total{reason="%s"}`, reason)); got != float64(n) {
			h.t.Errorf("%v events counted as %s, want %d", got, reason, n)
		}
	}
}
