package load

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"time"
)

const tokenLife = 12 * time.Hour

func appendInt(dst []byte, n int64) []byte { return strconv.AppendInt(dst, n, 10) }

func appendRoomID(dst []byte, room int32) []byte {
	return appendInt(append(dst, "bench-"...), int64(room))
}

func appendUserID(dst []byte, user int32) []byte {
	return appendInt(append(dst, "u"...), int64(user))
}

// minter makes HS256 tokens. They are minted before a phase, so that the work
// is not in the measured time; only what one phase needs is kept.
type minter struct {
	secret []byte
	first  int32
	tokens []byte
	ends   []int32
	packet []byte // scratch of authenticate
}

// mint replaces the tokens by those of users first to last-1.
func (m *minter) mint(first, last int32) {
	m.first = first
	m.tokens, m.ends = m.tokens[:0], m.ends[:0]
	mac := hmac.New(sha256.New, m.secret)
	now := time.Now()
	head := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`))
	for user := first; user < last; user++ {
		at := len(m.tokens)
		m.tokens = append(append(m.tokens, head...), '.')
		claims := fmt.Sprintf(`{"id":"%s","email":"bench@example.com","role":"guest","iat":%d,"exp":%d}`,
			appendUserID(nil, user), now.Unix(), now.Add(tokenLife).Unix())
		m.tokens = base64.RawURLEncoding.AppendEncode(m.tokens, []byte(claims))
		mac.Reset()
		mac.Write(m.tokens[at:])
		m.tokens = append(m.tokens, '.')
		m.tokens = base64.RawURLEncoding.AppendEncode(m.tokens, mac.Sum(nil))
		m.ends = append(m.ends, int32(len(m.tokens)))
	}
}

// forget gives the memory of the tokens back.
func (m *minter) forget() { m.tokens, m.ends = nil, nil }

func (m *minter) appendToken(dst []byte, user int32) []byte {
	i, at := user-m.first, int32(0)
	if i > 0 {
		at = m.ends[i-1]
	}
	return append(dst, m.tokens[at:m.ends[i]]...)
}
