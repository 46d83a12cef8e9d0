package codec

import "bytes"

// SocketType is the type of a Socket.IO v5 packet, as its ASCII digit.
type SocketType byte

// Packet types of Socket.IO v5 (protocol document, "Packet types").
const (
	SocketConnect      SocketType = '0'
	SocketDisconnect   SocketType = '1'
	SocketEvent        SocketType = '2'
	SocketAck          SocketType = '3'
	SocketConnectError SocketType = '4'
	SocketBinaryEvent  SocketType = '5'
	SocketBinaryAck    SocketType = '6'
)

// MaxAttachments is how many binary attachments a packet may announce: the
// limit of the JavaScript parser (socket.io-parser 4.2).
const MaxAttachments = 10

// maxAckID is the largest integer a JavaScript client can count to.
const maxAckID = 1<<53 - 1

// NoAck is the ID of a packet that asks for no acknowledgement.
const NoAck = -1

// RootNamespace is the namespace of a packet that names none.
const RootNamespace = "/"

// A SocketPacket is one Socket.IO packet; its slices are views.
type SocketPacket struct {
	Type        SocketType
	Attachments int    // binary messages that follow; 1 … MaxAttachments, 0 for types without
	Namespace   []byte // nil means "/"
	ID          int64  // NoAck when absent
	Data        []byte // JSON text; nil when absent
}

// IsRoot reports whether the packet is for the namespace "/".
func (p *SocketPacket) IsRoot() bool {
	return len(p.Namespace) == 0 || string(p.Namespace) == RootNamespace
}

// ParseSocketPacket parses the content of an Engine.IO message (Socket.IO
// protocol v5, "Packet encoding"):
//
//	<type>[<attachments>-][<namespace>,][<ack id>][<JSON>]
//
// The JSON text is checked to be valid and of the kind the type asks for: an
// object or nothing for CONNECT, nothing for DISCONNECT, an array for the
// rest. White space may stand around the ack id, as some encoders write it
// before the JSON text.
func ParseSocketPacket(b []byte) (p SocketPacket, err error) {
	if len(b) == 0 || b[0] < '0' || b[0] > '6' {
		return p, syntax(LayerSocket, "packet type in %q", clip(b))
	}
	p.Type, p.ID = SocketType(b[0]), NoAck
	b = b[1:]
	if p.Type == SocketBinaryEvent || p.Type == SocketBinaryAck {
		if b, err = p.parseAttachments(b); err != nil {
			return p, err
		}
	}
	if len(b) > 0 && b[0] == '/' {
		if i := bytes.IndexByte(b, ','); i >= 0 {
			p.Namespace, b = b[:i], b[i+1:]
		} else {
			p.Namespace, b = b, nil
		}
	}
	if b, err = p.parseID(b[skipSpace(b, 0):]); err != nil {
		return p, err
	}
	if b = b[skipSpace(b, 0):]; len(b) > 0 {
		p.Data = b
	}
	return p, p.checkData()
}

func (p *SocketPacket) parseAttachments(b []byte) ([]byte, error) {
	dash := bytes.IndexByte(b[:min(len(b), 4)], '-')
	if dash <= 0 {
		return nil, syntax(LayerSocket, "attachment count in %q", clip(b))
	}
	for _, c := range b[:dash] {
		if c < '0' || c > '9' {
			return nil, syntax(LayerSocket, "attachment count %q", b[:dash])
		}
		p.Attachments = p.Attachments*10 + int(c-'0')
	}
	if p.Attachments == 0 { // as in the JavaScript parser
		return nil, syntax(LayerSocket, "binary packet without attachments")
	}
	if p.Attachments > MaxAttachments {
		return nil, &LimitError{LayerSocket, "attachments", p.Attachments, MaxAttachments}
	}
	return b[dash+1:], nil
}

func (p *SocketPacket) parseID(b []byte) ([]byte, error) {
	i, id := 0, int64(0)
	for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		if id = id*10 + int64(b[i]-'0'); id > maxAckID {
			return nil, syntax(LayerSocket, "ack id %q over %d", clip(b), int64(maxAckID))
		}
	}
	if i > 0 {
		p.ID = id
	}
	return b[i:], nil
}

func (p *SocketPacket) checkData() error {
	switch p.Type {
	case SocketConnect:
		if p.Data == nil {
			return nil
		}
		return p.wantJSON('{')
	case SocketDisconnect:
		if p.Data != nil {
			return syntax(LayerSocket, "DISCONNECT with data %q", clip(p.Data))
		}
		return nil
	case SocketConnectError:
		return syntax(LayerSocket, "CONNECT_ERROR from a client")
	}
	return p.wantJSON('[')
}

func (p *SocketPacket) wantJSON(first byte) error {
	if len(p.Data) == 0 || p.Data[0] != first || !ValidJSON(p.Data) {
		return syntax(LayerSocket, "packet type %c with data %q", p.Type, clip(p.Data))
	}
	return nil
}
