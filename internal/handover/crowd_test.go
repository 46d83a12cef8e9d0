package handover

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/hometrip/gateway/internal/sioclient"
)

// member is a client in the room of the stream. It requires each event of the stream
// once and in order, and all events of the other members. It is safe for concurrent
// use.
type member struct {
	s    *seededRun
	c    *sioclient.Client
	name string

	mu     sync.Mutex     // guards the following
	last   int            // number of the last event of the stream
	typed  map[string]int // typing events received, by sender
	acked  int            // number of its own events that were acknowledged
	talks  context.CancelFunc
	silent chan struct{} // closed when it has stopped emitting
}

// connectMembers connects members until there are six, on all transports.
func (s *seededRun) connectMembers() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), long)
	defer cancel()
	for i := len(s.crowd); i < 6; i++ {
		s.users++
		m := &member{s: s, name: fmt.Sprint("member", s.users), typed: make(map[string]int)}
		c, err := sioclient.Connect(ctx, s.now.URL, sioclient.Options{Token: s.token(m.name), Polling: i%2 == 1})
		if err == nil && i == 3 {
			err = c.Upgrade(ctx)
		}
		if err == nil {
			_, err = c.EmitAck(ctx, "join_room", crowdRoom)
		}
		if err != nil {
			s.t.Fatalf("%s: %v", m.name, err)
		}
		m.c = c
		s.t.Cleanup(c.Kill)
		s.crowd = append(s.crowd, m)
		s.busy.Go(m.listen)
	}
}

var crowdRoom = map[string]string{"roomType": "conversation", "roomId": "crowd"}

func (m *member) listen() {
	for {
		e, err := m.c.Next(context.Background())
		if err != nil {
			return // checkMembers checks whether it may have ended
		}
		var body struct{ Message, UserID string }
		if err := e.Decode(&body); err != nil {
			m.s.t.Errorf("%s: %s: %v", m.name, e.Name, err)
			return
		}
		m.mu.Lock()
		switch e.Name {
		case "new_message":
			n, _ := strconv.Atoi(body.Message)
			m.message(n)
		case "user_typing":
			m.typed[body.UserID]++
		}
		m.mu.Unlock()
	}
}

// message checks an event of the stream. m.mu must be held.
func (m *member) message(n int) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	for missed := m.last + 1; m.last != 0 && missed < n; missed++ {
		if m.s.failed[missed] == nil {
			m.s.t.Errorf("%s: event %d after %d", m.name, n, m.last)
			break
		}
	}
	if n <= m.last {
		m.s.t.Errorf("%s: event %d after %d", m.name, n, m.last)
	}
	m.last = n
}

// talk emits typing events until talks is canceled.
func (m *member) talk() {
	ctx, cancel := context.WithCancel(context.Background())
	m.talks, m.silent = cancel, make(chan struct{})
	go func() {
		defer close(m.silent)
		for ctx.Err() == nil {
			answered, cancel := context.WithTimeout(context.Background(), long)
			answer, err := m.c.EmitAck(answered, "typing", crowdRoom)
			cancel()
			if err != nil {
				return // see listen
			}
			if string(answer) != `{"success":true}` {
				m.s.t.Errorf("%s: typing was answered %s", m.name, answer)
				return
			}
			m.acked++
			time.Sleep(5 * time.Millisecond)
		}
	}()
}

// checkMembers checks that every member is connected and has received all events of the
// stream and of the other members.
func (s *seededRun) checkMembers() {
	s.t.Helper()
	s.state = "crowd"
	for _, m := range s.crowd {
		m.talks()
	}
	for _, m := range s.crowd {
		<-m.silent
	}
	s.mu.Lock()
	sent := s.sent
	s.mu.Unlock()
	for _, m := range s.crowd {
		s.await(m.name+" to receive all events", func() bool {
			if err := m.c.Err(); err != nil {
				s.t.Fatalf("%s: %v", m.name, err)
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			for _, other := range s.crowd {
				if other != m && m.typed[other.name] < other.acked {
					return false
				}
			}
			return m.last >= sent
		})
		m.mu.Lock()
		for _, other := range s.crowd {
			if n := m.typed[other.name]; other != m && n != other.acked {
				s.t.Errorf("%s received %[3]d typing events of %[2]s, who got %[4]d acknowledgements", m.name, other.name, n, other.acked)
			}
		}
		m.mu.Unlock()
	}
}
