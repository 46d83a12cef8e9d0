package codec

// ParseEvent splits the data of an EVENT packet, a valid JSON array, into the
// event's name and the text of its arguments, to be read with NextArg.
func ParseEvent(data []byte) (name, args []byte, err error) {
	if len(data) == 0 || data[0] != '[' {
		return nil, nil, syntax(LayerSocket, "event data %q is not an array", clip(data))
	}
	i := skipSpace(data, 1)
	end := skipValue(data, i, 0)
	if end < 0 {
		return nil, nil, syntax(LayerSocket, "event without a name")
	}
	name, ok := Text(data[i:end])
	if !ok {
		// The JavaScript parser accepts numbers, but no client can listen to
		// them.
		return nil, nil, syntax(LayerSocket, "event name %q is not a string", clip(data[i:end]))
	}
	if ReservedEvent(string(name)) {
		return nil, nil, syntax(LayerSocket, "event name %q is reserved", name)
	}
	return name, data[end:], nil
}

// ReservedEvent reports whether name is an event of Socket.IO itself, which
// must not be emitted (socket.io-parser, RESERVED_EVENTS).
func ReservedEvent(name string) bool {
	switch name {
	case "connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener":
		return true
	}
	return false
}

// NextArg splits the first argument off args, as ParseEvent returned them; nil
// when there are none left. Of a JSON array it is the first element.
func NextArg(args []byte) (arg, rest []byte) {
	i := skipSpace(args, 0)
	if i >= len(args) || args[i] != ',' && args[i] != '[' {
		return nil, nil
	}
	i = skipSpace(args, i+1)
	end := skipValue(args, i, 0)
	if end < 0 {
		return nil, nil
	}
	return args[i:end], args[end:]
}
