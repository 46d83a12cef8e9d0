package doctor

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

const (
	pings        = 5
	slowPing     = 5 * time.Millisecond // what clients say to other nodes waits for it
	probeTTL     = time.Minute          // of what is written for trying
	minTableKeys = 1_000_000            // Redis' default: rooms that all nodes together keep in mind
)

// Redis checks a Redis server to which open connects. Keys begin with prefix.
// log: the log of the services' events is there.
func Redis(ctx context.Context, open func() (rueidis.Client, error), prefix string, log, production bool) []Finding {
	client, err := open()
	if err != nil {
		return []Finding{bad(severe(production), "connection", err.Error(), "an answer", "check REDIS_HOST or REDIS_URL, and the password")}
	}
	defer client.Close()
	r := redis{client, prefix + "doctor:" + rand.Text(), log}
	return []Finding{r.latency(ctx), r.version(ctx), r.permissions(ctx), r.eviction(ctx), r.tracking(ctx), r.clock(ctx)}
}

// A redis is a connection to be checked, and a key that nothing else uses.
type redis struct {
	client rueidis.Client
	key    string
	log    bool // the log of the services' events is there
}

func (r redis) latency(ctx context.Context) Finding {
	const check = "PING"
	var took []time.Duration
	for range pings {
		start := time.Now()
		if err := r.client.Do(ctx, r.client.B().Ping().Build()).Error(); err != nil {
			return bad(Fail, check, err.Error(), "PONG", "check the server, and the user's rights")
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	median := took[pings/2].Round(10 * time.Microsecond)
	if median > slowPing {
		return bad(Warn, check, median.String(), slowPing.String()+" at most: messages between nodes wait for it", "move Redis closer, or check its SLOWLOG")
	}
	return ok(check, "%v", median)
}

func (r redis) version(ctx context.Context) Finding {
	const check = "version"
	info, err := r.client.Do(ctx, r.client.B().Info().Section("server").Build()).ToString()
	if err != nil {
		return notAllowed(check, "info", err)
	}
	_, rest, _ := strings.Cut(info, "redis_version:")
	text, _, _ := strings.Cut(rest, "\r\n")
	return version(check, text, minRedisText, "upgrade it: nodes read the directory through client-side caching")
}

// notAllowed is the finding for a command that only helps to check, and that a
// user with the least rights may not use.
func notAllowed(check, command string, err error) Finding {
	return skip(check, "%s: %v", command, err)
}

// permissions executes the commands that a gateway uses, on a key that expires
// by itself.
func (r redis) permissions(ctx context.Context) Finding {
	const check = "permissions"
	b, ttl := r.client.B, int64(probeTTL.Seconds())
	set, channel := r.key+":set", r.key+":channel"
	steps := []step{
		{"set", func() error { return r.do(ctx, b().Set().Key(r.key).Value("1").ExSeconds(ttl).Build()) }},
		{"exists", func() error { return r.do(ctx, b().Exists().Key(r.key).Build()) }},
		{"mget", func() error { return r.do(ctx, b().Mget().Key(r.key).Build()) }},
		{"scan", func() error { return r.do(ctx, b().Scan().Cursor(0).Match(r.key).Build()) }},
		{"sadd", func() error { return r.do(ctx, b().Sadd().Key(set).Member("1").Build()) }},
		{"smembers with client tracking", func() error { return r.client.DoCache(ctx, b().Smembers().Key(set).Cache(), probeTTL).Error() }},
		{"srem", func() error { return r.do(ctx, b().Srem().Key(set).Member("1").Build()) }},
		{"del", func() error { return r.do(ctx, b().Del().Key(r.key).Build()) }},
		{"publish", func() error { return r.do(ctx, b().Publish().Channel(channel).Message("1").Build()) }},
		{"subscribe", func() error { return r.subscribe(ctx, channel) }},
	}
	if r.log {
		steps = append(steps, r.logSteps(ctx)...)
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			return bad(Fail, check, fmt.Sprintf("%s: %v", step.command, err), "the commands of deploy/redis.acl, on keys and channels with KEY_PREFIX",
				"ACL SETUSER as it stands there")
		}
	}
	return ok(check, "reads, writes, tracks, publishes and subscribes")
}

// A step is a command to try.
type step struct {
	command string
	do      func() error
}

// logSteps are the commands that a node uses for the log of the services'
// events.
func (r redis) logSteps(ctx context.Context) []step {
	b, stream := r.client.B, r.key+":stream"
	const add = "redis.call('TIME') redis.call('XADD', KEYS[1], '1-1', 'a', 'b') return redis.call('XINFO', 'STREAM', KEYS[1])"
	return []step{
		{"eval with time, xadd and xinfo", func() error { return r.do(ctx, b().Eval().Script(add).Numkeys(1).Key(stream).Build()) }},
		{"xread", func() error { return r.do(ctx, b().Xread().Streams().Key(stream).Id("0").Build()) }},
		{"xrange", func() error { return r.do(ctx, b().Xrange().Key(stream).Start("-").End("+").Build()) }},
		{"xlen", func() error { return r.do(ctx, b().Xlen().Key(stream).Build()) }},
		{"memory usage", func() error { return r.do(ctx, b().MemoryUsage().Key(stream).Build()) }},
		{"xtrim", func() error { return r.do(ctx, b().Xtrim().Key(stream).Maxlen().Threshold("1").Build()) }},
		{"del", func() error { return r.do(ctx, b().Del().Key(stream).Build()) }},
	}
}

func (r redis) do(ctx context.Context, command rueidis.Completed) error {
	return r.client.Do(ctx, command).Error()
}

func (r redis) subscribe(ctx context.Context, channel string) error {
	conn, release := r.client.Dedicate()
	defer release()
	conn.SetPubSubHooks(rueidis.PubSubHooks{OnSubscription: func(rueidis.PubSubSubscription) {}})
	return conn.Do(ctx, r.client.B().Subscribe().Channel(channel).Build()).Error()
}

// eviction checks that Redis does not evict the directory. It has keys with and
// without a time to live, so any policy that evicts can affect it.
func (r redis) eviction(ctx context.Context) Finding {
	const check = "maxmemory-policy"
	config, err := r.config(ctx, "maxmemory*")
	if err != nil {
		return notAllowed(check, "config get", err)
	}
	policy, limit := config["maxmemory-policy"], config["maxmemory"]
	switch {
	case policy == "noeviction":
		return ok(check, "%s", policy)
	case limit == "0":
		return ok(check, "%s, without maxmemory", policy)
	}
	return bad(Fail, check, policy+" at "+limit+" bytes", "noeviction: an evicted room gets no messages of other nodes",
		"CONFIG SET maxmemory-policy noeviction, or a Redis of its own")
}

// tracking checks the size of the table of keys that clients cache: beyond it,
// Redis invalidates them, and clients read them again.
func (r redis) tracking(ctx context.Context) Finding {
	const check = "tracking-table-max-keys"
	config, err := r.config(ctx, check)
	if err != nil {
		return notAllowed(check, "config get", err)
	}
	n, err := strconv.Atoi(config[check])
	if err != nil {
		return skip(check, "unknown")
	}
	if n != 0 && n < minTableKeys {
		return bad(Warn, check, strconv.Itoa(n), fmt.Sprintf("%d or more, or 0: one for each room that has members", minTableKeys),
			fmt.Sprintf("CONFIG SET %s %d", check, minTableKeys))
	}
	return ok(check, "%d", n)
}

func (r redis) config(ctx context.Context, pattern string) (map[string]string, error) {
	return r.client.Do(ctx, r.client.B().ConfigGet().Parameter(pattern).Build()).AsStrMap()
}

func (r redis) clock(ctx context.Context) Finding {
	const check = "clock of Redis"
	asked := time.Now()
	answer, err := r.client.Do(ctx, r.client.B().Time().Build()).AsStrSlice()
	if err != nil || len(answer) < 2 {
		return notAllowed(check, "time", err)
	}
	seconds, _ := strconv.ParseInt(answer[0], 10, 64)
	micros, _ := strconv.ParseInt(answer[1], 10, 64)
	return clock(check, time.Unix(seconds, micros*1000), asked, time.Now())
}
