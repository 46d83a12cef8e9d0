package presence

import (
	"strconv"
	"time"

	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

// A User is the state of a user on all nodes.
type User struct {
	Sockets  int
	Nodes    int       // number of nodes that have the sockets
	Since    time.Time // when the first of them connected; zero: the user has none
	LastSeen time.Time // when the last one disconnected; zero: the user has sockets, or it is not known
}

// Ask returns the command that reads the state of a user.
func Ask(names wire.Names, user string) Command {
	n := Core{c: Config{Names: names}}
	return n.script(state, []string{n.roomKey(rooms.UserRoom(user))})
}

// ParseUser parses the reply to the command of Ask.
func ParseUser(r wire.Reply) (u User, err error) {
	if r.Err != nil || len(r.List) != 4 {
		return u, r.Err
	}
	u.Sockets, _ = strconv.Atoi(r.List[0])
	u.Nodes, _ = strconv.Atoi(r.List[1])
	at := func(text string) time.Time {
		ms, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return time.Time{}
		}
		return time.UnixMilli(ms).UTC()
	}
	if u.Sockets > 0 {
		u.Since = at(r.List[2])
	} else {
		u.LastSeen = at(r.List[3])
	}
	return u, nil
}
