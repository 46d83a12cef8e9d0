package routes

import (
	"fmt"
)

// A Reason says why an event can never be delivered. Its text is the value of
// the header in dead letters and of the label in metrics.
type Reason uint8

// The reasons.
const (
	ReasonNotJSON Reason = iota
	ReasonNotObject
	ReasonNoRoom
	ReasonBadID
	ReasonTooManyRooms
	ReasonTooLarge
	ReasonNoRoute
	ReasonUndecodable

	NumReasons // how many reasons there are
)

// Reasons lists every reason.
func Reasons() (all []Reason) {
	for r := range NumReasons {
		all = append(all, r)
	}
	return all
}

// String implements fmt.Stringer.
func (r Reason) String() string {
	switch r {
	case ReasonNotJSON:
		return "not_json"
	case ReasonNotObject:
		return "not_an_object"
	case ReasonNoRoom:
		return "no_room"
	case ReasonBadID:
		return "bad_id"
	case ReasonTooManyRooms:
		return "too_many_rooms"
	case ReasonTooLarge:
		return "too_large"
	case ReasonNoRoute:
		return "no_route"
	case ReasonUndecodable:
		return "undecodable"
	}
	return fmt.Sprintf("reason_%d", uint8(r))
}

// Poison is the error of an event that goes to the dead letters.
type Poison struct {
	Reason Reason
	Detail string
}

// Error implements error.
func (p *Poison) Error() string { return p.Reason.String() + ": " + p.Detail }

func poison(r Reason, format string, args ...any) error {
	return &Poison{Reason: r, Detail: fmt.Sprintf(format, args...)}
}

// clip shortens text that an error quotes.
func clip(b []byte) string {
	const most = 40 // bytes
	if len(b) > most {
		return string(b[:most]) + "…"
	}
	return string(b)
}
