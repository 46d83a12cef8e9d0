package rooms

import (
	"errors"
	"math"
	"sync/atomic"
	"time"

	"github.com/hometrip/gateway/codec"
)

// Errors that clients get in CONNECT_ERROR, after authErrorPrefix. Front ends
// compare the prefix.
var (
	errNamespace = errors.New("Invalid namespace")
	errNoToken   = errors.New("No token provided")
	errTokenType = errors.New("jwt must be a string")
	errPerUser   = errors.New("Too many connections of this user")
)

const authErrorPrefix = "Authentication error: "

// token_expiring_soon is sent when 80 % of the token's life is over, but not
// earlier than maxLead before its end.
const (
	maxLead  = 5 * time.Minute
	leadPart = 5 // a fifth is left then
	leadUnit = 5 * time.Millisecond
)

// reasonTokenExpired is the reason in session_ended at the token's end.
const reasonTokenExpired = "token_expired"

// connectsPerBurst is how many tokens, in CONNECT or refresh_token, use up a
// burst of events. To verify a token costs more than an event, and guessing
// tokens must be slow.
const connectsPerBurst = 20

// takeToken charges the socket's rate for a token, less what is charged already
// (taken). It returns what Throttle.Take does.
func (s *Socket) takeToken(taken int, now time.Time) (bursts float64) {
	rate := s.shard.hub.limits().Events
	return s.events.Take(rate, max(rate.Burst/connectsPerBurst-taken, 0), now)
}

func (s *Socket) handleConnect(data []byte, now time.Time) {
	if s.takeToken(0, now) > 1 {
		s.close(ReasonTooFast)
		return
	}
	auth, token, err := s.auth(data)
	if err == errNoToken && s.shard.hub.config.AllowAnonymous {
		s.connect(Identity{}, false, now)
		return
	}
	if err != nil {
		s.reject(err)
		return
	}
	s.phase = phaseVerifying
	s.verify(token, now, func(id Identity, err error, now time.Time) {
		if s.phase != phaseVerifying {
			return // closed meanwhile
		}
		s.phase = phaseOpen
		switch {
		case errors.Is(err, ErrBusy):
			s.close(ReasonBusy) // clients reconnect after that by themselves; after CONNECT_ERROR they do not
		case err != nil:
			s.reject(err)
			s.sink.Wake() // the deadline is back
		case auth.asks && auth.pid != "":
			s.comeBack(id, auth, now)
		default:
			s.connect(id, auth.asks, now)
		}
	})
}

// An auth is the data of a CONNECT packet, without the token.
type auth struct {
	asks   bool   // for recovery
	pid    string // id of the session to come back to; "" for none
	offset string // of the last event that it got; "" for none
}

// maxAuthText is the longest pid or offset that is looked up, in bytes.
const maxAuthText = 64

// auth parses the CONNECT packet's data. Without a token in it, the token of
// the handshake counts. The token may be a view of data.
func (s *Socket) auth(data []byte) (a auth, token []byte, err error) {
	a.asks = s.aside != nil && s.aside.asks
	for key, value := range codec.Members(data) {
		switch string(key) {
		case "token":
			if string(value) == "null" {
				continue
			}
			var isText bool
			if token, isText = codec.Text(value); !isText {
				return a, nil, errTokenType
			}
		case "recovery":
			a.asks = a.asks || string(value) == "true"
		case "pid":
			a.pid = shortText(value)
		case "offset":
			a.offset = shortText(value)
		}
	}
	switch s.shard.hub.config.Recovery.Mode {
	case RecoveryOff:
		a.asks = false
	case RecoveryAll:
		a.asks = true
	}
	if len(token) == 0 && s.aside != nil {
		token = []byte(s.aside.token)
	}
	if len(token) == 0 {
		return a, nil, errNoToken
	}
	return a, token, nil
}

// shortText returns value if it can be a pid or an offset, and "?", which
// matches none, if it cannot.
func shortText(value []byte) string {
	text, ok := codec.Text(value)
	if !ok || len(text) > maxAuthText {
		return "?"
	}
	return string(text)
}

// AskRecovery records that the handshake asked for recovery.
func (s *Socket) AskRecovery() {
	if s.aside == nil {
		s.aside = &aside{}
	}
	s.aside.asks = true
}

// verify verifies the token and calls then on the shard's event loop, at once
// if the verifier answered before it returned. The Revoker is asked in that
// turn, because the token may have been revoked, or have expired, since the
// verdict. An order that comes later finds the socket.
func (s *Socket) verify(token []byte, now time.Time, then func(Identity, error, time.Time)) {
	auth := s.shard.hub.config.Auth
	if auth == nil {
		then(Identity{}, errors.New("invalid signature"), now)
		return
	}
	v := s.shard.newVerification(then)
	auth.Authenticate(token, Presenter{User: s.UserID(), Address: s.sink.Source()}, now, v.answered)
	v.asked(now)
}

// A verification is one token being verified. Every client that connects needs
// one, so the shard keeps one for the next token.
type verification struct {
	consultation[verdict]
	answered func(Identity, error)            // done, for an Authenticator
	judged   func(Identity, error, time.Time) // gets the verdict
}

// A verdict is an Authenticator's answer.
type verdict struct {
	id  Identity
	err error
}

// newVerification returns the verification that the shard keeps, or a new one if
// that is in use.
func (sh *Shard) newVerification(then func(Identity, error, time.Time)) *verification {
	v := sh.verification
	if sh.verification = nil; v == nil {
		v = &verification{}
		v.shard, v.then = sh, v.judge
		v.answered = func(id Identity, err error) { v.done(verdict{id, err}) }
	}
	v.judged = then
	return v
}

// judge returns the verification to the shard and passes the verdict on.
func (v *verification) judge(d verdict, now time.Time) {
	sh, then := v.shard, v.judged
	v.judged, v.answer = nil, verdict{}
	v.settled.Store(false)
	sh.verification = v
	if d.err == nil {
		d.err = sh.hub.revoked(d.id, now)
	}
	then(d.id, d.err, now)
}

// later returns then as the continuation of something that takes time: it does
// nothing if the socket has ended, or has connected with another id, meanwhile.
func later[T any](s *Socket, then func(T, time.Time)) func(T, time.Time) {
	id := s.id
	return func(answer T, now time.Time) {
		if s.connectedAs(id) {
			then(answer, now)
		}
	}
}

// connectedAs reports whether the socket is connected with this id. A client
// that has disconnected from the namespace and connected again has another one.
func (s *Socket) connectedAs(id publicID) bool { return s.phase == phaseConnected && s.id == id }

// revoked returns an error if a token that was verified is no longer valid.
func (h *Hub) revoked(id Identity, now time.Time) error {
	if h.config.Revoker == nil {
		return nil
	}
	return h.config.Revoker.Check(id, now)
}

// consult asks a question that is answered by a callback, and calls then with
// the answer on the shard's event loop: at once if ask called done before it
// returned. ask must call done once, from any goroutine.
func consult[T any](sh *Shard, now time.Time, ask func(done func(T)), then func(T, time.Time)) {
	c := &consultation[T]{shard: sh, then: then}
	ask(c.done)
	c.asked(now)
}

// A consultation is one question under way. The second of two events, the
// answer and the return of the function that was asked, calls then.
type consultation[T any] struct {
	shard   *Shard
	settled atomic.Bool // the first event has happened
	answer  T
	then    func(T, time.Time)
}

// done is called with the answer, once, from any goroutine.
func (c *consultation[T]) done(answer T) {
	c.answer = answer
	if !c.settled.CompareAndSwap(false, true) {
		c.shard.Post(c.end)
	}
}

// asked is called on the shard's event loop when the function that was asked has
// returned. From then on the question is one of those that a hand-over awaits.
func (c *consultation[T]) asked(now time.Time) {
	if c.settled.CompareAndSwap(false, true) {
		c.shard.hub.consulting.Add(1)
		return
	}
	c.then(c.answer, now)
}

// end is called on the shard's event loop with an answer that came late.
func (c *consultation[T]) end(now time.Time) {
	c.shard.hub.consulting.Add(-1)
	c.then(c.answer, now)
}

func (s *Socket) reject(err error) { s.refuse("", authErrorPrefix+err.Error()) }

// refuse sends CONNECT_ERROR. The session stays open: the client may try again
// until CONNECT_TIMEOUT.
func (s *Socket) refuse(namespace, why string) {
	s.shard.stats.ConnectErrors.Add(1)
	b := append(s.shard.buf[:0], "44"...)
	if namespace != "" {
		b = append(append(b, namespace...), ',')
	}
	b = append(b, `{"message":`...)
	b = append(codec.AppendString(b, why), '}')
	s.sendPacket(b)
}

// connect accepts the socket and puts it into its user's room. asks is true if
// the client may come back to its session later.
func (s *Socket) connect(id Identity, asks bool, now time.Time) {
	sh := s.shard
	if most := sh.hub.limits().PerUser; most > 0 && id.UserID != "" {
		if sh.hub.Members(UserRoom(id.UserID)) >= most {
			s.phase = phaseOpen
			s.refuse("", errPerUser.Error())
			return
		}
	}
	s.phase, s.aside, s.until = phaseConnected, nil, 0
	s.id = newPublicID()
	sh.stats.Sockets.Add(1)
	sh.stats.Connects.Add(1)
	if asks && id.UserID != "" {
		s.beginSession()
	}
	s.sendAnswer()
	sh.joinOwn(s)
	if id.UserID == "" {
		return
	}
	s.greetWhenHeard(s.enter(id, now))
	s.startExpiry(&id, now)
	s.saveSession()
}

// startExpiry sets the deadlines of the token that a client connected with.
func (s *Socket) startExpiry(id *Identity, now time.Time) {
	from := now
	if !id.Issued.IsZero() && id.Issued.Before(now) {
		from = id.Issued
	}
	s.setExpiry(from, id.Expires, now)
}

// sendAnswer answers CONNECT.
func (s *Socket) sendAnswer() {
	b := append(s.shard.buf[:0], `40{"sid":"`...)
	b = append(s.id.append(b), '"')
	if s.session != nil {
		b = append(append(append(b, `,"pid":"`...), s.session.pid.String()...), '"')
	}
	s.sendPacket(append(b, '}'))
}

// enter puts the socket into its user's room.
func (s *Socket) enter(id Identity, now time.Time) *room {
	r, _ := s.shard.join(s, s.shard.roomName(kindUser, []byte(id.UserID)), false)
	s.user = r.nodeRoom
	s.take(id, now)
	return r
}

// take stores the claims of a token, except the user. The time of issue is
// limited to now, because the issuer's clock may be wrong.
func (s *Socket) take(id Identity, now time.Time) {
	s.tokenID, s.issued = TokenMark(id.TokenID), 0
	if !id.Issued.IsZero() {
		s.issued = uint32(min(max(id.Issued.Unix(), 1), now.Unix(), math.MaxUint32)) // until 2106
	}
	if s.shard.hub.config.Authorizer != nil {
		s.claims = &claims{id.Email, id.Role, id.Rooms}
	}
}

// identity returns the identity of the socket's token.
func (s *Socket) identity() Identity {
	id := Identity{UserID: s.UserID()}
	if c := s.claims; c != nil {
		id.Email, id.Role, id.Rooms = c.email, c.role, c.rooms
	}
	return id
}

// setExpiry sets the deadlines of a token with the life from … expires: the
// warning and the end. The warning is sent at once if it is due. A client that
// brings the same token again, or one with the same end, is not warned again.
func (s *Socket) setExpiry(from, expires, now time.Time) {
	if expires.IsZero() {
		s.until, s.warned = 0, false
		s.sink.Wake()
		return
	}
	until := expires.UnixMilli()
	s.warned = s.warned && until == s.until
	s.until = until
	s.lead = uint16(max(min(expires.Sub(from)/leadPart, maxLead), 0) / leadUnit)
	s.warnOfExpiry(now)
	s.sink.Wake()
}

func (s *Socket) warnOfExpiry(now time.Time) {
	left := time.UnixMilli(s.until).Sub(now)
	if s.warned || left > time.Duration(s.lead)*leadUnit || left <= 0 {
		return
	}
	s.warned = true
	s.sendPacket(appendExpiring(s.shard.buf[:0], left))
}
