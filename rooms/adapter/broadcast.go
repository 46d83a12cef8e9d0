package adapter

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/rooms/adapter/notepack"
)

// Options select sockets: those in one of Rooms, or All, but none that is in
// one of Except. A socket is in a room named by its id, so both may name
// sockets.
type Options struct {
	Rooms, Except []string
	All           bool // the message named no rooms
	Volatile      bool
	Timeout       float64 // ms for acknowledgements; 0 without
}

// An Emit is an event for clients, as a Node server or an emitter publishes it.
type Emit struct {
	Sender string // the uid of the server; "emitter" of a service
	Event  string
	Options

	text     []byte   // the event's data as JSON, attachments as placeholders
	binaries [][]byte // the attachments
}

// EmitterID is the sender that @socket.io/redis-emitter names.
const EmitterID = "emitter"

// An Unfit error says why a message is not passed on to clients. Its text is
// for the log.
type Unfit struct {
	Reason Reason
	Detail string
}

// Error implements error.
func (e *Unfit) Error() string { return e.Reason.String() + ": " + e.Detail }

// A Reason says why a message of another server is dropped.
type Reason uint8

// The reasons, by their names in metrics.
const (
	Undecodable Reason = iota // no MessagePack, or not the form of the adapter
	Namespace                 // not for the namespace "/"
	PacketType                // would end clients: not an event
	EventName                 // missing, no text, or reserved
	Attachments               // more than clients take
	Size                      // would disconnect clients as slow
)

// Reasons is the number of reasons.
const Reasons = int(Size) + 1

// String implements fmt.Stringer.
func (r Reason) String() string {
	return [...]string{"undecodable", "namespace", "packet type", "event name", "attachments", "size"}[r]
}

func unfit(r Reason, format string, args ...any) error {
	return &Unfit{r, fmt.Sprintf(format, args...)}
}

// ParseEmit parses a message of a broadcast channel: [uid, packet, opts]. It
// accepts what Node accepts, except what would end clients or make their parser
// fail; Node passes that on.
func ParseEmit(message []byte) (*Emit, error) {
	v, err := notepack.Decode(message)
	if err != nil {
		return nil, unfit(Undecodable, "%v", err)
	}
	if v.Kind != notepack.Array || len(v.Items) < 3 {
		return nil, unfit(Undecodable, "want an array of a server, a packet and options")
	}
	sender, _ := v.Items[0].Text()
	return emitOf(sender, &v.Items[1], &v.Items[2])
}

// emitOf parses packet and options.
func emitOf(sender string, packet, opts *notepack.Value) (*Emit, error) {
	e := &Emit{Sender: sender}
	if packet.Kind != notepack.Object {
		return nil, unfit(Undecodable, "a packet that is no map")
	}
	if nsp, ok := packet.Get("nsp"); ok {
		if name, _ := nsp.Text(); name != codec.RootNamespace {
			return nil, unfit(Namespace, "%q", name)
		}
	}
	if kind, _ := packet.Get("type"); kind.Kind != notepack.Number || kind.Number != eventType && kind.Number != binaryEventType {
		return nil, unfit(PacketType, "%v, only events reach clients", kind.Number)
	}
	if _, ok := packet.Get("id"); ok {
		return nil, unfit(PacketType, "an event with an id of its own")
	}
	data, _ := packet.Get("data")
	if err := e.setData(&data); err != nil {
		return nil, err
	}
	var err error
	e.Options, err = optionsOf(opts)
	return e, err
}

// Types of Socket.IO packets, as numbers.
const (
	eventType       = 2
	binaryEventType = 5
)

func (e *Emit) setData(data *notepack.Value) error {
	if data.Kind != notepack.Array || len(data.Items) == 0 || data.Items[0].Kind != notepack.String {
		return unfit(EventName, "data is not an array that begins with a name")
	}
	e.text, e.binaries = data.AppendJSON(nil, nil)
	if len(e.binaries) > codec.MaxAttachments {
		return unfit(Attachments, "%d, clients take %d", len(e.binaries), codec.MaxAttachments)
	}
	name, _, err := codec.ParseEvent(e.text)
	if err != nil {
		return unfit(EventName, "%v", err)
	}
	e.Event = string(name)
	return nil
}

// checkSize returns an error if the event is larger than most bytes.
func (e *Emit) checkSize(most int) error {
	size := len(e.text)
	for _, b := range e.binaries {
		size += len(b)
	}
	if size > most {
		return unfit(Size, "%d bytes for each client, MAX_PENDING_BYTES is %d", size, most)
	}
	return nil
}

// optionsOf parses the opts of a broadcast or a request. JavaScript makes a Set
// of rooms and of except; if one is missing, the Set is empty.
func optionsOf(opts *notepack.Value) (o Options, err error) {
	if opts.Kind != notepack.Object {
		return o, unfit(Undecodable, "options that are no map")
	}
	if o.Rooms, o.All, err = namesOf(opts, "rooms"); err != nil {
		return o, err
	}
	if o.Except, _, err = namesOf(opts, "except"); err != nil {
		return o, err
	}
	if flags, ok := opts.Get("flags"); ok {
		volatile, _ := flags.Get("volatile")
		o.Volatile = volatile.Bool
		timeout, _ := flags.Get("timeout")
		o.Timeout = timeout.Number
	}
	return o, nil
}

// namesOf parses a list of rooms. none: the list is empty. Numbers are rooms of
// their own in JavaScript; here they stand for their text, as ids do everywhere
// in the gateway. Anything else, such as the undefined of `io.to(undefined)`,
// names no room that a socket is in, and does not make the list empty.
func namesOf(object *notepack.Value, key string) (names []string, none bool, err error) {
	list, ok := object.Get(key)
	if !ok || list.Kind == notepack.Null {
		return nil, true, nil
	}
	if list.Kind != notepack.Array {
		return nil, false, unfit(Undecodable, "%s is no array", key)
	}
	names = make([]string, 0, len(list.Items))
	for _, item := range list.Items {
		switch {
		case item.Kind == notepack.String && len(item.Bytes) > 0:
			names = append(names, string(item.Bytes))
		case item.Kind == notepack.Number:
			names = append(names, string(codec.AppendNumber(nil, item.Number)))
		}
	}
	return names, len(list.Items) == 0, nil
}

// Message returns the packet for clients. If id is 0 or more, it asks them for
// an acknowledgement with that id.
func (e *Emit) Message(id int64) *codec.Message {
	b := make([]byte, 0, len(e.text)+16)
	if len(e.binaries) == 0 {
		b = append(b, "42"...)
	} else {
		b = append(strconv.AppendInt(append(b, "45"...), int64(len(e.binaries)), 10), '-')
	}
	if id >= 0 {
		b = strconv.AppendInt(b, id, 10)
	}
	b = append(b, e.text...)
	m := codec.NewText(b)
	if len(e.binaries) > 0 {
		m = codec.NewAttached(b, slices.Clone(e.binaries))
	}
	m.Volatile = e.Volatile
	return m
}

var errNoEvent = errors.New("adapter: no event in this message")

// AppendEmit appends the message that sends an event to Node servers. packet is
// an Engine.IO text packet of an EVENT without attachments, `42["name",…]`.
func AppendEmit(dst []byte, sender string, packet []byte, o Options) ([]byte, error) {
	if len(packet) < 2 || packet[0] != '4' {
		return dst, errNoEvent
	}
	p, err := codec.ParseSocketPacket(packet[1:])
	if err != nil || p.Type != codec.SocketEvent {
		return dst, errNoEvent
	}
	dst = notepack.AppendString(notepack.AppendArray(dst, 3), sender)
	dst = notepack.AppendInt(notepack.AppendString(notepack.AppendMap(dst, 3), "type"), eventType)
	dst = notepack.AppendFromJSON(notepack.AppendString(dst, "data"), p.Data)
	dst = notepack.AppendString(notepack.AppendString(dst, "nsp"), codec.RootNamespace)
	dst = appendNames(notepack.AppendString(notepack.AppendMap(dst, 3), "rooms"), o.Rooms)
	dst = appendNames(notepack.AppendString(dst, "except"), o.Except)
	dst = notepack.AppendString(dst, "flags")
	if !o.Volatile {
		return notepack.AppendMap(dst, 0), nil
	}
	dst = notepack.AppendString(notepack.AppendMap(dst, 1), "volatile")
	return notepack.AppendBool(dst, true), nil
}

func appendNames(dst []byte, names []string) []byte {
	dst = notepack.AppendArray(dst, len(names))
	for _, name := range names {
		dst = notepack.AppendString(dst, name)
	}
	return dst
}
