package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/rooms"
)

// An orderForm is an order in Redis, as JSON. Times are Unix seconds, as in
// tokens.
type orderForm struct {
	User    codec.JSONText `json:"user,omitempty"`
	TokenID codec.JSONText `json:"jti,omitempty"`
	Issued  int64          `json:"iat,omitempty"`
	Until   int64          `json:"until,omitempty"`
	Reason  codec.JSONText `json:"reason,omitempty"`
}

// Order returns an order in the form that Redis has.
func Order(o *rooms.Order) string {
	form, err := json.Marshal(orderForm{
		codec.JSONText(o.User), codec.JSONText(o.TokenID), Seconds(o.Issued), Seconds(o.Until), codec.JSONText(o.Reason),
	})
	if err != nil {
		panic(err) // texts and numbers
	}
	return string(form)
}

// maxAhead is how far in the future an order may have been given.
const maxAhead = 48 * time.Hour

// ParseOrder parses an order as of now. It refuses one with unknown members,
// which may restrict whom it applies to.
func ParseOrder(form []byte, now time.Time) (*rooms.Order, error) {
	var f orderForm
	d := json.NewDecoder(bytes.NewReader(form))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return nil, fmt.Errorf("order %.80q: %w", form, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("order %.80q: more behind it", form)
	}
	o := &rooms.Order{
		User: string(f.User), TokenID: string(f.TokenID), Issued: issued(f.Issued, now), Until: instant(f.Until), Reason: string(f.Reason),
	}
	return o, o.Check()
}

// Seconds returns a time as Unix seconds, 0 for the zero time.
func Seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

func instant(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}

// issued returns the latest time of issue of the tokens that an order applies
// to. Orders that earlier versions have left in Redis may have the time in
// milliseconds, which would refuse a user's tokens for ever.
func issued(seconds int64, now time.Time) time.Time {
	t := instant(seconds)
	if t.IsZero() || seconds <= now.Add(maxAhead).Unix() {
		return t
	}
	if t, ok := rooms.PlausibleUnix(float64(seconds), now); ok {
		return t
	}
	return now
}
