package rooms

import "slices"

// An EventDoc describes one event for the people who write clients. The tables
// of docs/clients.md are generated from these; a test requires one for each
// event that ClientEvents handles.
type EventDoc struct {
	Name string
	Body string // its argument
	Ack  string // client events: the acknowledgement of success
	Text string // client events: what others in the room get; server events: when it is sent
}

// ClientEventDocs returns the events that clients send.
func ClientEventDocs() []EventDoc {
	return []EventDoc{
		{"join_room", "{roomType, roomId}", `{success: true, message: "Joined room: conversation:42", members: 3}`, "`user_joined`"},
		{"leave_room", "{roomType, roomId}", `{success: true, message: "Left room: conversation:42"}`, "`user_left`"},
		{"typing", "{roomType, roomId}", "{success: true}", "`user_typing`"},
		{"stop_typing", "{roomType, roomId}", "{success: true}", "`user_stop_typing`"},
		{"refresh_token", "{token}", "{success: true}", "nothing"},
		{"catch_up", "{roomType, roomId, offset}", "{success: true, events: [[name, body, offset], …]}", "nothing; see [recovery](recovery.md)"},
	}
}

// ServerEventDocs returns the events that the gateway itself sends to clients.
// The services' events are described in upstream/routes.
func ServerEventDocs() []EventDoc {
	return []EventDoc{
		{Name: "connected", Body: "{socketId, userId, message}",
			Text: "the token was accepted; the socket is in the room `user:{userId}`. It is the first event of a socket with a user"},
		{Name: "token_expiring_soon", Body: "{expiresIn}",
			Text: "80 % of the token's life is over, but not earlier than five minutes before its end. `expiresIn` is in seconds. Sent once for each token"},
		{Name: "session_ended", Body: "{reason}",
			Text: "the token has expired, the user was logged out, or the token was revoked. The server disconnects the socket, and the client does not reconnect by itself"},
		{Name: eventRecoveryState, Body: "{}",
			Text: "nothing to be done: it carries an offset at times when no other event does; see [recovery](recovery.md)"},
		{Name: eventRoomState, Body: "{room, members}",
			Text: "the client came back to its session and is in that room again; see [recovery](recovery.md)"},
		{Name: eventRoomRevoked, Body: "{room, reason}",
			Text: "the user may no longer be in that room, and the socket has left it"},
		{Name: eventUserJoined, Body: presenceBody, Text: "another socket joined a room of this one"},
		{Name: eventUserLeft, Body: presenceBody, Text: "another socket left a room of this one, or disconnected"},
		{Name: eventUserTyping, Body: presenceBody, Text: "another socket in a room of this one is typing"},
		{Name: eventUserStopTyping, Body: presenceBody, Text: "another socket in a room of this one stopped typing"},
	}
}

const presenceBody = "{socketId, userId, room, timestamp}"

// isServerEvent reports whether the gateway itself sends events of that name.
func isServerEvent(name string) bool {
	return slices.ContainsFunc(ServerEventDocs(), func(e EventDoc) bool { return e.Name == name })
}
