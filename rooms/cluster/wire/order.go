package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/hometrip/gateway/rooms"
)

// An orderForm is an order in Redis, as JSON. Times are Unix seconds, of which
// tokens have no parts.
type orderForm struct {
	User    string `json:"user,omitempty"`
	TokenID string `json:"jti,omitempty"`
	Issued  int64  `json:"iat,omitempty"`
	Until   int64  `json:"until,omitempty"`
	Reason  string `json:"reason,omitempty"`
}

// Order returns an order as Redis has it.
func Order(o *rooms.Order) string {
	form, err := json.Marshal(orderForm{o.User, o.TokenID, Seconds(o.Issued), Seconds(o.Until), o.Reason})
	if err != nil {
		panic(err) // texts and numbers
	}
	return string(form)
}

// ParseOrder reads an order. One with members that it does not know is refused:
// they may be what keeps it from meaning everybody.
func ParseOrder(form []byte) (*rooms.Order, error) {
	var f orderForm
	d := json.NewDecoder(bytes.NewReader(form))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return nil, fmt.Errorf("order %.80q: %w", form, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("order %.80q: more behind it", form)
	}
	o := &rooms.Order{User: f.User, TokenID: f.TokenID, Issued: instant(f.Issued), Until: instant(f.Until), Reason: f.Reason}
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
