package adapter

import (
	"testing"
	"time"

	"github.com/hometrip/gateway/codec"
)

func TestEventsOfBothSidesArePaired(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	ours := func(c *Comparer, body string) {
		c.Deliver("conversation:1", codec.NewText([]byte(`42["new_message",`+body+`]`)), now)
	}
	theirs := func(c *Comparer, body string) {
		e, err := ParseEmit(encode(`["a",{"type":2,"data":["new_message",` + body + `],"nsp":"/"},{"rooms":["conversation:1"],"except":[]}]`))
		if err != nil {
			t.Fatal(err)
		}
		c.heard(e, now)
	}
	for name, k := range map[string]struct {
		do   func(c *Comparer)
		want Compared
	}{
		"the same, members in another order and at another time": {func(c *Comparer) {
			ours(c, `{"a":1,"b":[{"c":null}],"timestamp":"1"}`)
			theirs(c, `{"timestamp":"2","b":[{"c":null}],"a":1}`)
		}, Compared{Both: 1}},
		"Node is first": {func(c *Comparer) {
			theirs(c, `{"a":1}`)
			ours(c, `{"a":1}`)
		}, Compared{Both: 1}},
		"another body": {func(c *Comparer) {
			theirs(c, `{"a":1}`)
			ours(c, `{"a":2}`)
		}, Compared{NodeOnly: 1, LogOnly: 1}},
		"one came twice there": {func(c *Comparer) {
			theirs(c, `{"a":1}`)
			ours(c, `{"a":1}`)
			theirs(c, `{"a":1}`)
		}, Compared{Both: 1, NodeOnly: 1}},
		"many of the same": {func(c *Comparer) {
			for range 5 {
				ours(c, `{"a":1}`)
			}
			for range 3 {
				theirs(c, `{"a":1}`)
			}
		}, Compared{Both: 3, LogOnly: 2}},
		"too late": {func(c *Comparer) {
			ours(c, `{"a":1}`)
			c.Totals(now.Add(compareTime))
			theirs(c, `{"a":1}`)
		}, Compared{LogOnly: 1, NodeOnly: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			c := NewComparer()
			k.do(c)
			if got := c.Totals(now.Add(2 * compareTime)); got != k.want {
				t.Errorf("got %+v, want %+v", got, k.want)
			}
			if len(c.unpaired) != 0 || len(c.queue) != 0 {
				t.Errorf("%d keys and %d events are kept", len(c.unpaired), len(c.queue))
			}
		})
	}
	c := NewComparer()
	for i := range maxUnpaired + 10 {
		ours(c, `{"a":`+time.Duration(i).String()[:1]+`}`)
	}
	if len(c.queue) > maxUnpaired+1 {
		t.Errorf("%d events wait", len(c.queue))
	}
}
