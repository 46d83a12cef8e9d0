package presence

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/hometrip/gateway/rooms"
)

// An Event is a change of presence that is published to services.
type Event struct {
	Key  string // user.online, user.offline, room.occupied or room.vacated
	ID   string // does not change when the event is published again
	Room string
	N    int // sockets on all nodes when the event was claimed
	At   time.Time

	form string // the event as stored in Redis
}

// Keys are the routing keys of all events.
var Keys = []string{"user.online", "user.offline", "room.occupied", "room.vacated"}

// parseEvent parses the reply of the script claim.
func parseEvent(room, form string) (e Event, ok bool) {
	words := strings.Fields(form)
	if len(words) != 4 {
		return e, false
	}
	n, err1 := strconv.Atoi(words[2])
	at, err2 := strconv.ParseInt(words[3], 10, 64)
	if err1 != nil || err2 != nil {
		return e, false
	}
	e = Event{ID: words[1], Room: room, N: max(n, 0), At: time.UnixMilli(at), form: form}
	which := 0
	if !rooms.OfUser(room) {
		which = 2
	}
	if words[0] == "0" {
		which++
		e.N = 0
	}
	e.Key = Keys[which]
	return e, true
}

// timeLayout is ISO 8601 in UTC with milliseconds, as JavaScript's toISOString
// writes it.
const timeLayout = "2006-01-02T15:04:05.000Z"

// Body returns the event as JSON, in the form that services get.
func (e *Event) Body() []byte {
	kind, id, _ := strings.Cut(e.Room, ":")
	var data any
	if rooms.OfUser(e.Room) {
		data = struct {
			UserID  string `json:"userId"`
			Sockets int    `json:"sockets"`
		}{id, e.N}
	} else {
		data = struct {
			Room     string `json:"room"`
			RoomType string `json:"roomType"`
			RoomID   string `json:"roomId"`
			Members  int    `json:"members"`
		}{e.Room, kind, id, e.N}
	}
	body, _ := json.Marshal(struct { // strings and numbers only: it cannot fail
		EventName string `json:"eventName"`
		Source    string `json:"source"`
		Timestamp string `json:"timestamp"`
		Data      any    `json:"data"`
	}{e.Key, "websocket-gateway", e.At.UTC().Format(timeLayout), data})
	return body
}
