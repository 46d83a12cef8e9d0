package main

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hometrip/gateway/internal/authz"
	"github.com/hometrip/gateway/rooms"
)

// limitSettings bound what clients may do, and say who may be where.
var limitSettings = []setting{
	{group: "Limits", name: "MAX_CONNECTIONS", reload: true, def: "0",
		doc:  "Connections at a time; more get 503. 0 is what RLIMIT_NOFILE allows, less a reserve of 512.",
		kind: integer(0, 10_000_000, func(c *Config) *int { return &c.MaxConnections })},
	{name: "MAX_CONNECTIONS_PER_IP", reload: true, def: "0",
		doc:  "Connections, and sessions by long-polling, of one IP address (IPv6: a /64); more get 503. 0 is any number. Behind proxies set TRUSTED_PROXIES too.",
		kind: integer(0, 10_000_000, func(c *Config) *int { return &c.MaxPerIP })},
	{name: "MAX_SOCKETS_PER_USER", reload: true, def: "1000", doc: "Sockets of one user on a node; 0 is any number.",
		kind: integer(0, 10_000_000, func(c *Config) *int { return &c.MaxPerUser })},
	{name: "MAX_HANDSHAKES_PER_SECOND", reload: true, def: "0",
		doc:  "New sessions a second, twice as many at once; more get 503. 0 is 2000 for each event loop, which leaves most of its time to those who are connected.",
		kind: integer(0, 10_000_000, func(c *Config) *int { return &c.MaxHandshakes })},
	{name: "MAX_HANDSHAKES_PER_IP", reload: true, def: "0", doc: "The same for one IP address; 0 is any number.",
		kind: integer(0, 10_000_000, func(c *Config) *int { return &c.MaxHandshakesPerIP })},
	{name: "TRUSTED_PROXIES", doc: "Load balancers that may say whom they speak for, in X-Forwarded-For.",
		kind: prefixes(func(c *Config) *[]netip.Prefix { return &c.TrustedProxies })},
	{name: "PROXY_PROTOCOL", def: "false", doc: "Whether trusted proxies may begin connections with a header of PROXY protocol version 2.",
		kind: boolean(func(c *Config) *bool { return &c.ProxyProtocol })},
	{name: "MAX_HEAD_SIZE", def: "16384", doc: "Bytes of a request head.",
		kind: integer(1024, 65536, func(c *Config) *int { return &c.MaxHeadSize })},
	{name: "MAX_HTTP_BUFFER_SIZE", def: "1000000", doc: "Bytes of a message or a request body, fragments and attachments summed up.",
		kind: integer(1024, 100*mib, func(c *Config) *int { return &c.MaxHTTPBufferSize })},
	{name: "MAX_EVENTS_PER_SECOND", reload: true, def: "100",
		doc:  "Events of a socket a second, beyond MAX_EVENTS_BURST; more are refused, and who goes on for a second burst is disconnected. 0 is any number.",
		kind: integer(0, 1_000_000, func(c *Config) *int { return &c.MaxEvents })},
	{name: "MAX_EVENTS_BURST", reload: true, def: "1000", doc: "Events of a socket at once, as when a client comes back and joins its rooms again.",
		kind: integer(1, 1_000_000, func(c *Config) *int { return &c.MaxEventsBurst })},
	{name: "MAX_BYTES_PER_SECOND", reload: true, def: strconv.Itoa(mib),
		doc:  "Bytes a client may send a second, four times as many at once, and four of the largest messages; who sends more is disconnected. 0 is any number.",
		kind: integer(0, 1024*mib, func(c *Config) *int { return &c.MaxBytes })},
	{name: "MAX_PENDING_BYTES", reload: true, def: strconv.Itoa(mib), doc: "Bytes waiting for one slow client before it is disconnected.",
		kind: integer(65536, 1024*mib, func(c *Config) *int { return &c.MaxPendingBytes })},
	{name: "MAX_TOTAL_PENDING_BYTES", reload: true, def: "0",
		doc:  "Bytes waiting for all slow clients of a node, to be read or for the rest of a message, before those with the most are disconnected. 0 is a quarter of GOMEMLIMIT, else of the cgroup's memory or the machine's.",
		kind: integer(0, 1<<40, func(c *Config) *int { return &c.MaxTotalPending })},
	{name: "MAX_MAILBOX", def: "65536", doc: "Messages waiting for one event loop.",
		kind: integer(1024, 16*mib, func(c *Config) *int { return &c.MaxMailbox })},

	{group: "Rooms", name: "ROOM_POLICY", def: authz.Open,
		doc:  "Who may join a room: open lets everybody in, claims whom the token's claim rooms names it for, webhook asks ROOM_AUTH_URL, redis looks into the set KEY_PREFIX + acl: + room in Redis.",
		kind: oneOf(func(c *Config) *string { return &c.RoomPolicy }, authz.Open, authz.Claims, authz.Webhook, authz.Redis)},
	{name: "NOTIFICATION_ROOMS", def: "policy",
		doc:  "Who may join notification:{id}: own is for the user with that id alone. The user's own is allowed in any case.",
		kind: oneOf(func(c *Config) *string { return &c.NotificationRooms }, "policy", "own")},
	{name: "ROOM_AUTH_URL", doc: "Who is asked about rooms with ROOM_POLICY=webhook.",
		kind: webURL(func(c *Config) *string { return &c.RoomAuthURL })},
	{name: "ROOM_AUTH_TOKEN", secret: true, doc: "Bearer token sent along.",
		kind: anyText(func(c *Config) *string { return &c.RoomAuthToken })},
	{name: "ROOM_AUTH_TIMEOUT", def: "2000", doc: "Time for an answer; without one the join is refused.",
		kind: millis(10, minute, func(c *Config) *time.Duration { return &c.RoomAuthTimeout })},
	{name: "ROOM_AUTH_TTL", def: "30000", doc: "Time an answer is good for; 0 asks each time.",
		kind: millis(0, hour, func(c *Config) *time.Duration { return &c.RoomAuthTTL })},
	{name: "ROOM_AUTH_CONCURRENCY", def: "32", doc: "Questions about rooms at a time, of this node.",
		kind: integer(1, 1024, func(c *Config) *int { return &c.RoomAuthConcurrency })},
	{name: "MAX_ROOMS", reload: true, def: strconv.Itoa(rooms.DefaultRooms), doc: "Rooms a socket may be in.",
		kind: integer(2, 10_000, func(c *Config) *int { return &c.MaxRooms })},
	{name: "MAX_ROOMS_PER_USER", reload: true, def: strconv.Itoa(rooms.DefaultUserRooms),
		doc:  "Rooms that all sockets of one user on a node may be in together, a room counted once for each socket; 0 is any number.",
		kind: integer(0, 10_000_000, func(c *Config) *int { return &c.MaxUserRooms })},
	{name: "MAX_ROOM_BYTES", reload: true, def: "0",
		doc:  "Bytes that rooms and memberships in them may take on a node; further joins are refused, those of users with many rooms first. Redis takes about as much for each node. 0 is a quarter of GOMEMLIMIT, else of the cgroup's memory or the machine's.",
		kind: integer(0, 1<<40, func(c *Config) *int { return &c.MaxRoomBytes })},
	{name: "MAX_ROOM_ID_LENGTH", reload: true, def: strconv.Itoa(rooms.DefaultRoomID), doc: "Bytes of a room's id.",
		kind: integer(1, 1024, func(c *Config) *int { return &c.MaxRoomID })},
	{name: "ROOM_ID_CHARACTERS", reload: true, doc: "Characters a room's id may have, such as a-zA-Z0-9_.:-; empty is all but control characters.",
		kind: alphabet(func(c *Config) *rooms.Alphabet { return &c.RoomIDCharacters })},
	{name: "PRESENCE_MAX_MEMBERS", reload: true, def: "500",
		doc:  "Members up to which a room is told of each join and leave; 0 is any number.",
		kind: integer(0, 10_000_000, func(c *Config) *int { return &c.PresenceMaxMembers })},
	{name: "MAX_PRESENCE_PER_SECOND", reload: true, def: "100000",
		doc:  "Messages a second, for each event loop, that tell rooms of more than 10 who comes, goes or types; beyond, they are not told. 0 is any number.",
		kind: integer(0, 100_000_000, func(c *Config) *int { return &c.MaxPresence })},
}

const (
	// handshakesPerLoop is a fifth of what a loop can do: a deploy that sends
	// everybody back at once leaves time for those who are there.
	handshakesPerLoop = 2000

	// burstSeconds is how many seconds' worth of bytes or handshakes may come
	// at once.
	byteBurst      = 4
	handshakeBurst = 2
)

// handshakes returns the rate of new sessions of the node.
func (c Config) handshakes(loops int) rooms.Rate {
	n := c.MaxHandshakes
	if n == 0 {
		n = handshakesPerLoop * loops
	}
	return rooms.Rate{PerSecond: n, Burst: handshakeBurst * n}
}

// bytes returns the rate at which a client may send.
func (c Config) bytes() rooms.Rate {
	return rooms.Rate{PerSecond: c.MaxBytes, Burst: byteBurst * max(c.MaxBytes, c.MaxHTTPBufferSize)}
}

// limits returns what a client may do in rooms.
func (c Config) limits() rooms.Limits {
	return rooms.Limits{
		Rooms: c.MaxRooms, UserRooms: c.MaxUserRooms, RoomBytes: c.MaxRoomBytes, RoomID: c.MaxRoomID, RoomIDs: c.RoomIDCharacters,
		Events:  rooms.Rate{PerSecond: c.MaxEvents, Burst: c.MaxEventsBurst},
		PerUser: c.MaxPerUser, Presence: c.PresenceMaxMembers,
		Telling: rooms.Rate{PerSecond: c.MaxPresence, Burst: c.MaxPresence},
	}
}

// prefixes reads addresses and networks, perhaps none.
func prefixes(field func(*Config) *[]netip.Prefix) kind {
	return kind{
		allowed: "IP addresses and networks with commas between, such as 10.0.0.0/8,192.0.2.7",
		set: func(c *Config, text string) bool {
			for _, word := range words(text) {
				p, err := netip.ParsePrefix(word)
				if err != nil {
					var a netip.Addr
					if a, err = netip.ParseAddr(word); err == nil {
						p = netip.PrefixFrom(a, a.BitLen())
					}
				}
				if err != nil {
					return false
				}
				*field(c) = append(*field(c), p.Masked())
			}
			return true
		},
		text: func(c *Config) string {
			list := slices.Clone(*field(c))
			texts := make([]string, len(list))
			for i, p := range list {
				texts[i] = p.String()
			}
			return strings.Join(texts, ",")
		},
	}
}

func alphabet(field func(*Config) *rooms.Alphabet) kind {
	return kind{
		allowed: "characters and ranges of them, such as a-zA-Z0-9_-",
		set: func(c *Config, text string) (ok bool) {
			a, err := rooms.ParseAlphabet(text)
			*field(c) = a
			return err == nil
		},
		text: func(c *Config) string { return field(c).String() },
	}
}
