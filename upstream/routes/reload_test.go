package routes

import (
	"slices"
	"testing"
)

func tableOf(t *testing.T, text string) *Table {
	t.Helper()
	table, err := ParseTable([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// Routes are replaced at runtime. Changed and new routes must take effect. New keys
// that are not bound in RabbitMQ yet, and removed routes, must be reported as needing
// a restart, and the bound keys stay the same.
func TestReplacedRoutes(t *testing.T) {
	table := tableOf(t, `routes:
  - {event: review.written, rooms: "user:{userId}", emit: review, fields: [text]}
  - {event: review.deleted, rooms: "user:{userId}", emit: gone, fields: [id]}
`)
	start := table.Routes()
	done := table.Replace(tableOf(t, `routes:
  - {event: review.written, rooms: "user:{userId}", emit: new_review, fields: [text]}
  - {event: booking.reminder, rooms: "user:{userId}", emit: reminder, fields: [id]}
  - {event: house.sold, rooms: "user:{userId}", emit: sold, fields: [id]}
`))
	if want := []string{"review.written", "booking.reminder", "house.sold"}; !slices.Equal(done.Changed, want) {
		t.Errorf("changed %q, want %q", done.Changed, want)
	}
	if want := []string{"house.sold", "review.deleted"}; !slices.Equal(done.Later, want) {
		t.Errorf("after a restart %q, want %q", done.Later, want)
	}
	for key, want := range map[string]string{
		"review.written": "new_review", "review.deleted": "gone", "booking.reminder": "reminder", "house.sold": "sold",
		"booking.confirmed": "booking_update", "message.sent": "new_message",
	} {
		if r := table.Find(key); r == nil || r.Emit != want {
			t.Errorf("%s: %+v, want %s", key, r, want)
		}
	}
	if !slices.Equal(table.Routes(), start) {
		t.Error("the keys bound in RabbitMQ have changed")
	}
	again := table.Replace(tableOf(t, `routes:
  - {event: review.written, rooms: "user:{userId}", emit: new_review, fields: [text]}
  - {event: booking.reminder, rooms: "user:{userId}", emit: reminder, fields: [id]}
  - {event: house.sold, rooms: "user:{userId}", emit: sold, fields: [id]}
  - {event: review.deleted, rooms: "user:{userId}", emit: gone, fields: [id]}
`))
	if len(again.Changed) > 0 {
		t.Errorf("replaced by the same routes: changed %q, want none", again.Changed)
	}
}
