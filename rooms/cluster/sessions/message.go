package sessions

import (
	"encoding/binary"
	"errors"

	"github.com/hometrip/gateway/rooms"
)

var (
	errLost    = errors.New("redis: connection lost")
	errMessage = errors.New("message about a session: malformed")
)

// messageVersion is the first byte of a message.
const messageVersion = 1

// A message is what one node publishes on the channel of another. Kind 't' asks
// for a session. Kind 'r' answers with the record, or with RecoveryBusy and the
// node that has the session now. Kind 'd' reports that a session continues on
// the node that sends the message.
type message struct {
	kind            byte
	ask             uint64
	pid, user, node string
	why             rooms.RecoveryResult
	record          []byte
}

// append appends the binary form: one byte each for version, kind and result,
// then the number, then the texts with their lengths.
func (m message) append(b []byte) []byte {
	b = append(b, messageVersion, m.kind, byte(m.why))
	b = binary.AppendUvarint(b, m.ask)
	for _, text := range []string{m.pid, m.user, m.node, string(m.record)} {
		b = append(binary.AppendUvarint(b, uint64(len(text))), text...)
	}
	return b
}

func parseMessage(b []byte) (m message, err error) {
	if len(b) < 4 || len(b) > maxMessage || b[0] != messageVersion {
		return m, errMessage
	}
	m.kind, m.why = b[1], rooms.RecoveryResult(b[2])
	if !m.why.Valid() {
		return m, errMessage
	}
	ask, n := binary.Uvarint(b[3:])
	if n <= 0 {
		return m, errMessage
	}
	m.ask, b = ask, b[3+n:]
	var record string
	for _, text := range []*string{&m.pid, &m.user, &m.node, &record} {
		length, n := binary.Uvarint(b)
		if n <= 0 || length > uint64(len(b)-n) {
			return m, errMessage
		}
		*text, b = string(b[n:n+int(length)]), b[n+int(length):]
	}
	m.record = []byte(record)
	if len(b) > 0 {
		return m, errMessage
	}
	return m, nil
}
