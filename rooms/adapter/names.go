package adapter

import "strings"

// Names are the channels of one adapter for the namespace "/"
// (@socket.io/redis-adapter 8.3, lib/index.ts). Redis does not separate them by
// database: the key alone tells two fleets apart.
type Names struct {
	Broadcast string // for several rooms or all; with a room and "#" behind it, for that room
	Request   string
	Response  string
}

// NamesOf returns the channels for a key, by default "socket.io".
func NamesOf(key string) Names {
	return Names{key + "#/#", key + "-request#/#", key + "-response#/#"}
}

// Room returns the channel of broadcasts to one room.
func (n Names) Room(room string) string { return n.Broadcast + room + "#" }

// Rooms returns the pattern of all channels of broadcasts.
func (n Names) Rooms() string { return globs.Replace(n.Broadcast) + "*" }

// globs escapes the special characters of Redis' patterns.
var globs = strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`, "]", `\]`)

// RoomOf returns the room that a broadcast channel is for, "" for the channel
// of broadcasts to several rooms.
func (n Names) RoomOf(channel string) (room string, ok bool) {
	rest, ok := strings.CutPrefix(channel, n.Broadcast)
	if !ok || rest == "" {
		return "", ok
	}
	return strings.CutSuffix(rest, "#")
}
