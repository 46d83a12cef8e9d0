package routes

import (
	"strconv"
	"time"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/rooms"
)

// Orders of the back office are published like events, and go to every node.
//
// An order without jti applies to all of the user's tokens that were issued up
// to the order's timestamp and rooms.IssuedLeeway later. They are refused until
// exp, Unix seconds or ISO 8601, or otherwise for revokedFor.
const (
	keyDisconnect = "user.disconnect"
	keyLogout     = "user.logout"
	keyRevoked    = "token.revoked"
)

// orderDocs describes the members and the effect of each order, for
// docs/services.md.
var orderDocs = map[string]string{
	keyDisconnect: "`{userId, reason}`: the user's sockets are disconnected",
	keyLogout:     "`{userId, jti, exp, reason}`: the user's sockets are disconnected, and the tokens they connected with are refused from now on",
	keyRevoked:    "`{jti, userId, exp, reason}`: one token is refused, or all tokens of a user that were issued until now",
}

// revokedFor is how long tokens are refused if the order does not say when they
// end.
const revokedFor = 30 * 24 * time.Hour

// maxAhead is how much later than its publishing the timestamp of an order may
// be.
const maxAhead = 24 * time.Hour

// lastExpiry is the latest accepted end of a token.
var lastExpiry = time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC)

// maxReason is how many bytes of a reason clients are sent.
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

// everyNode is shown in place of the rooms of an order in the list of routes.
const everyNode = "nodes"

// orderRoutes returns the routes of orders.
func orderRoutes() (list []Route) {
	for _, key := range []string{keyDisconnect, keyLogout, keyRevoked} {
		list = append(list, Route{Event: key, Rooms: []string{everyNode}, order: true})
	}
	return list
}

// Order makes the order from the members in the slots.
func (e *Encoder) Order(key string, published time.Time) (*rooms.Order, error) {
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
		o.Issued = e.orderTime(slotTime, published.Add(maxAhead), published)
	}
	o.Until = e.orderTime(slotExpires, lastExpiry, published.Add(revokedFor))
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

// orderReason returns the reason that clients are sent.
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

// orderTime parses Unix seconds (milliseconds, microseconds), without fractions
// of a second, or ISO 8601. A time that is not between the year 2000 and latest
// is not accepted.
func (e *Encoder) orderTime(slot int, latest, otherwise time.Time) time.Time {
	text, ok := codec.Text(e.slots[slot])
	if !ok {
		text = e.slots[slot]
	}
	if t, err := time.Parse(time.RFC3339, string(text)); err == nil && rooms.Between(t, latest) {
		return t
	}
	if n, err := strconv.ParseFloat(string(text), 64); err == nil {
		if t, ok := rooms.FromUnix(n, latest); ok {
			return t.Truncate(time.Second)
		}
	}
	return otherwise
}
