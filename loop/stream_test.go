package loop

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/rooms"
)

// Numbered broadcasts are sent to rooms while clients connect by polling, join
// and upgrade. Each member must get every number after the ack of its join,
// once and in order.
func TestStreamSurvivesUpgrades(t *testing.T) {
	const clients, atOnce, roomCount = 300, 30, 20
	s := newServer(t, nil)
	st := &stream{t: t, s: s, stop: make(chan struct{})}
	var streaming sync.WaitGroup
	streaming.Go(func() { st.run(roomCount) })

	var wait sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	members := make([]*member, clients)
	for i := range members {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			members[i] = joinAndUpgrade(t, s, i, i%roomCount)
		})
	}
	wait.Wait()
	close(st.stop)
	streaming.Wait()

	seen := 0
	for i, m := range members {
		if m == nil {
			t.Fatalf("client %d has not upgraded", i)
		}
		for m.next <= st.last {
			m.take(m.c.next())
			if t.Failed() {
				return
			}
		}
		seen += m.next - m.first
	}
	stats := s.Stats()
	t.Logf("%d numbers in each room, %d seen, %d upgrades, %d connections moved", st.last, seen, stats.Upgrades, stats.Moved)
	if stats.Upgrades != clients || stats.Sessions != clients || stats.Panics != 0 {
		t.Errorf("stats %+v, want an upgrade and a session for each client, and no panic", stats)
	}
}

// A stream broadcasts the numbers from 1 on to each room.
type stream struct {
	t    *testing.T
	s    *Server
	stop chan struct{}
	last int
}

func (st *stream) run(roomCount int) {
	pace := time.NewTicker(5 * time.Millisecond)
	defer pace.Stop()
	for {
		select {
		case <-st.stop:
			return
		case <-pace.C:
		}
		st.last++
		for room := range roomCount {
			b := rooms.Broadcast{
				Room:    fmt.Sprint("conversation:", room),
				Message: codec.NewText(fmt.Appendf(nil, `42["number",%d]`, st.last)),
			}
			if err := st.s.config.Hub.Wait(st.t.Context()); err != nil {
				st.t.Error(err)
				return
			}
			st.s.config.Hub.Deliver(b)
		}
	}
}

// A member is a client that has joined a room of the stream.
type member struct {
	t           *testing.T
	name        string
	c           socket
	joined      bool
	first, next int // first number, and the next one expected; 0: none has come
}

// take checks one packet.
func (m *member) take(packet string) {
	text, ok := strings.CutPrefix(packet, `42["number",`)
	if !ok {
		switch {
		case strings.HasPrefix(packet, "431["):
			m.joined = true
		case packet == "6", strings.HasPrefix(packet, "40{"), strings.HasPrefix(packet, `42["connected"`),
			strings.HasPrefix(packet, `42["user_joined"`):
		default:
			m.t.Errorf("%s got the unexpected packet %q", m.name, packet)
		}
		return
	}
	n, err := strconv.Atoi(strings.TrimSuffix(text, "]"))
	switch {
	case err != nil || !m.joined:
		m.t.Errorf("%s got %q before its join was acknowledged", m.name, packet)
	case m.next == 0:
		m.first, m.next = n, n
	case n != m.next:
		m.t.Errorf("%s got number %d, want %d", m.name, n, m.next)
	}
	m.next++
}

// joinAndUpgrade connects by polling, joins, probes with a WebSocket while
// polls go on, and upgrades, as a browser does.
func joinAndUpgrade(t *testing.T, s *Server, i, room int) *member {
	m := &member{t: t, name: fmt.Sprint("client ", i)}
	p := openPolling(t, s)
	p.send(fmt.Sprintf(`40{"token":"user%d"}`, i))
	p.send("42" + strings.Replace(joinEvent(fmt.Sprint(room)), "[", "1[", 1))
	for !m.joined {
		m.take(p.next())
	}
	for range i % 4 { // some clients get numbers by polling first
		m.take(p.next())
	}
	var probed atomic.Bool
	var upgrading sync.WaitGroup
	upgrading.Go(func() {
		m.c = p.probe()
		probed.Store(true)
	})
	for !probed.Load() {
		m.take(p.next())
	}
	upgrading.Wait()
	for len(p.pending) > 0 {
		m.take(p.next())
	}
	m.c.text("5")
	return m
}
