package rooms

import (
	"strings"
	"testing"
)

// A handlerCall is what a handler was called with.
type handlerCall struct {
	args        string
	attachments []string
}

// newBlobWorld returns a world with a handler of "blob", and the calls of it.
func newBlobWorld(t *testing.T) (*world, *[]handlerCall) {
	calls := new([]handlerCall)
	return newWorld(t, 1, func(c *Config) {
		c.Handlers["blob"] = func(call *Call) {
			h := handlerCall{args: string(call.Args)}
			for _, a := range call.Attachments {
				h.attachments = append(h.attachments, string(a))
			}
			*calls = append(*calls, h)
			call.Ack([]byte(`"seen"`))
		}
	}), calls
}

func TestAttachmentsAreAssembled(t *testing.T) {
	w, calls := newBlobWorld(t)
	ann := w.connect("ann")
	const args = `,{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}`
	ann.text(`52-7["blob"` + args + `]`)
	ann.binary("\x00\x01")
	if len(*calls) != 0 {
		t.Fatal("the handler was called before the last attachment arrived")
	}
	ann.binary("")
	if len(*calls) != 1 {
		t.Fatalf("%d calls, want 1", len(*calls))
	}
	got := (*calls)[0]
	if got.args != args+"]" && got.args != args || strings.Join(got.attachments, "|") != "\x00\x01|" {
		t.Errorf("called with %q and attachments %q", got.args, got.attachments)
	}
	if ack := ann.next(); ack != `437["seen"]` {
		t.Errorf("acknowledged with %s, want \"seen\"", ack)
	}
	ann.wantOpen()
	ann.text(`50-["blob"]`) // no attachment is announced
	ann.wantClosed(ReasonParseError)
}

// The read buffer of the event loop is overwritten between two attachments. The
// handler must get the attachments as they were sent.
func TestAttachmentsAreCopied(t *testing.T) {
	w, calls := newBlobWorld(t)
	ann := w.connect("ann")
	buf := []byte(`52-["blob",1]`)
	ann.socket.Text(buf, w.now)
	for _, text := range []string{"first", "other"} {
		copy(buf, text+text+text)
		ann.socket.Binary(buf[:5], w.now)
	}
	if len(*calls) != 1 || strings.Join((*calls)[0].attachments, "|") != "first|other" {
		t.Errorf("calls %q, want one with the attachments first and other", *calls)
	}
}

func TestMostAttachmentsAllowed(t *testing.T) {
	w, calls := newBlobWorld(t)
	ann := w.connect("ann")
	ann.text(`510-["blob"]`)
	for range 10 {
		ann.binary("x")
	}
	if len(*calls) != 1 || len((*calls)[0].attachments) != 10 {
		t.Errorf("calls %q, want one with 10 attachments", *calls)
	}
}

func TestBadAttachmentsCloseTheSession(t *testing.T) {
	large := strings.Repeat("x", 600) // MaxPacket is 1000
	for name, c := range map[string]struct {
		reason Reason
		do     func(ann *client)
	}{
		"too many":        {ReasonTooLarge, func(ann *client) { ann.text(`511-["blob"]`) }},
		"unannounced":     {ReasonParseError, func(ann *client) { ann.binary("x") }},
		"text in between": {ReasonParseError, func(ann *client) { ann.text(`51-["blob"]`); ann.text(`2["blob"]`) }},
		"one too many":    {ReasonParseError, func(ann *client) { ann.text(`51-["blob"]`); ann.binary("x"); ann.binary("x") }},
		"too large together": {ReasonTooLarge, func(ann *client) {
			ann.text(`52-["blob"]`)
			ann.binary(large)
			ann.wantOpen()
			ann.binary(large)
		}},
		"too large with the packet": {ReasonTooLarge, func(ann *client) {
			ann.text(`51-["blob","` + large + `"]`)
			ann.wantOpen()
			ann.binary(large)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w, calls := newBlobWorld(t)
			ann := w.connect("ann")
			c.do(ann)
			ann.wantClosed(c.reason)
			w.wantEmpty()
			before := len(*calls)
			ann.binary("x") // ignored after the close
			ann.text(`2["blob"]`)
			if len(*calls) != before {
				t.Error("the handler was called after the close")
			}
		})
	}
}

func TestAttachmentsNeverSent(t *testing.T) {
	w, calls := newBlobWorld(t)
	ann := w.connect("ann")
	ann.text(`52-["blob"]`)
	ann.binary("x")
	ann.hangUp()
	if ann.socket.aside != nil {
		t.Error("a closed socket keeps its incomplete packet")
	}
	if len(*calls) != 0 {
		t.Error("the handler was called without all attachments")
	}
	w.wantEmpty()
}

func TestBinaryAckIsIgnored(t *testing.T) {
	w, calls := newBlobWorld(t)
	ann := w.connect("ann")
	ann.text(`61-1[{"_placeholder":true,"num":0}]`)
	ann.binary("x")
	ann.wantNothing()
	ann.wantOpen()
	ann.emit("blob") // the next packet is an event of its own
	if len(*calls) != 1 {
		t.Errorf("%d calls, want 1", len(*calls))
	}
}

func TestContractEventsIgnoreAttachments(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.connect("ann")
	ann.text(`51-1["join_room",{"roomType":"conversation","roomId":{"_placeholder":true,"num":0}}]`)
	ann.binary("1")
	if got, want := ann.next(), `431[{"error":"Missing roomType or roomId"}]`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	ann.text(`51-2["join_room",` + conversation("1") + `,{"_placeholder":true,"num":0}]`)
	ann.binary("1")
	if got := ann.next(); !strings.Contains(got, "success") {
		t.Errorf("got %s, want success", got)
	}
}
