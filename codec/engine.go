package codec

import (
	"bytes"
	"encoding/base64"
	"strconv"
)

// EngineType is the type of an Engine.IO v4 packet, as its ASCII digit.
type EngineType byte

// Packet types of Engine.IO v4 (protocol document, "Packet types").
const (
	EngineOpen    EngineType = '0'
	EngineClose   EngineType = '1'
	EnginePing    EngineType = '2'
	EnginePong    EngineType = '3'
	EngineMessage EngineType = '4'
	EngineUpgrade EngineType = '5'
	EngineNoop    EngineType = '6'
)

// payloadSeparator stands between the packets of a long-polling body.
const payloadSeparator = 0x1e

// ParseEnginePacket splits a text packet into type and content.
func ParseEnginePacket(b []byte) (t EngineType, content []byte, err error) {
	if len(b) == 0 {
		return 0, nil, syntax(LayerEngine, "empty packet")
	}
	t = EngineType(b[0])
	if t < EngineOpen || t > EngineNoop {
		return 0, nil, syntax(LayerEngine, "packet type %q", b[0])
	}
	return t, b[1:], nil
}

// NextPacket splits the first packet off a long-polling payload. rest is nil
// behind the last one, and empty when an empty packet is still to come.
func NextPacket(payload []byte) (packet, rest []byte) {
	if i := bytes.IndexByte(payload, payloadSeparator); i >= 0 {
		return payload[:i], payload[i+1:]
	}
	return payload, nil
}

// IsBinaryPacket reports whether a packet of a long-polling payload is binary:
// 'b' and base64.
func IsBinaryPacket(packet []byte) bool { return len(packet) > 0 && packet[0] == 'b' }

// DecodeBinaryPacket returns the bytes of a binary packet of a payload.
func DecodeBinaryPacket(packet []byte) ([]byte, error) {
	if !IsBinaryPacket(packet) {
		return nil, syntax(LayerEngine, "binary packet without its b: %q", clip(packet))
	}
	data, err := base64.StdEncoding.AppendDecode(nil, packet[1:])
	if err != nil {
		return nil, syntax(LayerEngine, "binary packet: %v", err)
	}
	return data, nil
}

// Open is the content of the first packet that the server sends to a client.
type Open struct {
	SID          string
	Upgrade      bool // the client may upgrade to WebSocket
	PingInterval int  // ms
	PingTimeout  int  // ms
	MaxPayload   int  // bytes
}

// AppendOpen appends an open packet.
func AppendOpen(dst []byte, o Open) []byte {
	dst = append(dst, `0{"sid":"`...)
	dst = append(dst, o.SID...) // of our own making: base64url
	dst = append(dst, `","upgrades":[`...)
	if o.Upgrade {
		dst = append(dst, `"websocket"`...)
	}
	dst = append(dst, `],"pingInterval":`...)
	dst = strconv.AppendInt(dst, int64(o.PingInterval), 10)
	dst = append(dst, `,"pingTimeout":`...)
	dst = strconv.AppendInt(dst, int64(o.PingTimeout), 10)
	dst = append(dst, `,"maxPayload":`...)
	dst = strconv.AppendInt(dst, int64(o.MaxPayload), 10)
	return append(dst, '}')
}

// AppendPacket appends a text packet to a long-polling payload, behind a
// separator when dst already holds packets.
func AppendPacket(dst, packet []byte) []byte {
	return append(appendSeparator(dst), packet...)
}
