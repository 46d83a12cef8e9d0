package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/internal/testkit/brokertest"
	"github.com/hometrip/gateway/internal/testkit/redistest"
)

// services are what a gateway in production has beside it: Redis, behind a
// proxy that can be cut, RabbitMQ, and the application that ROOM_POLICY=webhook
// asks. They are started once.
type services struct {
	redis  *redistest.Server
	proxy  *testkit.Proxy
	broker *brokertest.Broker
	app    *httptest.Server
}

// appDelay is how long the application takes about slow rooms: longer than
// ROOM_AUTH_TIMEOUT.
const appDelay = 3 * time.Second

func startServices() (v *services, err error) {
	v = &services{app: httptest.NewServer(http.HandlerFunc(application))}
	if v.redis, err = redistest.Start(nil); err == nil {
		if v.proxy, err = testkit.NewProxy(v.redis.Addr); err == nil {
			v.broker, err = brokertest.Start()
		}
	}
	if err != nil {
		v.close()
		return nil, err
	}
	return v, nil
}

// application fails in every way for rooms that ask for it, and says yes
// otherwise.
func application(w http.ResponseWriter, r *http.Request) {
	var asked struct{ RoomID string }
	_ = json.NewDecoder(r.Body).Decode(&asked)
	switch kind, _, _ := strings.Cut(asked.RoomID, " "); kind {
	case "odd":
		w.WriteHeader(http.StatusBadRequest)
	case "broken":
		w.WriteHeader(http.StatusInternalServerError)
	case "slow":
		select {
		case <-time.After(appDelay):
		case <-r.Context().Done():
		}
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

func (v *services) close() {
	v.app.Close()
	if v.proxy != nil {
		v.proxy.Close()
	}
	if v.redis != nil {
		v.redis.Close()
	}
	if v.broker != nil {
		v.broker.Close()
	}
}

// env has a gateway use them.
func (v *services) env() []string {
	host, port, _ := net.SplitHostPort(v.proxy.Addr)
	return []string{
		"USE_REDIS=true", "REDIS_HOST=" + host, "REDIS_PORT=" + port,
		"USE_RABBITMQ=true", "RABBITMQ_URL=" + v.broker.URL,
		"ROOM_AUTH_URL=" + v.app.URL,
	}
}

// seat empties Redis and fills the sets that say who may be in the rooms of two
// good clients.
func (v *services) seat(clients int) error {
	if _, err := v.redis.CLI("FLUSHALL"); err != nil {
		return err
	}
	script := `for i=0,ARGV[1]/2-1 do redis.call('SADD','ws:acl:conversation:bench-'..i,'u'..(2*i),'u'..(2*i+1)) end`
	_, err := v.redis.CLI("-n", "1", "EVAL", script, "0", fmt.Sprint(clients))
	return err
}

// redisMemory is what Redis holds, in bytes.
func (v *services) redisMemory() (n float64) {
	text, err := v.redis.CLI("INFO", "memory")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(text, "used_memory:")
	_, _ = fmt.Sscan(rest, &n)
	return n
}
