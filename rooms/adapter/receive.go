package adapter

import (
	"errors"
	"math"
	"time"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/rooms"
)

const (
	// maxQuestions is how many events may wait for acknowledgements at a time.
	maxQuestions = 1000

	// maxQuestionTime limits the time for acknowledgements, which Node servers
	// choose.
	maxQuestionTime = time.Minute

	// maxRoomNames is how many rooms one answer names.
	maxRoomNames = 100_000
)

// receive handles a message of another server. It is called on the connection's
// goroutine, one message after the other, and does not block.
func (a *Adapter) receive(channel string, message []byte) {
	var err error
	switch most := a.config.MaxBytes(); {
	case len(message) > most:
		err = unfit(Size, "a message of %d bytes, MAX_PENDING_BYTES is %d", len(message), most)
	case channel == a.names.Request:
		err = a.request(message)
	default:
		err = a.emit(message)
	}
	if unfit, ok := errors.AsType[*Unfit](err); ok {
		a.dropped(channel, unfit)
	}
}

func (a *Adapter) dropped(channel string, why *Unfit) {
	a.stats.dropped[why.Reason].Add(1)
	if skipped, ok := a.dropLines.Allow(time.Now(), complainEvery); ok {
		a.config.Log.Warn("message of a Node server or emitter dropped", "channel", channel,
			"reason", why.Reason.String(), "detail", why.Detail, "notLogged", skipped)
	}
}

func (a *Adapter) emit(message []byte) error {
	e, err := ParseEmit(message)
	if err != nil {
		return err
	}
	if ours(e.Sender) {
		return nil
	}
	if err := e.checkSize(a.config.MaxBytes()); err != nil {
		return err
	}
	if a.config.Routed != nil && a.config.Routed(e.Event) {
		a.stats.routed.Add(1)
		if a.config.Compare != nil {
			a.config.Compare.heard(e, time.Now())
		}
		return nil
	}
	if a.config.Compare != nil {
		return nil
	}
	a.stats.received.Add(1)
	a.rooms.Emit(e.selection(), e.Message(codec.NoAck))
	return nil
}

func (o *Options) selection() *rooms.Selection {
	return &rooms.Selection{Rooms: o.Rooms, Except: o.Except, All: o.All}
}

// request carries out what another server asks for, and answers.
func (a *Adapter) request(message []byte) error {
	r, err := ParseRequest(message)
	if r != nil && ours(r.Sender) {
		return nil
	}
	if err != nil {
		if r != nil && r.Type == EmitWithAck && r.ID != "" {
			a.answer(CountAnswer(r, 0)) // the caller waits for it whatever became of the event
		}
		return err
	}
	a.stats.requests.Add(1)
	switch r.Type {
	case Join, Leave, Disconnect:
		a.move(r)
	case EmitWithAck:
		a.ask(r)
	default:
		if r.ID != "" {
			a.tell(r)
		}
	}
	return nil
}

// tell answers a request that changes nothing.
func (a *Adapter) tell(r *Request) {
	switch r.Type {
	case AskSockets:
		a.rooms.Sockets(r.selection(), func(found []rooms.SocketInfo) {
			ids := make([]string, len(found))
			for i := range found {
				ids[i] = found[i].ID
			}
			a.answer(SocketsAnswer(r, ids))
		})
	case AskRooms:
		names, _ := a.rooms.Names(maxRoomNames)
		a.answer(RoomsAnswer(r, names))
	case Fetch:
		a.rooms.Sockets(r.selection(), func(found []rooms.SocketInfo) {
			sockets := make([]Socket, len(found))
			for i, s := range found {
				sockets[i] = Socket{s.ID, s.UserID, s.Rooms}
			}
			a.answer(FetchAnswer(r, sockets))
		})
	case ServerSideEmit:
		a.answer(ServerSideAnswer(r))
	}
}

// move carries out a Join, Leave or Disconnect. Only the old form, for a single
// socket, is answered: by the server that has the socket.
func (a *Adapter) move(r *Request) {
	s := r.selection()
	if r.Single != "" {
		s = &rooms.Selection{Rooms: []string{r.Single}}
		a.rooms.Sockets(s, func(found []rooms.SocketInfo) {
			if len(found) > 0 && r.ID != "" {
				a.answer(DoneAnswer(r))
			}
		})
	}
	switch r.Type {
	case Join:
		a.rooms.JoinAll(s, r.Names)
	case Leave:
		a.rooms.LeaveAll(s, r.Names)
	default:
		a.rooms.DisconnectAll(s, r.Close)
	}
}

// ask sends an event whose acknowledgements the other server waits for.
func (a *Adapter) ask(r *Request) {
	if a.config.Routed != nil && a.config.Routed(r.Emit.Event) {
		a.stats.routed.Add(1)
		a.answer(CountAnswer(r, 0))
		return
	}
	if a.questions.Add(1) > maxQuestions {
		a.questions.Add(-1)
		a.answer(CountAnswer(r, 0))
		return
	}
	forget := a.rooms.Ask(r.selection(), r.Emit.Message,
		func(sockets int) { a.answer(CountAnswer(r, sockets)) },
		func(args []byte, attachments [][]byte) { a.answer(AckAnswer(r, args, attachments)) })
	time.AfterFunc(questionTime(r.Timeout), func() {
		forget()
		a.questions.Add(-1)
	})
}

// questionTime converts a timeout in milliseconds.
func questionTime(ms float64) time.Duration {
	if !(ms > 0) || ms > float64(math.MaxInt64/int64(time.Millisecond)) {
		return maxQuestionTime
	}
	return min(time.Duration(ms*float64(time.Millisecond)), maxQuestionTime)
}

func (a *Adapter) answer(message []byte) {
	if a.publisher.publish(a.names.Response, message) {
		a.stats.answers.Add(1)
	}
}
