package rooms

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// A fakeBus is a Bus that records what is published, and refuses it while full.
type fakeBus struct {
	full      bool
	published []Outgoing
	dones     []func(error)
}

func (b *fakeBus) Publish(e Outgoing, done func(error)) bool {
	if b.full {
		return false
	}
	b.published, b.dones = append(b.published, e), append(b.dones, done)
	return true
}

func inConversation() []RoomPart {
	return []RoomPart{{Text: "conversation:"}, {From: []string{"conversationId", "chatId"}}}
}

// declaring returns a world with the given events; those without limits get large
// ones.
func declaring(t *testing.T, shards int, bus Bus, events ...ClientEvent) *world {
	t.Helper()
	w := newWorld(t, shards, func(c *Config) { c.Bus = bus })
	for i := range events {
		if events[i].MaxBytes == 0 {
			events[i].MaxBytes = 1000
		}
		if events[i].Rate == (Rate{}) {
			events[i].Rate = Rate{10, 10}
		}
	}
	if err := w.hub.SetClientEvents(events); err != nil {
		t.Fatal(err)
	}
	return w
}

// pairIn returns two clients in conversation 1, on two shards if there are two.
func (w *world) pairIn() (ann, bob *client) {
	w.t.Helper()
	ann, bob = w.connect("ann"), w.connect("bob")
	ann.emit("join_room", conversation("1"))
	bob.emit("join_room", conversation("1"))
	ann.wantAbout("user_joined", bob, "conversation:1")
	return ann, bob
}

func TestDeclaredEventIsSentToTheRoomAndToServices(t *testing.T) {
	bus := &fakeBus{}
	w := declaring(t, 2, bus, ClientEvent{
		Name: "mark_read", Room: inConversation(), Emit: "message_read", Fields: []string{"conversationId", "messageId"}, Key: "client.mark_read",
	})
	ann, bob := w.pairIn()
	const argument = `{"messageId":"m","secret":1,"userId":"eve","conversationId":1,"room":"user:eve"}`
	if got := ann.ask("mark_read", argument); got != `{"success":true}` {
		t.Errorf("answer %s, want %s", got, `{"success":true}`)
	}
	sender := fmt.Sprintf(`"socketId":%q,"userId":"ann","room":"conversation:1","timestamp":%q`, ann.id, startText)
	bob.want("message_read", `{"messageId":"m","conversationId":1,`+sender+`}`)
	ann.wantNothing()
	want := `{"eventName":"client.mark_read","source":"websocket-gateway",` + sender + `,"data":` + argument + `}`
	if len(bus.published) != 1 || bus.published[0].Key != "client.mark_read" || bus.published[0].Event != "mark_read" || string(bus.published[0].Body) != want {
		t.Errorf("published %s, want %s", bus.published, want)
	}
}

func TestDeclaredEventCannotForgeFieldsOfTheGateway(t *testing.T) {
	w := declaring(t, 1, nil, ClientEvent{Name: "wave", Room: inConversation(), Emit: "waved"},
		ClientEvent{Name: "nod", Room: inConversation(), Emit: "nodded", Fields: []string{}})
	ann, bob := w.pairIn()
	sender := fmt.Sprintf(`"socketId":%q,"userId":"ann","room":"conversation:1","timestamp":%q`, ann.id, startText)
	ann.emit("wave", `{"chatId":1,"\u0075serId":"eve","x":[1.50,{"userId":2}],"socketId":null,"timestamp":0}`)
	bob.want("waved", `{"chatId":1,"x":[1.50,{"userId":2}],`+sender+`}`)
	ann.emit("nod", `{"chatId":1}`)
	bob.want("nodded", `{`+sender+`}`)
}

func TestDeclaredEventIsRefused(t *testing.T) {
	bus := &fakeBus{}
	w := declaring(t, 1, bus,
		ClientEvent{Name: "wave", Room: inConversation(), Emit: "waved", Key: "client.wave", MaxBytes: 50},
		ClientEvent{Name: "call", Room: []RoomPart{{Text: "user:"}, {From: []string{"to"}}}, Anyone: true, Emit: "called", Key: "client.call"})
	ann, bob := w.pairIn()
	eve := w.connect("eve")
	for _, c := range []struct {
		who             *client
		event, argument string
		want            string
	}{
		{eve, "wave", `{"chatId":1}`, `{"error":"Not in room"}`},
		{ann, "wave", `{"chatId":2}`, `{"error":"Not in room"}`},
		{ann, "wave", `{}`, `{"error":"Missing conversationId"}`},
		{ann, "wave", `{"chatId":null}`, `{"error":"Missing conversationId"}`},
		{ann, "wave", `{"chatId":[1]}`, `{"error":"Missing conversationId"}`},
		{ann, "wave", `{"chatId":"` + strings.Repeat("1", 60) + `"}`, `{"error":"Event too large"}`},
		{ann, "wave", `"text"`, `{"error":"Want an object"}`},
		{ann, "call", `{"to":"` + strings.Repeat("1", 300) + `"}`, `{"error":"Invalid to"}`},
	} {
		if got := c.who.ask(c.event, c.argument); got != c.want {
			t.Errorf("%s by %s: %s, want %s", c.event, c.who.name, got, c.want)
		}
	}
	if got := ann.ask("wave"); got != `{"error":"Want an object"}` {
		t.Errorf("without an argument: %s, want %s", got, `{"error":"Want an object"}`)
	}
	bus.full = true
	if got := ann.ask("wave", `{"chatId":1}`); got != `{"error":"Services are busy, try again"}` {
		t.Errorf("with a full bus: got %s, want the error that services are busy", got)
	}
	bob.wantNothing()
	bus.full = false
	if got := eve.ask("call", `{"to":"bob"}`); got != `{"success":true}` { // eve is not in the room; Anyone allows it
		t.Errorf("call: %s, want %s", got, `{"success":true}`)
	}
	bob.want("called", fmt.Sprintf(`{"to":"bob","socketId":%q,"userId":"eve","room":"user:bob","timestamp":%q}`, eve.id, startText))
	if len(bus.published) != 1 {
		t.Errorf("published %s, want one event", bus.published)
	}
}

func TestDeclaredEventWithBinaryDataIsRefused(t *testing.T) {
	w := declaring(t, 1, nil, ClientEvent{Name: "wave", Room: inConversation(), Emit: "waved"})
	ann, bob := w.pairIn()
	ann.text(`51-7["wave",{"conversationId":1,"x":{"_placeholder":true,"num":0}}]`)
	ann.binary("x")
	if got := ann.next(); got != `437[{"error":"Binary data is not allowed"}]` {
		t.Errorf("got %s, want %s", got, `437[{"error":"Binary data is not allowed"}]`)
	}
	bob.wantNothing()
}

func TestDeclaredEventHasASeparateRate(t *testing.T) {
	event := ClientEvent{Name: "wave", Room: inConversation(), Emit: "waved", Rate: Rate{1, 2}}
	w := declaring(t, 1, nil, event, ClientEvent{Name: "nod", Room: inConversation(), Emit: "nodded"})
	ann, bob := w.pairIn()
	var got []string
	for range 4 {
		got = append(got, ann.ask("wave", `{"chatId":1}`))
	}
	const yes, no = `{"success":true}`, `{"error":"Too many events"}`
	if want := []string{yes, yes, no, no}; !slices.Equal(got, want) {
		t.Errorf("answers %q, want %q", got, want)
	}
	if got := ann.ask("nod", `{"chatId":1}`) + bob.askPast("wave", `{"chatId":1}`); got != yes+yes {
		t.Errorf("another event and another socket: got %s, want success", got)
	}
	w.now = w.now.Add(time.Second)
	if got := ann.askPast("wave", `{"chatId":1}`); got != yes {
		t.Errorf("a second later: got %s, want success", got)
	}
	ann.hangUp()
	bob.hangUp()
	if n := len(w.hub.shards[0].pace); n != 0 {
		t.Errorf("the rates of %d sockets are kept without a connected socket, want none", n)
	}
}

// askPast empties the inbox, sends an event and returns its ack.
func (c *client) askPast(event string, args ...string) string {
	c.inbox = nil
	return c.ask(event, args...)
}

func TestConfirmedEventIsAcknowledgedWhenItIsPublished(t *testing.T) {
	bus := &fakeBus{}
	w := declaring(t, 2, bus, ClientEvent{Name: "mark_read", Key: "client.mark_read", Confirm: true})
	ann := w.connect("ann")
	ann.text(`21["mark_read",{"a":1}]`)
	ann.text(`22["mark_read",{"a":2}]`)
	ann.wantNothing()
	bus.dones[1](errors.New("lost"))
	w.settle()
	if got := ann.next(); got != `432[{"error":"Services are busy, try again"}]` {
		t.Errorf("got %s, want %s", got, `432[{"error":"Services are busy, try again"}]`)
	}
	bus.dones[0](nil)
	w.settle()
	if got := ann.next(); got != `431[{"success":true}]` {
		t.Errorf("got %s, want %s", got, `431[{"success":true}]`)
	}
	bus.full = true
	if got := ann.ask("mark_read", `{}`); got != `{"error":"Services are busy, try again"}` {
		t.Errorf("with a full bus: got %s, want the error that services are busy", got)
	}
	bus.full = false
	ann.text(`23["mark_read",{}]`)
	ann.hangUp()
	bus.dones[2](nil) // the client has closed
	w.settle()
	if n := w.hub.Consulting(); n != 0 {
		t.Errorf("%d questions to the bus are pending, want none", n)
	}
}

func TestWithoutABusEventsForServicesAreRefused(t *testing.T) {
	w := declaring(t, 1, nil, ClientEvent{Name: "mark_read", Key: "client.mark_read"})
	if got := w.connect("ann").ask("mark_read", `{}`); got != `{"error":"Services are busy, try again"}` {
		t.Errorf("got %s, want %s", got, `{"error":"Services are busy, try again"}`)
	}
}

func TestDeclarationsAreReplaced(t *testing.T) {
	w := declaring(t, 1, nil, ClientEvent{Name: "wave", Room: inConversation(), Emit: "waved"})
	ann, bob := w.pairIn()
	ann.emit("wave", `{"chatId":1}`)
	bob.inbox = nil
	limits := func(e ClientEvent) ClientEvent { e.MaxBytes, e.Rate = 100, Rate{1, 1}; return e }
	if err := w.hub.SetClientEvents([]ClientEvent{limits(ClientEvent{Name: "nod", Room: inConversation(), Emit: "nodded"})}); err != nil {
		t.Fatal(err)
	}
	if got := ann.ask("wave", `{"chatId":1}`); got != `{"error":"Unknown event"}` {
		t.Errorf("an event that is no longer declared: got %s, want %s", got, `{"error":"Unknown event"}`)
	}
	ann.emit("nod", `{"chatId":1}`)
	bob.want("nodded", fmt.Sprintf(`{"chatId":1,"socketId":%q,"userId":"ann","room":"conversation:1","timestamp":%q}`, ann.id, startText))
	if n := len(w.hub.shards[0].pace[ann.socket]); n != 1 {
		t.Errorf("the rates of %d events are kept, want 1", n)
	}
}

func TestBadDeclarations(t *testing.T) {
	for _, c := range []struct {
		change func(*ClientEvent)
		want   string
	}{
		{func(e *ClientEvent) { e.Name = "" }, "no name"},
		{func(e *ClientEvent) { e.Name = "disconnect" }, "Socket.IO reserves"},
		{func(e *ClientEvent) { e.Name = "join_room" }, "is built in"},
		{func(e *ClientEvent) { e.Emit = "connect" }, "Socket.IO reserves"},
		{func(e *ClientEvent) { e.Emit = "user_joined" }, "could forge it"},
		{func(e *ClientEvent) { e.Emit, e.Key = "", "" }, "nobody would get it"},
		{func(e *ClientEvent) { e.Room = nil }, "emit wants a room"},
		{func(e *ClientEvent) { e.Emit, e.Key, e.Room, e.Anyone = "", "k", nil, true }, "wants a room"},
		{func(e *ClientEvent) { e.Confirm = true }, "wants publish"},
		{func(e *ClientEvent) { e.MaxBytes = 0 }, "max_bytes"},
		{func(e *ClientEvent) { e.Rate.Burst = 1e6 }, "an hour's worth"},
		{func(e *ClientEvent) { e.Fields = []string{"userId"} }, "the gateway's own"},
	} {
		e := ClientEvent{Name: "wave", Room: inConversation(), Emit: "waved", MaxBytes: 1, Rate: Rate{1, 1}}
		if err := e.Check(); err != nil {
			t.Fatal(err)
		}
		c.change(&e)
		if err := e.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", e, err, c.want)
		}
	}
}
