package loop

import (
	"crypto/rand"
	"encoding/base64"

	"github.com/hometrip/gateway/rooms"
)

// An Engine.IO session id is two characters that name the event loop the
// session lives on, and 20 characters of 120 random bits: whoever knows it can
// poll the session, so it must not be guessed.
const (
	sidLoopLen   = 2
	sidRandomLen = 20
	sidLen       = sidLoopLen + sidRandomLen
)

const sidAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

func newSID(loop int) string {
	var raw [15]byte
	rand.Read(raw[:]) // never fails (crypto/rand, Go 1.24)
	sid := make([]byte, sidLoopLen, sidLen)
	sid[0], sid[1] = sidAlphabet[loop>>6&63], sidAlphabet[loop&63]
	return string(base64.RawURLEncoding.AppendEncode(sid, raw[:]))
}

// loopOf returns the index of the loop that has the session with this id, if it
// exists; ok is false if it cannot be an id. For sessions of a process with
// more loops, the index is the remainder of a division.
func loopOf(sid []byte, loops int) (loop int, ok bool) {
	if len(sid) != sidLen {
		return 0, false
	}
	hi, lo := sidDigit(sid[0]), sidDigit(sid[1])
	named := hi<<6 | lo
	if hi < 0 || lo < 0 || named >= rooms.MaxShards {
		return 0, false
	}
	return named % loops, true
}

func sidDigit(c byte) int {
	switch {
	case 'A' <= c && c <= 'Z':
		return int(c - 'A')
	case 'a' <= c && c <= 'z':
		return int(c-'a') + 26
	case '0' <= c && c <= '9':
		return int(c-'0') + 52
	case c == '-':
		return 62
	case c == '_':
		return 63
	}
	return -1
}
