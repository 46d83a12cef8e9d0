package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hometrip/gateway/bench/load"
	"github.com/hometrip/gateway/bench/process"
	"github.com/hometrip/gateway/internal/auth"
	"github.com/hometrip/gateway/internal/sioclient"
)

const (
	returners      = 2000 // clients
	returnersFull  = 10_000
	returnRoom     = 10   // members of a room
	returnAtOnce   = 64   // connections that are being made
	recoveryRoom   = 1000 // members of the room that gets events
	recoveryEvents = 100
	recoveryLimit  = time.Minute
)

// recoveryScenario says what recovery costs, as CPU time of the gateway and its
// live heap: clients that ask beside clients that do not. The clients run in
// this process, so their own speed is of no account.
func recoveryScenario(t *trial) error {
	n := returners
	if t.full {
		n = returnersFull
	}
	for _, asks := range []bool{false, true} {
		if err := t.comings(n, asks); err != nil {
			return err
		}
		t.stopAll()
		if err := t.numberedFanout(asks); err != nil {
			return err
		}
		t.stopAll()
	}
	return nil
}

// asking names a case.
func asking(asks bool) string {
	if asks {
		return "asked"
	}
	return "did not ask"
}

// comings has clients connect and join rooms of ten, lose their connections, and
// come back: who did not ask joins anew.
func (t *trial) comings(n int, asks bool) error {
	s, err := t.serve(quietPing, "EVENT_LOG=memory")
	if err != nil {
		return err
	}
	warm := newCrowd(s, n, false, returnRoom)
	defer warm.leave()
	if err := t.must(warm.arrive()); err != nil {
		return err
	}
	warm.leave()
	if err := warm.await("sockets", 0); err != nil {
		return err
	}
	empty, err := t.footprint(s)
	if err != nil {
		return err
	}
	crowd := newCrowd(s, n, asks, returnRoom)
	defer crowd.leave()
	first, err := t.measure(crowd.arrive)
	if err != nil {
		return err
	}
	full, err := t.footprint(s)
	if err != nil {
		return err
	}
	t.record("connect, "+asking(asks), first, map[string]float64{"heap_bytes_per_conn": (full.heap - empty.heap) / float64(n)})
	crowd.leave()
	if err := crowd.await("sockets", 0); err != nil {
		return err
	}
	back, err := t.measure(crowd.arrive)
	if err != nil {
		return err
	}
	t.record("back, "+asking(asks), back, nil)
	return nil
}

// numberedFanout publishes events to one room, one after the other.
func (t *trial) numberedFanout(asks bool) error {
	s, err := t.serve(quietPing, "EVENT_LOG=memory")
	if err != nil {
		return err
	}
	crowd := newCrowd(s, recoveryRoom, asks, recoveryRoom)
	defer crowd.leave()
	if err := t.must(crowd.arrive()); err != nil {
		return err
	}
	r, err := t.measure(crowd.publish)
	if err != nil {
		return err
	}
	t.record("events, "+asking(asks), r, nil)
	return nil
}

// A recoveryCrowd is clients of one gateway.
type recoveryCrowd struct {
	server *process.Server
	asks   bool
	room   int // members of each
	list   []returner
	got    atomic.Int64 // events of services, all together
}

type returner struct {
	pid  string
	conn *sioclient.Client
}

func newCrowd(s *process.Server, n int, asks bool, room int) *recoveryCrowd {
	return &recoveryCrowd{server: s, asks: asks, room: room, list: make([]returner, n)}
}

// arrive has all clients connect, and join unless they were recovered.
func (c *recoveryCrowd) arrive() (*load.Result, error) {
	began := time.Now()
	var all sync.WaitGroup
	errs := make([]error, len(c.list))
	slots := make(chan struct{}, returnAtOnce)
	for i := range c.list {
		slots <- struct{}{}
		all.Go(func() {
			errs[i] = c.one(i)
			<-slots
		})
	}
	all.Wait()
	r := &load.Result{Elapsed: time.Since(began), Units: uint64(len(c.list))}
	for _, err := range errs {
		if err != nil {
			r.Failures++
			r.Problems = append(r.Problems[:min(len(r.Problems), 5)], err.Error())
		}
	}
	return r, nil
}

func (c *recoveryCrowd) one(i int) error {
	ctx, cancel := context.WithTimeout(context.Background(), recoveryLimit)
	defer cancel()
	token, err := auth.Mint(jwtSecret, auth.Grant{UserID: "u" + strconv.Itoa(i), Issued: time.Now(), TTL: time.Hour})
	if err != nil {
		return err
	}
	payload := map[string]any{"token": token}
	one := &c.list[i]
	if c.asks {
		payload["recovery"] = true
		if one.pid != "" {
			payload["pid"] = one.pid
		}
	}
	if one.conn, err = sioclient.Connect(ctx, "http://"+c.server.Addr, sioclient.Options{Auth: payload}); err != nil {
		return err
	}
	before := one.pid
	one.pid = one.conn.PID()
	go c.listen(one.conn)
	switch {
	case before != "" && before == one.pid:
		return nil
	case before != "":
		return errors.New("a client was not recovered")
	}
	answer, err := one.conn.EmitAck(ctx, "join_room", map[string]string{"roomType": "conversation", "roomId": strconv.Itoa(i / c.room)})
	if err == nil && !strings.Contains(string(answer), `"success":true`) {
		err = fmt.Errorf("join: %s", answer)
	}
	return err
}

func (c *recoveryCrowd) listen(conn *sioclient.Client) {
	for {
		e, err := conn.Next(context.Background())
		if err != nil {
			return
		}
		if e.Name == "new_message" {
			c.got.Add(1)
		}
	}
}

// leave ends all connections.
func (c *recoveryCrowd) leave() {
	for i := range c.list {
		if conn := c.list[i].conn; conn != nil {
			conn.Kill()
			c.list[i].conn = nil
		}
	}
}

// await waits until one of the gateway's figures has a value.
func (c *recoveryCrowd) await(figure string, value float64) error {
	for until := time.Now().Add(recoveryLimit); ; time.Sleep(50 * time.Millisecond) {
		m, err := process.Scrape(http.DefaultClient, "http://"+c.server.Addr+"/metrics")
		if err == nil && m[figure] == value {
			return nil
		}
		if time.Now().After(until) {
			return errors.Join(fmt.Errorf("%s is %v, want %v", figure, m[figure], value), err)
		}
	}
}

// publish publishes the events, each when the one before has come to everybody.
func (c *recoveryCrowd) publish() (*load.Result, error) {
	r := &load.Result{Events: recoveryEvents, Units: uint64(recoveryEvents * len(c.list))}
	began := time.Now()
	for n := range recoveryEvents {
		body := strings.NewReader(fmt.Sprintf(`{"conversationId":"0","message":"%d"}`, n))
		req, err := http.NewRequest(http.MethodPost, "http://"+c.server.Addr+"/events/message.sent", body)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+publishToken)
		answer, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, err
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusAccepted {
			return nil, fmt.Errorf("POST /events: %s", answer.Status)
		}
		want := int64((n + 1) * len(c.list))
		for until := time.Now().Add(recoveryLimit); c.got.Load() < want; time.Sleep(time.Millisecond) {
			if time.Now().After(until) {
				r.Lost = uint64(want - c.got.Load())
				return r, nil
			}
		}
	}
	r.Elapsed = time.Since(began)
	return r, nil
}
