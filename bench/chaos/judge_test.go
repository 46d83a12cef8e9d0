package main

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/sioclient"
)

// trial has ten events, one a second from 98 s on, a client on gateway 1 that got all
// of them, and a round of faults from 100 s to 110 s.
type trial struct {
	events []event
	client *client
	stay   *stay
	round  *round
}

const second = time.Second

func newTrial() *trial {
	tr := &trial{stay: &stay{node: 1, asked: 10 * second, joined: 11 * second, ended: never}}
	tr.round = &round{began: 100 * second, healed: 105 * second, recovered: 106 * second, seated: 107 * second, over: 110 * second}
	for i := range 10 {
		tr.events = append(tr.events, event{published: time.Duration(98+i) * second, sure: true})
		tr.stay.got = append(tr.stay.got, receipt{i, time.Duration(98+i)*second + second/100})
	}
	tr.client = (&clientPool{}).client(1, 0, 0, -1)
	tr.client.stays = []*stay{tr.stay}
	return tr
}

// fault puts a fault of this kind into the round, on gateway 1 if it is a fault of a
// gateway.
func (tr *trial) fault(name string, to part) {
	for _, k := range kinds {
		if k.name == name && k.to == to {
			h := &fault{faultKind: k, node: 1, began: 100 * second, healed: 105 * second}
			if to.one() {
				h.node = -1
			}
			tr.round.faults = []*fault{h}
		}
	}
}

// lose removes events from those that the client got.
func (tr *trial) lose(numbers ...int) {
	var left []receipt
next:
	for _, r := range tr.stay.got {
		for _, n := range numbers {
			if r.number == n {
				continue next
			}
		}
		left = append(left, r)
	}
	tr.stay.got = left
}

// end ends the client's stay. Events published later are lost until the client has
// joined again, without being recovered.
func (tr *trial) end(at time.Duration, why error) {
	tr.stay.ended, tr.stay.why = at, why
	next := &stay{node: 2, asked: at + second, joined: at + 2*second, ended: never, returned: true, result: "busy"}
	var before []receipt
	for _, r := range tr.stay.got {
		switch published := tr.events[r.number].published; {
		case published < at:
			before = append(before, r)
		case published > next.joined:
			next.got = append(next.got, r)
		}
	}
	tr.stay.got = before
	tr.client.stays = append(tr.client.stays, next)
}

// comeBack ends the client's stay. The client is recovered and gets the missed events
// in its next stay.
func (tr *trial) comeBack(at time.Duration) {
	got := tr.stay.got
	tr.end(at, errors.New("EOF"))
	next := tr.client.stays[1]
	next.recovered, next.joined, next.got = true, next.asked, nil
	for _, r := range got {
		if r.at >= at {
			next.got = append(next.got, receipt{r.number, max(r.at, next.asked)})
		}
	}
}

// judged returns the judge after it has checked the client. A second client that got
// all events shows when they arrived.
func (tr *trial) judged() *judge {
	other := (&clientPool{}).client(1, 1, 0, -1)
	whole := newTrial().stay
	whole.node = 0
	other.stays = []*stay{whole}
	j := newJudge([]*round{tr.round}, [][]event{tr.events}, []*client{tr.client, other})
	j.client(tr.client)
	return j
}

// Events that were lost, repeated or reordered, late events, and disconnects are found
// if no fault of the round explains them.
func TestFaultsWithoutAReasonAreFound(t *testing.T) {
	eof := errors.New("EOF")
	for want, plant := range map[string]func(*trial){
		"":                       func(*trial) {},
		"u0 has not got event 4": func(tr *trial) { tr.lose(4) },
		"u0 has not got event 9": func(tr *trial) { tr.lose(9) },
		"u0 has not got event 5 of room 0, published at":     func(tr *trial) { tr.fault("kill -9 of", aGateway); tr.lose(5) },
		"u0 got event 4 of room 0 again":                     func(tr *trial) { tr.stay.got = append(tr.stay.got, receipt{4, 107 * second}) },
		"u0 got event 3 of room 0 behind younger ones":       func(tr *trial) { g := tr.stay.got; g[3], g[4] = g[4], g[3] },
		"u0 got event 99 of room 0, which was not published": func(tr *trial) { tr.stay.got = append(tr.stay.got, receipt{99, 107 * second}) },
		"u0 was disconnected from gateway 1 at 104.0 s":      func(tr *trial) { tr.end(104*second, eof) },
		"u0: join of room 0: refused":                        func(tr *trial) { tr.client.problem("u0: join of room 0: refused") },
		"u0 got event 4 of room 0 again on gateway 1 at 107.": func(tr *trial) {
			tr.fault("kill -9 of", theRedis)
			tr.stay.got = append(tr.stay.got, receipt{4, 107 * second})
		},
		"u0 got event 4 of room 0 again on gateway 1 at 120.": func(tr *trial) {
			tr.fault("kill -9 of", theBroker)
			tr.stay.got = append(tr.stay.got, receipt{4, 120 * second})
		},
		"u0 was disconnected from gateway 1 at 103.0 s": func(tr *trial) {
			tr.fault("kill -9 of", theRedis)
			tr.end(103*second, eof)
		},
		"u0 has not got event 6 of room 0": func(tr *trial) { // others arrive later over the same connection
			tr.fault("cut of the", redisWay)
			tr.lose(6)
		},
		"u0 got event 4 of room 0, published at 102.0 s, at 105.0 s on gateway 1, 3.0 s more": func(tr *trial) {
			tr.fault("cut of the", redisWay)
			tr.stay.got[4].at = 105 * second
			tr.lose(5, 6, 7, 8, 9)
		},
		"u0 got event 0 of room 0, published at 98.0 s, at 109.0 s on gateway 1, 6.0 s more": func(tr *trial) {
			tr.fault("kill -9 of", theBroker)
			tr.stay.got = []receipt{{0, 109 * second}}
		},
		"u0 was disconnected from gateway 1 at 120.0 s": func(tr *trial) {
			tr.fault("kill -9 of", aGateway)
			tr.end(120*second, eof)
		},
		"u0 was disconnected from gateway 1 at 101.0 s": func(tr *trial) {
			tr.fault("kill -9 of", aGateway)
			tr.end(101*second, sioclient.ErrDisconnected) // socket.io-client does not reconnect after it
		},
		"u0 has not got event 7 of room 0, published at 105.0 s, on gateway 2": func(tr *trial) { // the recovery did not bring it
			tr.fault("kill -9 of", aGateway)
			tr.comeBack(104*second + second/2)
			tr.client.stays[1].got = tr.client.stays[1].got[1:]
		},
		"u0 got event 6 of room 0 again on gateway 2": func(tr *trial) {
			tr.fault("SIGSTOP of", aGateway)
			tr.comeBack(104*second + second/2)
			next := tr.client.stays[1]
			next.got = append([]receipt{{6, next.asked}}, next.got...)
		},
		"u0 has not got event 4 of room 0": func(tr *trial) { // not recovered, but younger events had arrived before
			tr.fault("kill -9 of", aGateway)
			tr.end(104*second+second/2, eof)
			tr.lose(4)
		},
		"u0 was not recovered by gateway 2 at 105.5 s, which has not said why": func(tr *trial) {
			tr.fault("kill -9 of", aGateway)
			tr.end(104*second+second/2, eof)
			tr.client.stays[1].result = unsaid
		},
	} {
		tr := newTrial()
		plant(tr)
		j := tr.judged()
		switch {
		case want == "" && (j.wrongs > 0 || j.once != 10):
			t.Errorf("found %q although nothing is wrong; %d events arrived once, want 10", j.wrong, j.once)
		case want != "" && (j.wrongs == 0 || !strings.HasPrefix(j.wrong[0], want)):
			t.Errorf("found %q, want %s", j.wrong, want)
		}
	}
}

// Lost, late and repeated events that a fault or a failed recovery explains are not
// wrong; they are counted by reason.
func TestReasonsAreCounted(t *testing.T) {
	eof := errors.New("EOF")
	for _, x := range []struct {
		why   reason
		count int
		plant func(*trial)
	}{
		{lost("busy"), 2, func(tr *trial) { tr.fault("kill -9 of", aGateway); tr.end(104*second+second/2, eof) }},
		{lost("busy"), 4, func(tr *trial) {
			tr.fault("kill -9 of", aGateway)
			tr.end(104*second+second/2, eof)
			tr.lose(5, 6)
		}},
		{behind("busy"), 1, func(tr *trial) {
			tr.fault("SIGSTOP of", aGateway)
			tr.end(102*second+second/2, eof)
			next := tr.client.stays[1]
			next.node, next.asked, next.joined = 1, 102*second+second/2, 102*second+second/2
			next.got = []receipt{{4, 104*second + 1}}
			for n := 5; n < 10; n++ {
				next.got = append(next.got, receipt{n, time.Duration(98+n)*second + second/100})
			}
		}},
		{forGood, 3, func(tr *trial) {
			tr.fault("kill -9 of", aGateway)
			tr.end(104*second+second/2, eof)
			tr.client.stays = tr.client.stays[:1]
			tr.client.home, tr.client.nodes = 1, []*node{{}, {}}
			tr.client.nodes[1].gone.Store(true)
		}},
		{unsure, 1, func(tr *trial) { tr.events[4].sure = false; tr.lose(4) }},
	} {
		tr := newTrial()
		x.plant(tr)
		if j := tr.judged(); j.wrongs > 0 || j.reasons[x.why] != x.count {
			t.Errorf("reason %s: %d times, want %d; all reasons: %v; without reason: %q", x.why, j.reasons[x.why], x.count, j.reasons, j.wrong)
		}
	}
}

// Reconnects are counted: all, those within the recovery window, and those after a
// gateway was killed.
func TestReconnectsAreCounted(t *testing.T) {
	for name, x := range map[string]struct {
		plant func(*trial)
		want  returns
	}{
		"recovered": {
			func(tr *trial) { tr.fault("kill -9 of", aGateway); tr.comeBack(104 * second) },
			returns{all: 1, within: tally{1, 1}, dead: tally{1, 1}},
		},
		"not recovered": {
			func(tr *trial) { tr.fault("SIGSTOP of", aGateway); tr.end(104*second, errors.New("EOF")) },
			returns{all: 1, within: tally{1, 0}},
		},
		"too late": {func(tr *trial) {
			tr.fault("kill -9 of", aGateway)
			tr.end(104*second, errors.New("EOF"))
			tr.client.stays[1].asked += recoveryWindow
		}, returns{all: 1}},
		"Redis is killed too": {func(tr *trial) {
			tr.fault("kill -9 of", theRedis)
			redis := tr.round.faults
			tr.fault("kill -9 of", aGateway)
			tr.round.faults = append(tr.round.faults, redis...)
			tr.end(104*second, errors.New("EOF"))
		}, returns{all: 1, within: tally{1, 0}, dead: tally{1, 0}, apart: tally{1, 0}}},
	} {
		tr := newTrial()
		x.plant(tr)
		got := tr.judged().returns
		if got.enough() != (name != "not recovered") {
			t.Errorf("%s: %+v is enough: %v", name, got, got.enough())
		}
		got.results = nil
		if !reflect.DeepEqual(got, x.want) {
			t.Errorf("%s: %+v, want %+v", name, got, x.want)
		}
	}
}
