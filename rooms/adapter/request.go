package adapter

import (
	"encoding/json"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/rooms/adapter/notepack"
)

// A RequestType says what a Node server asks the others for.
type RequestType int

// Requests and answers between nodes (@socket.io/redis-adapter, RequestType).
const (
	AskSockets         RequestType = 0
	AskRooms           RequestType = 1
	Join               RequestType = 2
	Leave              RequestType = 3
	Disconnect         RequestType = 4
	Fetch              RequestType = 5
	ServerSideEmit     RequestType = 6
	EmitWithAck        RequestType = 7
	answerClientCount  RequestType = 8
	answerAcknowledged RequestType = 9
)

// A Request is one message of the request channel.
type Request struct {
	Type   RequestType
	Sender string // "" of an emitter
	ID     string // "" when no answer is wanted
	Options
	Names  []string // rooms to join or leave
	Close  bool     // of a Disconnect: the connection too, not only the namespace
	Single string   // the id of the one socket meant, instead of Options
	Emit   *Emit    // of an EmitWithAck
}

// ParseRequest parses a message of the request channel: JSON or notepack. A
// message for which Node would throw, and one of an unknown type, are errors.
func ParseRequest(message []byte) (*Request, error) {
	v, err := requestValue(message)
	if err != nil {
		return nil, unfit(Undecodable, "%v", err)
	}
	kind, ok := v.Get("type")
	if !ok || kind.Kind != notepack.Number {
		return nil, unfit(Undecodable, "a request without type")
	}
	r := &Request{Type: RequestType(kind.Number)}
	r.Sender = textOf(&v, "uid")
	r.ID = textOf(&v, "requestId")
	switch r.Type {
	case AskSockets:
		r.Rooms, r.All, err = namesOf(&v, "rooms")
	case AskRooms, ServerSideEmit:
	case Join, Leave, Disconnect:
		err = r.move(&v)
	case Fetch:
		err = r.options(&v)
	case EmitWithAck:
		err = r.emit(&v)
	default:
		err = unfit(Undecodable, "request of type %d", r.Type)
	}
	return r, err
}

// requestValue parses either form. JSON is recognised by its first character.
func requestValue(message []byte) (notepack.Value, error) {
	if len(message) == 0 || message[0] != '{' {
		return notepack.Decode(message)
	}
	if !codec.ValidJSON(message) {
		return notepack.Value{}, unfit(Undecodable, "JSON that is none")
	}
	return notepack.Decode(notepack.AppendFromJSON(nil, message))
}

func textOf(v *notepack.Value, key string) string {
	member, _ := v.Get(key)
	text, _ := member.Text()
	return text
}

func (r *Request) options(v *notepack.Value) (err error) {
	opts, _ := v.Get("opts")
	r.Options, err = optionsOf(&opts)
	return err
}

// move parses a Join, Leave or Disconnect: of all sockets that the options
// select, or of one socket in the form of adapters before version 6.
func (r *Request) move(v *notepack.Value) (err error) {
	end, _ := v.Get("close")
	r.Close = end.Bool
	if _, bulk := v.Get("opts"); !bulk {
		r.Single = textOf(v, "sid")
		if room := textOf(v, "room"); room != "" {
			r.Names = []string{room}
		}
		if r.Single == "" {
			return unfit(Undecodable, "neither opts nor sid")
		}
		return nil
	}
	if err = r.options(v); err == nil {
		r.Names, _, err = namesOf(v, "rooms")
	}
	return err
}

func (r *Request) emit(v *notepack.Value) error {
	if r.ID == "" {
		return unfit(Undecodable, "an event to be acknowledged without requestId")
	}
	packet, _ := v.Get("packet")
	opts, _ := v.Get("opts")
	emit, err := emitOf(r.Sender, &packet, &opts)
	if err != nil {
		// Node waits for a count whatever happened to the event.
		r.Options, _ = optionsOf(&opts)
		return err
	}
	r.Emit, r.Options = emit, emit.Options
	return nil
}

// A Socket is what other servers get to know of one of this node's sockets:
// never its token or its request headers.
type Socket struct {
	ID    string
	User  string
	Rooms []string
}

// The bodies of answers to requests of Node servers, as their adapters expect
// them.
type (
	// socketsAnswer answers "which sockets are in these rooms".
	socketsAnswer struct {
		ID      string   `json:"requestId"`
		Sockets []string `json:"sockets"`
	}
	// roomsAnswer answers "which rooms are there".
	roomsAnswer struct {
		ID    string   `json:"requestId"`
		Rooms []string `json:"rooms"`
	}
	// fetchAnswer answers fetchSockets.
	fetchAnswer struct {
		ID      string        `json:"requestId"`
		Sockets []fetchSocket `json:"sockets"`
	}
	// fetchSocket is one socket of a fetchAnswer.
	fetchSocket struct {
		ID        string    `json:"id"`
		Handshake handshake `json:"handshake"`
		Rooms     []string  `json:"rooms"`
		Data      fetchData `json:"data"`
	}
	// handshake has the members that code on Node reads without looking whether
	// they are there.
	handshake struct {
		Headers struct{} `json:"headers"`
		Query   struct{} `json:"query"`
		Auth    struct{} `json:"auth"`
	}
	// fetchData is socket.data for code on Node.
	fetchData struct {
		User string `json:"userId,omitempty"`
	}
	// doneAnswer says that a request was carried out.
	doneAnswer struct {
		ID string `json:"requestId"`
	}
	// emitAnswer answers serverSideEmit.
	emitAnswer struct {
		Type RequestType `json:"type"`
		ID   string      `json:"requestId"`
		Data any         `json:"data"` // null
	}
	// countAnswer says how many sockets a broadcast with acknowledgement reached.
	countAnswer struct {
		Type  RequestType `json:"type"`
		ID    string      `json:"requestId"`
		Count int         `json:"clientCount"`
	}
)

// SocketsAnswer answers AskSockets.
func SocketsAnswer(r *Request, ids []string) []byte {
	return marshal(socketsAnswer{r.ID, append([]string{}, ids...)})
}

// RoomsAnswer answers AskRooms.
func RoomsAnswer(r *Request, rooms []string) []byte {
	return marshal(roomsAnswer{r.ID, append([]string{}, rooms...)})
}

// FetchAnswer answers Fetch.
func FetchAnswer(r *Request, sockets []Socket) []byte {
	a := fetchAnswer{ID: r.ID, Sockets: []fetchSocket{}}
	for _, s := range sockets {
		a.Sockets = append(a.Sockets, fetchSocket{ID: s.ID, Rooms: append([]string{}, s.Rooms...), Data: fetchData{s.User}})
	}
	return marshal(a)
}

// DoneAnswer answers a Join, Leave or Disconnect of a single socket.
func DoneAnswer(r *Request) []byte { return marshal(doneAnswer{r.ID}) }

// ServerSideAnswer answers a ServerSideEmit. Every event name is answered: one
// server that stays silent makes the caller wait until its time is out.
func ServerSideAnswer(r *Request) []byte { return marshal(emitAnswer{Type: ServerSideEmit, ID: r.ID}) }

// CountAnswer says how many sockets an EmitWithAck reached. It is sent exactly
// once for each request, also with 0: Node compares counts with ===.
func CountAnswer(r *Request, clients int) []byte {
	return marshal(countAnswer{answerClientCount, r.ID, clients})
}

// AckAnswer passes on a client's acknowledgement. args is the JSON array of the
// packet, of which the first element is passed on, with its attachments.
func AckAnswer(r *Request, args []byte, attachments [][]byte) []byte {
	b := notepack.AppendMap(nil, 3)
	b = notepack.AppendInt(notepack.AppendString(b, "type"), int64(answerAcknowledged))
	b = notepack.AppendString(notepack.AppendString(b, "requestId"), r.ID)
	b = notepack.AppendString(b, "packet")
	first, _ := codec.NextArg(args)
	if first == nil {
		first = []byte("null")
	}
	return notepack.AppendFromJSON(b, first, attachments...)
}

// DisconnectRequest asks the Node servers to disconnect all sockets in a room.
func DisconnectRequest(sender, room string) []byte {
	type options struct {
		Rooms  []string `json:"rooms"`
		Except []string `json:"except"`
	}
	return marshal(struct {
		Sender string      `json:"uid"`
		Type   RequestType `json:"type"`
		Opts   options     `json:"opts"`
		Close  bool        `json:"close"`
	}{sender, Disconnect, options{[]string{room}, []string{}}, false})
}

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // texts, numbers and lists: cannot fail
	}
	return b
}
