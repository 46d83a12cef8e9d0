package load

import "bytes"

// sessions are those of the connections that ask for recovery, by the index of
// the connection. Owned by the Loop's thread. docs/recovery.md has the wire.
type sessions map[int32]*session

type session struct {
	pid       string
	offset    []byte // of the newest event; empty: none has come
	recovered bool   // by the last CONNECT
}

// ask has connections first to last-1 ask for recovery from now on.
func (s sessions) ask(first, last int32) {
	for i := first; i < last; i++ {
		s[i] = new(session)
	}
}

// appendAuth appends what CONNECT of connection i says beside its token.
func (s sessions) appendAuth(dst []byte, i int32) []byte {
	one := s[i]
	if one == nil {
		return dst
	}
	dst = append(dst, `,"recovery":true`...)
	if one.pid != "" {
		dst = append(append(append(dst, `,"pid":"`...), one.pid...), '"')
	}
	if len(one.offset) > 0 {
		dst = append(append(append(dst, `,"offset":"`...), one.offset...), '"')
	}
	return dst
}

var pidField = []byte(`"pid":"`)

// answered takes the answer to CONNECT and reports whether connection i came
// back to its session.
func (s sessions) answered(i int32, p []byte) bool {
	one := s[i]
	if one == nil {
		return false
	}
	_, rest, _ := bytes.Cut(p, pidField)
	pid, _, _ := bytes.Cut(rest, []byte{'"'})
	one.recovered = one.pid != "" && one.pid == string(pid)
	if !one.recovered {
		one.pid, one.offset = string(pid), nil
	}
	return one.recovered
}

// note keeps the offset of an event, its last argument if that is a string.
func (s sessions) note(i int32, p []byte) {
	one := s[i]
	if one == nil || !bytes.HasSuffix(p, []byte(`"]`)) {
		return
	}
	head := p[:len(p)-2]
	if at := bytes.LastIndexByte(head, '"'); at > 0 && head[at-1] == ',' {
		one.offset = append(one.offset[:0], head[at+1:]...)
	}
}
