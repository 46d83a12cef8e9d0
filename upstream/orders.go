package upstream

import (
	"strconv"
	"time"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/rooms"
)

// Orders of the back office come the way of events, and go to every node.
//
//	user.disconnect  {userId, reason}            the user's sockets are disconnected
//	user.logout      {userId, jti, exp, reason}  and the tokens they came with are refused
//	token.revoked    {jti, userId, exp, reason}  a token is refused, or all of a user
//
// Without jti all of the user's tokens are meant that were issued up to the
// order's timestamp. They are refused until exp, Unix seconds or ISO 8601, or
// else as long as any token is likely to be good.
const (
	keyDisconnect = "user.disconnect"
	keyLogout     = "user.logout"
	keyRevoked    = "token.revoked"
)

// revokedFor is how long tokens are refused when the order does not tell when
// they end.
const revokedFor = 30 * 24 * time.Hour

// maxReason is how much of a reason clients are told, in bytes.
const maxReason = 200

// Slots of an order's members, behind those that every route has.
const (
	slotUser = slotEventID + 1 + iota
	slotTokenID
	slotExpires
	slotReason
)

// orderNames are the members of an order, by slot.
var orderNames = []string{
	slotTime: memberTime, slotEventID: memberEvent,
	slotUser: "userId", slotTokenID: "jti", slotExpires: "exp", slotReason: "reason",
}

// orderRoutes returns the routes of orders.
func orderRoutes() (list []Route) {
	for _, key := range []string{keyDisconnect, keyLogout, keyRevoked} {
		list = append(list, Route{Event: key, Rooms: []string{rooms.EveryNode}, order: true})
	}
	return list
}

// orderOf makes the order that the members in the slots are.
func (e *Encoder) orderOf(key string, published time.Time) (*rooms.Order, error) {
	user, err := e.orderID(slotUser)
	if err != nil {
		return nil, err
	}
	token, err := e.orderID(slotTokenID)
	if err != nil {
		return nil, err
	}
	if user == "" && (token == "" || key != keyRevoked) {
		return nil, poison(ReasonNoRoom, "%s without userId", key)
	}
	o := &rooms.Order{User: user, Reason: e.orderReason(key)}
	if key == keyDisconnect {
		return o, nil
	}
	if o.TokenID = token; token == "" {
		o.Issued = e.orderTime(slotTime, published)
	}
	o.Until = e.orderTime(slotExpires, published.Add(revokedFor))
	return o, nil
}

func (e *Encoder) orderID(slot int) (string, error) {
	value := e.slots[slot]
	if absent(value) {
		return "", nil
	}
	id, ok := codec.ID(value)
	if !ok {
		return "", poison(ReasonBadID, "%s is no %s", clip(value), orderNames[slot])
	}
	return string(id), nil
}

// orderReason returns what the clients are told.
func (e *Encoder) orderReason(key string) string {
	if text, ok := codec.Text(e.slots[slotReason]); ok && len(text) > 0 {
		return string(text[:min(len(text), maxReason)])
	}
	switch key {
	case keyLogout:
		return "logged out"
	case keyRevoked:
		return "token revoked"
	}
	return "disconnected"
}

// orderTime reads Unix seconds or ISO 8601.
func (e *Encoder) orderTime(slot int, otherwise time.Time) time.Time {
	value := e.slots[slot]
	if text, ok := codec.Text(value); ok {
		if t, err := time.Parse(time.RFC3339, string(text)); err == nil {
			return t
		}
		return otherwise
	}
	const year3000 = 32503680000
	if s, err := strconv.ParseFloat(string(value), 64); err == nil && s > 0 && s < year3000 {
		return time.Unix(int64(s), 0)
	}
	return otherwise
}
