package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

const (
	dialTimeout      = 2 * time.Second
	topologyInterval = 5 * time.Second // between two looks at Sentinel or Redis Cluster

	bufferSize = 64 << 10 // bytes, for reading and for writing
	ringScale  = 10       // 1,024 pipelined calls
)

// A Server is how to reach Redis.
type Server struct {
	Addresses []string // host:port, of one server, of Sentinels or of a Redis Cluster; or a socket's path
	Unix      bool     // the address is a socket's path
	Username  string   // "" for the default user
	Password  string
	TLS       *tls.Config // nil: none

	MasterSet        string // not "": the addresses are those of Sentinels
	SentinelUsername string
	SentinelPassword string

	AnswerTimeout time.Duration // it may owe an answer before its connection counts as dead; 5 s
}

// ParseURL reads an address of Redis and the number of its database, -1 when
// it has none:
//
//	redis://user:password@host:port/db?addr=host2:port2&addr=…
//	rediss://…                                               with TLS
//	redis://user:password@sentinel:port?addr=…&master_set=name&sentinel_password=…
//	unix://user:password@/path/to/redis.sock?db=…
func ParseURL(text string) (s Server, db int, err error) {
	u, err := url.Parse(text)
	if err != nil {
		return s, 0, errors.New("redis: not a URL") // its error quotes the password
	}
	u.Path = strings.TrimSuffix(u.Path, "/") // or it would be an empty number
	option, err := rueidis.ParseURL(u.String())
	if err != nil {
		return s, 0, err
	}
	query := u.Query()
	db = option.SelectDB
	if !query.Has("db") && (u.Scheme == "unix" || len(u.Path) < 2) {
		db = -1
	}
	return Server{
		Addresses: option.InitAddress, Unix: u.Scheme == "unix",
		Username: option.Username, Password: option.Password, TLS: option.TLSConfig,
		MasterSet:        option.Sentinel.MasterSet,
		SentinelUsername: query.Get("sentinel_username"),
		SentinelPassword: query.Get("sentinel_password"),
	}, db, nil
}

// option returns the options of both clients. Retrying is left to the callers,
// who know which commands may be late. An idle connection is pinged five times
// in the time that a reply may take.
func (s Server) option() rueidis.ClientOption {
	orDefault(&s.AnswerTimeout, defaultAnswer)
	o := rueidis.ClientOption{
		InitAddress: s.Addresses, Username: s.Username, Password: s.Password, TLSConfig: s.TLS,
		ClientName:         "websocket-gateway",
		ClientSetInfo:      rueidis.DisableClientSetInfo,
		Dialer:             net.Dialer{Timeout: min(dialTimeout, s.AnswerTimeout), KeepAlive: s.AnswerTimeout / 5},
		ConnWriteTimeout:   s.AnswerTimeout,
		PipelineMultiplex:  -1, // one connection: it puts invalidations and replies in order
		RingScaleEachConn:  ringScale,
		ReadBufferEachConn: bufferSize, WriteBufferEachConn: bufferSize,
		BlockingPipeline: 1 << 30, // never on another connection
		DisableRetry:     true,
	}
	if s.Unix {
		o.DialCtxFn = func(ctx context.Context, path string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
			return d.DialContext(ctx, "unix", path)
		}
	}
	if s.MasterSet != "" {
		o.Sentinel = rueidis.SentinelOption{
			MasterSet: s.MasterSet, Username: s.SentinelUsername, Password: s.SentinelPassword,
			TLSConfig: s.TLS, Dialer: o.Dialer, TopologyRefreshInterval: topologyInterval,
		}
	}
	o.ClusterOption.ShardsRefreshInterval = topologyInterval
	return o
}

// Open connects to a database. invalidated is called when a key changes that
// was read through the client-side cache, on the goroutine that reads the
// connection; nil stands for all keys. It may be nil.
func (s Server) Open(db int, invalidated func([]rueidis.RedisMessage)) (rueidis.Client, error) {
	option := s.option()
	option.OnInvalidations = invalidated
	return open(option, db)
}

// openSerial connects to a database for one caller at a time, who calls at
// least about every second. rueidis then writes and reads on the caller's
// goroutine, and not on two of its own that have to be woken. Measured: a chat
// event between two nodes costs 28 us of CPU instead of 34 when saturated, and
// 175 instead of 183 at 2,000 a second. A ping of rueidis at the same time as a
// call would end that, so there are none.
func (s Server) openSerial(db int) (rueidis.Client, error) {
	option := s.option()
	option.DisableCache = true
	option.Dialer.KeepAlive = -1
	return open(option, db)
}

// open connects. Redis Cluster has only one database and refuses SELECT, so it
// first finds out which of the two it is.
func open(o rueidis.ClientOption, db int) (rueidis.Client, error) {
	o.SelectDB = db
	if o.Sentinel.MasterSet != "" {
		return newClient(o)
	}
	plain := o
	plain.SelectDB, plain.OnInvalidations = 0, nil
	probe, err := newClient(plain)
	if err != nil {
		return nil, err
	}
	sharded := probe.Mode() == rueidis.ClientModeCluster
	probe.Close()
	if sharded {
		o.SelectDB = 0
	} else {
		o.ForceSingleClient = true
	}
	return newClient(o)
}

func newClient(o rueidis.ClientOption) (rueidis.Client, error) {
	client, err := rueidis.NewClient(o)
	if err != nil {
		return nil, fmt.Errorf("connect to redis at %v: %w", o.InitAddress, err)
	}
	return client, nil
}
