package routes

import (
	"reflect"
	"strings"
	"testing"

	"github.com/hometrip/gateway/rooms"
)

func TestFileHasClientEvents(t *testing.T) {
	table, err := ParseTable([]byte(`
client_events:
  - event: mark_read
    room: "conversation:{conversationId|chatId}:x"
    emit: message_read
    fields: [messageId]
    volatile: true
    publish: client.mark_read
    ack: confirmed
    max_bytes: 100
    rate: 3
    burst: 5
    senders: anyone
  - {event: seen, publish: client.seen}
  - {event: wave, room: "conversation:{c}", emit: waved, fields: all, ack: at_once, senders: members}
  - {event: nod, room: "notification:all", emit: nodded, fields: []}
`))
	if err != nil {
		t.Fatal(err)
	}
	usual := rooms.Rate{PerSecond: 10, Burst: 20}
	want := []rooms.ClientEvent{
		{Name: "mark_read", Room: []rooms.RoomPart{{Text: "conversation:"}, {From: []string{"conversationId", "chatId"}}, {Text: ":x"}}, Anyone: true,
			Emit: "message_read", Fields: []string{"messageId"}, Volatile: true, Key: "client.mark_read", Confirm: true, MaxBytes: 100,
			Rate: rooms.Rate{PerSecond: 3, Burst: 5}},
		{Name: "seen", Key: "client.seen", MaxBytes: 4096, Rate: usual},
		{Name: "wave", Room: []rooms.RoomPart{{Text: "conversation:"}, {From: []string{"c"}}}, Emit: "waved", MaxBytes: 4096, Rate: usual},
		{Name: "nod", Room: []rooms.RoomPart{{Text: "notification:all"}}, Emit: "nodded", Fields: []string{}, MaxBytes: 4096, Rate: usual},
	}
	if got := table.ClientEvents(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got := table.ClientEvents()[0].RoomText(); got != "conversation:{conversationId|chatId}:x" {
		t.Errorf("the room is shown as %s", got)
	}
}

func TestErrorsInClientEventsHaveTheirLine(t *testing.T) {
	const head = "client_events:\n  - event: e\n    room: conversation:{c}\n    emit: f\n"
	for _, c := range []struct{ text, want string }{
		{"client_events: 7\n", "line 1: client_events: want a list"},
		{"client_events:\n  - 7\n", "line 2: want a mapping with event"},
		{"client_events:\n  - emit: f\n", "line 2: the client event has no event"},
		{head, "line 2: event e emits f and has no fields"},
		{head + "    fields: some\n", "line 5: fields: want a list of names, or all"},
		{head + "    fields: [a, a]\n", "line 5: field \"a\" is empty or named twice"},
		{head + "    fields: [userId]\n", "line 2: event e: field userId is the gateway's own"},
		{head + "    fields: all\n    color: red\n", "line 6: unknown color"},
		{head + "    fields: all\n    ack: later\n", "line 6: ack: want at_once or confirmed"},
		{head + "    fields: all\n    ack: confirmed\n", "line 2: event e: ack: confirmed wants publish"},
		{head + "    fields: all\n    senders: [a]\n", "line 6: senders: want members or anyone"},
		{head + "    fields: all\n    volatile: 1\n", "line 6: volatile: want true or false"},
		{head + "    fields: all\n    rate: 0\n", "line 6: rate: want a whole number"},
		{head + "    fields: all\n    burst: 1.5\n", "line 6: burst: want a whole number"},
		{head + "    fields: all\n    burst: 99999999\n", "an hour's worth"},
		{head + "    fields: all\n    max_bytes: -1\n", "line 6: max_bytes: want a whole number"},
		{head + "    fields: all\n    publish: a b\n", "line 6: publish \"a b\": want words"},
		{head + "    fields: all\n    publish: \"\"\n", "line 6: publish \"\": want words"},
		{head + "    fields: all\n    publish: a.*\n", "line 6: publish \"a.*\": want words"},
		{head + "    fields: all\n    publish: message.sent\n", "line 2: publish \"message.sent\": the route of message.sent takes it"},
		{head + "    fields: all\n    publish: booking.x\n", "line 2: publish \"booking.x\": the route of booking.* takes it"},
		{head + "    fields: all\n    publish: user.logout\n", "the route of user.logout takes it"},
		{head + "    fields: all\n" + strings.TrimPrefix(head, "client_events:\n") + "    fields: all\n", "line 6: event e is declared in line 2 already"},
		{strings.Replace(head, "event: e", "event: join_room", 1) + "    fields: all\n", "line 2: event \"join_room\" is built in"},
		{strings.Replace(head, "event: e", "event: connect", 1) + "    fields: all\n", "line 2: event \"connect\": Socket.IO reserves the name"},
		{strings.Replace(head, "emit: f", "emit: new_message", 1) + "    fields: all\n", "line 2: emit \"new_message\": a route emits it"},
		{strings.Replace(head, "emit: f", "emit: user_left", 1) + "    fields: all\n", "line 2: emit \"user_left\": the gateway itself emits it"},
		{strings.Replace(head, "conversation:{c}", "\"{c}\"", 1) + "    fields: all\n", "line 3: room \"{c}\": want it to begin with the kind"},
		{strings.Replace(head, "conversation:{c}", "\"user:{c[]}\"", 1) + "    fields: all\n", "line 3: room \"user:{c[]}\": a client event is for one room"},
		{strings.Replace(head, "conversation:{c}", "team:{c}", 1) + "    fields: all\n", "line 3: room \"team:{c}\": no client can be in it"},
		{"client_events:\n  - {event: e, publish: k, fields: all}\n", "line 2: fields are what emit has"},
		{"client_events:\n  - {event: e}\n", "line 2: event e: want emit, publish or both"},
	} {
		if _, err := ParseTable([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %q", c.text, err, c.want)
		}
	}
}

func TestReplacedClientEvents(t *testing.T) {
	table := tableOf(t, "client_events:\n  - {event: a, publish: x}\n  - {event: b, publish: x}\n  - {event: c, publish: x}\n")
	done := table.Replace(tableOf(t, "client_events:\n  - {event: a, publish: x}\n  - {event: b, publish: y}\n  - {event: d, publish: x}\n"))
	if got := strings.Join(done.Events, " "); got != "b c d" {
		t.Errorf("changed: %s, want b c d", got)
	}
	if n := len(table.ClientEvents()); n != 3 || table.ClientEvents()[1].Key != "y" {
		t.Errorf("in effect: %+v", table.ClientEvents())
	}
}
