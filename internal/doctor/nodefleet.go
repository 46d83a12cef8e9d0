package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/rueidis"
)

// requestSuffix is the end of the channel on which members of a fleet on
// Node.js send each other requests (@socket.io/redis-adapter, the classic one);
// before it is the key.
const requestSuffix = "-request#/#"

// NodeServers searches Redis for fleets of Socket.IO servers on Node.js. key is
// SOCKETIO_ADAPTER_KEY, "" if the gateway is a member of none.
func NodeServers(ctx context.Context, open func() (rueidis.Client, error), key string) []Finding {
	client, err := open()
	if err != nil {
		return nil // Redis tells it
	}
	defer client.Close()
	r := redis{client: client}
	return []Finding{r.adapters(ctx, key), r.otherAdapters(ctx, key)}
}

// adapters searches for members of classic adapters.
func (r redis) adapters(ctx context.Context, key string) Finding {
	const check = "classic adapter"
	channels, err := r.client.Do(ctx, r.client.B().PubsubChannels().Pattern("*"+requestSuffix).Build()).AsStrSlice()
	if err != nil {
		return notAllowed(check, "pubsub channels", err)
	}
	var keys []string
	for _, channel := range channels {
		keys = append(keys, strings.TrimSuffix(channel, requestSuffix))
	}
	slices.Sort(keys)
	switch {
	case key == "" && len(keys) == 0:
		return ok(check, "no Node servers")
	case key == "":
		return bad(Warn, check, fmt.Sprintf("Node servers share rooms under the key %q", keys),
			"their clients and this gateway's to hear each other",
			"SOCKETIO_ADAPTER_KEY="+keys[0])
	case len(keys) == 0:
		return ok(check, "no Node server uses the key %q yet", key)
	case !slices.Contains(keys, key):
		return bad(Warn, check, fmt.Sprintf("Node servers under the key %q, none under %q", keys, key),
			"the key of their adapter", "SOCKETIO_ADAPTER_KEY="+keys[0])
	}
	members, err := r.client.Do(ctx, r.client.B().PubsubNumsub().Channel(key+requestSuffix).Build()).ToArray()
	if err != nil || len(members) < 2 {
		return notAllowed(check, "pubsub numsub", err)
	}
	n, _ := members[1].ToInt64()
	return ok(check, "%d members under the key %q, gateways included", n, key)
}

// otherAdapters searches for adapters with another protocol: with them, clients
// on both sides do not receive each other's events.
func (r redis) otherAdapters(ctx context.Context, key string) Finding {
	const check = "other adapters"
	if key == "" {
		key = "socket.io"
	}
	kind, err := r.client.Do(ctx, r.client.B().Type().Key(key).Build()).ToString()
	if err != nil {
		return notAllowed(check, "type", err)
	}
	if kind == "stream" {
		return bad(Warn, check, "a stream of the key "+key+", as @socket.io/redis-streams-adapter writes it",
			"the classic adapter alone: the two use the same channels for different messages, and classic servers end on those of the other",
			"createAdapter of @socket.io/redis-adapter on all Node servers, or another key for one of the two")
	}
	sharded, err := r.client.Do(ctx, r.client.B().Arbitrary("PUBSUB", "SHARDCHANNELS", key+"#/#*").Build()).AsStrSlice()
	if err == nil && len(sharded) > 0 {
		return bad(Warn, check, fmt.Sprintf("%d channels of createShardedAdapter", len(sharded)),
			"createAdapter: the sharded one is not supported", "createAdapter of @socket.io/redis-adapter on all Node servers")
	}
	return ok(check, "none")
}
