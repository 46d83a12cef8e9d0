package main

import (
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hometrip/gateway/internal/secret"
)

// A setting is one environment variable.
type setting struct {
	group  string // heading it stands under; "" is that of the one before
	name   string
	def    string
	doc    string // what it means; one line
	secret bool   // its value is never shown
	blank  bool   // set but empty is a value of its own
	reload bool   // SIGHUP applies it
	kind   kind
}

const (
	minute = 60_000    // ms
	hour   = 3_600_000 // ms
	mib    = 1 << 20   // bytes
)

// settings is every environment variable there is. The parser, the table in
// the README and .env.example come from it.
var settings = slices.Concat(serverSettings, limitSettings, serviceSettings, recoverySettings)

// serverSettings are about the port and who may use it.
var serverSettings = []setting{
	{group: "Server", name: "NODE_ENV", def: development,
		doc:  "Development and test start without a key for tokens; staging and production do not.",
		kind: oneOf(func(c *Config) *string { return &c.Environment }, development, test, staging, production)},
	{name: "SERVICE_HOST", def: "::", doc: "Address to listen on. :: is all addresses of the host, IPv4 and IPv6.",
		kind: host(func(c *Config) *string { return &c.Host })},
	{name: "PORT", def: "3002", doc: "Port to listen on; 0 takes a free one.",
		kind: integer(0, 65535, func(c *Config) *int { return &c.Port })},
	{name: "SHARE_PORT", def: "false",
		doc:  "Start even if another process of the same user listens on PORT or ADMIN_ADDR; the kernel then gives each new connection to one of them. Without it a taken port is an error.",
		kind: boolean(func(c *Config) *bool { return &c.SharePort })},
	{name: "CORS_ORIGIN", reload: true, def: "localhost:3000",
		doc:  "Origins browsers may come from. One without a scheme means http and https; * means all. Development also allows localhost with any port.",
		kind: origins(func(c *Config) *[]string { return &c.CORSOrigins })},
	{name: "METRICS_ENABLED", reload: true, def: "true", doc: "Whether GET /metrics answers.",
		kind: boolean(func(c *Config) *bool { return &c.Metrics })},
	{name: "METRICS_TOKEN", reload: true, secret: true, doc: "What GET /metrics on PORT wants as bearer token, because room names carry user ids; empty: nothing. On ADMIN_ADDR profiles alone want it.",
		kind: anyText(func(c *Config) *string { return &c.MetricsToken })},
	{name: "ADMIN_ADDR", doc: "Another address, such as 127.0.0.1:9100, for /metrics, which then is not on PORT, and for profiles (/debug/pprof/).",
		kind: address(func(c *Config) *string { return &c.AdminAddr })},
	{name: "CANARY", def: "false",
		doc:  "A client inside that sends itself an event by way of RabbitMQ and Redis, and exports how long that takes and what is lost.",
		kind: boolean(func(c *Config) *bool { return &c.Canary })},
	{name: "CANARY_INTERVAL", def: "5000", doc: "Time between two of its events.",
		kind: millis(100, hour, func(c *Config) *time.Duration { return &c.CanaryInterval })},
	{name: "METRICS_ROOMS_LIMIT", reload: true, def: "1000", doc: "Rooms GET /metrics lists; the total counts them all.",
		kind: integer(0, 100_000, func(c *Config) *int { return &c.MetricsRoomsLimit })},
	{name: "CONSOLE", reload: true, def: consoleAuto,
		doc:  "Whether GET / is the console, a page to try the gateway with; auto is in development and test.",
		kind: oneOf(func(c *Config) *string { return &c.Console }, consoleAuto, consoleOn, consoleOff)},
	{name: "CONSOLE_TOKEN", reload: true, secret: true,
		doc:  "What the console asks for: password with any user name, or bearer token. Required in staging and production.",
		kind: anyText(func(c *Config) *string { return &c.ConsoleToken })},

	{group: "Authentication", name: "JWT_SECRET", reload: true, secret: true,
		doc:  "Secret that verifies HS256 tokens. Without any key, development makes one up and keeps it in .gateway-dev-secret in the working directory.",
		kind: anyText(func(c *Config) *string { return &c.JWTSecret })},
	{name: "ALLOW_WEAK_SECRET", reload: true, def: "false",
		doc:  "Start in staging and production with a JWT_SECRET below 16 bytes, which can be guessed. For the time until the issuer of the tokens has a better one.",
		kind: boolean(func(c *Config) *bool { return &c.AllowWeakSecret })},
	{name: "JWT_PUBLIC_KEY", reload: true, secret: true,
		doc:  "Instead of the secret: public key as PEM text, or the path of a PEM file. RSA verifies RS256, ECDSA P-256 ES256, Ed25519 EdDSA.",
		kind: anyText(func(c *Config) *string { return &c.JWTPublicKey })},
	{name: "JWT_JWKS_URL", doc: "Instead of the secret: where the issuer publishes its keys (RS256, ES256, EdDSA).",
		kind: webURL(func(c *Config) *string { return &c.JWTJWKSURL })},
	{name: "JWT_ISSUER", reload: true, doc: "What the claim iss must be; empty takes any.",
		kind: anyText(func(c *Config) *string { return &c.JWTIssuer })},
	{name: "JWT_AUDIENCE", reload: true, doc: "What the claim aud must be or contain; empty takes any.",
		kind: anyText(func(c *Config) *string { return &c.JWTAudience })},
	{name: "ALLOW_AUTH_WITHOUT_JWT", def: "false", doc: "Let clients without a token connect as nobody.",
		kind: boolean(func(c *Config) *bool { return &c.AllowAnonymous })},

	{group: "Connections", name: "EVENT_LOOPS", def: "0", doc: "Event loops; 0 is one for each CPU Go may use.",
		kind: integer(0, 64, func(c *Config) *int { return &c.EventLoops })},
	{name: "PING_INTERVAL", def: "25000", doc: "Time between two pings of a client.",
		kind: millis(100, hour, func(c *Config) *time.Duration { return &c.PingInterval })},
	{name: "PING_TIMEOUT", def: "60000", doc: "Time a client has to answer a ping.",
		kind: millis(100, hour, func(c *Config) *time.Duration { return &c.PingTimeout })},
	{name: "CONNECT_TIMEOUT", def: "45000", doc: "Time from the Engine.IO handshake to the Socket.IO CONNECT.",
		kind: millis(100, hour, func(c *Config) *time.Duration { return &c.ConnectTimeout })},
	{name: "HEAD_TIMEOUT", def: "10000", doc: "Time from the opening of a connection to a whole request head.",
		kind: millis(100, hour, func(c *Config) *time.Duration { return &c.HeadTimeout })},
	{name: "KEEPALIVE_TIMEOUT", def: "75000", doc: "Time an HTTP connection may be idle between requests.",
		kind: millis(100, hour, func(c *Config) *time.Duration { return &c.KeepAliveTimeout })},
}

// serviceSettings are about the process and its neighbours.
var serviceSettings = []setting{
	{group: "Shutdown", name: "DRAIN_PERIOD", reload: true, def: "10000",
		doc:  "Time over which clients are disconnected, so that they do not all come back at once.",
		kind: millis(0, hour, func(c *Config) *time.Duration { return &c.DrainPeriod })},
	{name: "SHUTDOWN_TIMEOUT", reload: true, def: "30000", doc: "Time after which the process ends in any case.",
		kind: millis(100, hour, func(c *Config) *time.Duration { return &c.ShutdownTimeout })},
	{name: "HANDOVER_SOCKET",
		doc:  "Path of a Unix socket in a folder of mode 0700. A gateway that starts with the path of one that runs takes over its connections; no client notices. Empty: off.",
		kind: checked("an absolute path of at most 92 bytes, or nothing", isSocketPath, func(c *Config) *string { return &c.HandoverSocket })},

	{group: "Logs", name: "LOG_LEVEL", reload: true, def: "info", doc: "The least severe records kept.",
		kind: logLevel(func(c *Config) *slog.Level { return &c.LogLevel })},
	{name: "LOG_FORMAT", def: formatAuto,
		doc:  "Format on the console; auto is text on a terminal in development, else json. Files are always json.",
		kind: oneOf(func(c *Config) *string { return &c.LogFormat }, formatAuto, formatJSON, formatText)},
	{name: "LOG_DIR", def: "logs", blank: true, doc: "Directory of all.log and error.log; set but empty: no files.",
		kind: anyText(func(c *Config) *string { return &c.LogDir })},
	{name: "LOG_MAX_SIZE_MB", def: "100", doc: "Megabytes of a log file before a new one is begun.",
		kind: integer(1, 10_000, func(c *Config) *int { return &c.LogMaxSizeMB })},
	{name: "LOG_MAX_FILES", def: "10", doc: "Finished log files kept of each kind.",
		kind: integer(1, 1000, func(c *Config) *int { return &c.LogMaxFiles })},
	{name: "LOG_STATS_INTERVAL", def: strconv.Itoa(minute), doc: "Time between two lines of figures; 0 writes none.",
		kind: millis(0, 24*hour, func(c *Config) *time.Duration { return &c.LogStatsInterval })},

	{group: "Redis", name: "USE_REDIS", def: "true", doc: "Whether this node shares rooms with other nodes.",
		kind: boolean(func(c *Config) *bool { return &c.UseRedis })},
	{name: "REDIS_HOST", def: "redis", doc: "Host of Redis.", kind: host(func(c *Config) *string { return &c.RedisHost })},
	{name: "REDIS_PORT", def: "6379", doc: "Port of Redis.",
		kind: integer(1, 65535, func(c *Config) *int { return &c.RedisPort })},
	{name: "REDIS_USERNAME", doc: "User of Redis; empty for the default one.",
		kind: anyText(func(c *Config) *string { return &c.RedisUsername })},
	{name: "REDIS_PASSWORD", secret: true, blank: true, doc: "Password of Redis; empty for none.",
		kind: anyText(func(c *Config) *string { return &c.RedisPassword })},
	{name: "REDIS_DB", def: "1", doc: "Database number in Redis.",
		kind: integer(0, 1023, func(c *Config) *int { return &c.RedisDB })},
	{name: "KEY_PREFIX", def: "ws:", blank: true, doc: "What keys and channels in Redis begin with.",
		kind: anyText(func(c *Config) *string { return &c.KeyPrefix })},
	{name: "REDIS_URL", secret: true,
		doc:  "Instead of host, port, user and password; for TLS, Sentinel and Redis Cluster. A database in it goes before REDIS_DB.",
		kind: redisURL(func(c *Config) *string { return &c.RedisURL })},
	{name: "NODE_LEASE", def: "5000", doc: "Time after which a node that Redis has not heard of counts as dead.",
		kind: millis(500, hour, func(c *Config) *time.Duration { return &c.NodeLease })},
	{name: "ROOM_LINGER", def: "30000", doc: "How long other nodes keep forwarding a room after its last member here left.",
		kind: millis(10, hour, func(c *Config) *time.Duration { return &c.RoomLinger })},
	{name: "MAX_PUBLISH_QUEUE", def: "65536", doc: "Messages of clients that wait to be published to other nodes; beyond it they are dropped, volatile ones beyond half of it.",
		kind: integer(1024, 16*mib, func(c *Config) *int { return &c.MaxPublishQueue })},
	{name: "MAX_PUBLISH_BYTES", def: strconv.Itoa(64 * mib), doc: "Bytes of these.",
		kind: integer(mib, 4096*mib, func(c *Config) *int { return &c.MaxPublishBytes })},

	{group: "Node servers", name: "SOCKETIO_ADAPTER_KEY",
		doc:  "Key of the @socket.io/redis-adapter whose Node servers this gateway shares rooms with, usually socket.io; empty: none.",
		kind: anyText(func(c *Config) *string { return &c.AdapterKey })},
	{name: "SOCKETIO_ADAPTER_EVENTS", def: adapterNotRouted,
		doc:  "Which events of Node servers and emitters clients get: not-routed leaves those that routes emit to the log, which Node servers read too; all takes every event; compare takes none and only counts how the Node servers' deliveries of routed events compare with the gateway's.",
		kind: oneOf(func(c *Config) *string { return &c.AdapterEvents }, adapterNotRouted, adapterAll, adapterCompare)},

	{group: "RabbitMQ", name: "USE_RABBITMQ", def: "true", doc: "Whether this node takes events of the services.",
		kind: boolean(func(c *Config) *bool { return &c.UseRabbitMQ })},
	{name: "RABBITMQ_HOST", def: "rabbitmq", doc: "Host of RabbitMQ.",
		kind: host(func(c *Config) *string { return &c.RabbitMQHost })},
	{name: "RABBITMQ_PORT", def: "5672", doc: "Port of RabbitMQ.",
		kind: integer(1, 65535, func(c *Config) *int { return &c.RabbitMQPort })},
	{name: "RABBITMQ_USER", def: "guest", doc: "User of RabbitMQ.",
		kind: anyText(func(c *Config) *string { return &c.RabbitMQUser })},
	{name: "RABBITMQ_PASSWORD", def: "guest", secret: true, doc: "Password of RabbitMQ.",
		kind: anyText(func(c *Config) *string { return &c.RabbitMQPassword })},
	{name: "RABBITMQ_VHOST", def: "/", doc: "Virtual host of RabbitMQ.",
		kind: anyText(func(c *Config) *string { return &c.RabbitMQVHost })},
	{name: "RABBITMQ_EXCHANGE", def: "hometrip_events", doc: "Topic exchanges the services publish to.",
		kind: list(func(c *Config) *[]string { return &c.RabbitMQExchanges })},
	{name: "RABBITMQ_QUEUE_PREFIX", def: "websocket-gateway", doc: "What the names of the gateway's stream and queue begin with.",
		kind: anyText(func(c *Config) *string { return &c.RabbitMQQueuePrefix })},
	{name: "RABBITMQ_PREFETCH", def: "500", doc: "Events on their way from RabbitMQ to this node.",
		kind: integer(1, 65535, func(c *Config) *int { return &c.RabbitMQPrefetch })},
	{name: "RABBITMQ_URL", secret: true,
		doc:  "Instead of host, port, user, password and vhost: one address for each node of the cluster. With TLS, ?cacertfile= and, for a certificate of the gateway's own, &certfile= and &keyfile= may follow.",
		kind: amqpURLs(func(c *Config) *[]string { return &c.RabbitMQURLs })},

	{group: "Events", name: "EVENT_LOG", def: logAuto,
		doc:  "Where services' events are kept in order for the nodes to read: rabbitmq (a stream), redis (a Redis stream) or memory (of this process, for one node alone). auto is rabbitmq with USE_RABBITMQ, or redis if RabbitMQ has no streams; without USE_RABBITMQ redis with USE_REDIS, else memory; in development it is memory until that server is there.",
		kind: oneOf(func(c *Config) *string { return &c.EventLog }, logAuto, logRabbitMQ, logRedis, logMemory)},
	{name: "EVENT_LOG_RETENTION", def: strconv.Itoa(hour),
		doc:  "Time for which RabbitMQ or Redis keeps events. A node that could not read for longer ends its sessions with missed_events. For RabbitMQ it is set when the stream is made.",
		kind: millis(minute, 30*24*hour, func(c *Config) *time.Duration { return &c.EventLogRetention })},
	{name: "EVENT_LOG_MAX_BYTES", def: strconv.Itoa(1024 * mib),
		doc:  "Bytes of events that RabbitMQ keeps on its disk, or Redis in its memory; the oldest are removed beyond. For RabbitMQ it is set when the stream is made.",
		kind: integer(100*mib, 1<<40, func(c *Config) *int { return &c.EventLogMaxBytes })},
	{name: "EVENT_LOG_TAIL_BYTES", def: strconv.Itoa(64 * mib),
		doc:  "Bytes of the newest events that this process keeps in its memory, for clients that come back and for EVENT_LOG=memory; the oldest are removed beyond.",
		kind: integer(mib, 64*1024*mib, func(c *Config) *int { return &c.EventLogTailBytes })},
	{name: "ROUTES_FILE", reload: true, doc: "YAML file with routes beside the built-in ones.",
		kind: anyText(func(c *Config) *string { return &c.RoutesFile })},
	{name: "MAX_EVENT_SIZE", def: "262144", doc: "Bytes of the body of an event that a service publishes.",
		kind: integer(1024, 16*mib, func(c *Config) *int { return &c.MaxEventSize })},
	{name: "PUBLISH_TOKEN", reload: true, secret: true,
		doc:  "What POST /events/{key} wants as bearer token. Without it production is closed and development open to this machine.",
		kind: anyText(func(c *Config) *string { return &c.PublishToken })},

	{name: "PRESENCE_EVENTS", def: "false",
		doc:  "Whether services are told user.online, user.offline, room.occupied and room.vacated, and can ask GET /users/{id}. Wants Redis and RabbitMQ.",
		kind: boolean(func(c *Config) *bool { return &c.PresenceEvents })},
	{name: "PRESENCE_EXCHANGE", def: "hometrip_presence", doc: "Topic exchange to which these are published.",
		kind: checked("a name", func(text string) bool { return text != "" }, func(c *Config) *string { return &c.PresenceExchange })},
	{name: "PRESENCE_LAST_SEEN", def: strconv.Itoa(30 * 24 * hour),
		doc:  "Time for which Redis keeps when a user was online last; 0 does not keep it.",
		kind: millis(0, 366*24*hour, func(c *Config) *time.Duration { return &c.PresenceLastSeen })},

	{group: "Services", name: "MESSAGE_SERVICE_URL", doc: "Address of the message service.",
		kind: webURL(func(c *Config) *string { return &c.MessageServiceURL })},
	{name: "BOOKING_SERVICE_URL", doc: "Address of the booking service.",
		kind: webURL(func(c *Config) *string { return &c.BookingServiceURL })},
	{name: "NOTIFICATION_SERVICE_URL", doc: "Address of the notification service.",
		kind: webURL(func(c *Config) *string { return &c.NotificationServiceURL })},
}

// show returns text as it may be shown: no secrets, also none that somebody
// put into an address.
func (s setting) show(text string) string {
	if text != "" && (s.secret || strings.Contains(text, "@")) {
		return hidden
	}
	return secret.HideInURLs(text)
}
