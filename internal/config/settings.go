package config

import (
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hometrip/gateway/internal/secret"
)

// A Setting is one environment variable.
type Setting struct {
	Group   string // heading it stands under; "" is that of the one before
	Name    string
	Default string
	Doc     string // what it means; one line
	Secret  bool   // its value is never shown
	blank   bool   // set but empty is a value of its own
	Reload  bool   // SIGHUP applies it
	kind    kind
}

const (
	minute = 60_000    // ms
	hour   = 3_600_000 // ms
	mib    = 1 << 20   // bytes
)

// settings is every setting. The parser, docs/settings.md and .env.example are
// derived from it.
var settings = slices.Concat(serverSettings, limitSettings, serviceSettings, recoverySettings)

// Settings returns every setting.
func Settings() []Setting { return slices.Clone(settings) }

// serverSettings are about the port and who may use it.
var serverSettings = []Setting{
	{Group: "Server", Name: "NODE_ENV", Default: Development,
		Doc:  "The environment. Staging and production do not start without a key that verifies tokens, with a weak secret, or with a name in .env that is no setting.",
		kind: oneOf(func(c *Config) *string { return &c.Server.Environment }, Development, Test, Staging, Production)},
	{Name: "SERVICE_HOST", Default: "::", Doc: "Address to listen on. :: is all addresses of the host, IPv4 and IPv6.",
		kind: host(func(c *Config) *string { return &c.Server.Host })},
	{Name: "PORT", Default: "3002", Doc: "Port to listen on; 0 takes a free one.",
		kind: integer(0, 65535, func(c *Config) *int { return &c.Server.Port })},
	{Name: "SHARE_PORT", Default: "false",
		Doc:  "Start even if another process of the same user listens on PORT or ADMIN_ADDR; the kernel then gives each new connection to one of them. false: a taken port is an error. Set it for upgrades that refuse no connection.",
		kind: boolean(func(c *Config) *bool { return &c.Server.SharePort })},
	{Name: "CORS_ORIGIN", Reload: true, Default: "localhost:3000",
		Doc:  "Origins whose pages may connect. One without a scheme means http and https; * means all. Development also allows localhost with any port. Others get 403.",
		kind: origins(func(c *Config) *[]string { return &c.Server.CORSOrigins })},
	{Name: "METRICS_ENABLED", Reload: true, Default: "true", Doc: "Whether GET /metrics answers; else 404.",
		kind: boolean(func(c *Config) *bool { return &c.Metrics.Enabled })},
	{Name: "METRICS_TOKEN", Reload: true, Secret: true, Doc: "Bearer token that GET /metrics on PORT requires, because room names contain user ids; empty: none. On ADMIN_ADDR only profiles require it.",
		kind: anyText(func(c *Config) *string { return &c.Metrics.Token })},
	{Name: "ADMIN_ADDR", Doc: "Another address, such as 127.0.0.1:9100, for /metrics and profiles (/debug/pprof/). /metrics is then not on PORT.",
		kind: address(func(c *Config) *string { return &c.Server.AdminAddr })},
	{Name: "CANARY", Default: "false",
		Doc:  "Send test events through RabbitMQ and Redis to a client inside the node, and export their latency and how many are lost.",
		kind: boolean(func(c *Config) *bool { return &c.Canary.Enabled })},
	{Name: "CANARY_INTERVAL", Default: "5000", Doc: "Time between two test events.",
		kind: millis(100, hour, func(c *Config) *time.Duration { return &c.Canary.Interval })},
	{Name: "METRICS_ROOMS_LIMIT", Reload: true, Default: "1000", Doc: "How many rooms the JSON form of GET /metrics lists; its total counts all.",
		kind: integer(0, 100_000, func(c *Config) *int { return &c.Metrics.RoomsLimit })},
	{Name: "CONSOLE", Reload: true, Default: ConsoleAuto,
		Doc:  "Whether GET / is the console, a page to try the gateway with. auto: in development and test only.",
		kind: oneOf(func(c *Config) *string { return &c.Console.Mode }, ConsoleAuto, ConsoleOn, ConsoleOff)},
	{Name: "CONSOLE_TOKEN", Reload: true, Secret: true,
		Doc:  "Token that the console requires, as password with any user name or as bearer token. Without it staging and production do not start with CONSOLE=true.",
		kind: anyText(func(c *Config) *string { return &c.Console.Token })},

	{Group: "Authentication", Name: "JWT_SECRET", Reload: true, Secret: true,
		Doc:  "Secret that verifies HS256 tokens. Without any key, development creates one and keeps it in .gateway-dev-secret in the working directory.",
		kind: anyText(func(c *Config) *string { return &c.Auth.Secret })},
	{Name: "ALLOW_WEAK_SECRET", Reload: true, Default: "false",
		Doc:  "Start in staging and production with a JWT_SECRET below 16 bytes, which can be guessed. Only until the issuer of the tokens has a better one.",
		kind: boolean(func(c *Config) *bool { return &c.Auth.AllowWeakSecret })},
	{Name: "JWT_PUBLIC_KEY", Reload: true, Secret: true,
		Doc:  "Instead of JWT_SECRET: public key as PEM text, or the path of a PEM file. RSA verifies RS256, ECDSA P-256 ES256, Ed25519 EdDSA.",
		kind: anyText(func(c *Config) *string { return &c.Auth.PublicKey })},
	{Name: "JWT_JWKS_URL", Doc: "Instead of JWT_SECRET: address where the issuer publishes its keys (RS256, ES256, EdDSA).",
		kind: webURL(func(c *Config) *string { return &c.Auth.JWKSURL })},
	{Name: "JWT_ISSUER", Reload: true, Doc: "Value that the claim iss must have; empty accepts any.",
		kind: anyText(func(c *Config) *string { return &c.Auth.Issuer })},
	{Name: "JWT_AUDIENCE", Reload: true, Doc: "Value that the claim aud must be or contain; empty accepts any.",
		kind: anyText(func(c *Config) *string { return &c.Auth.Audience })},
	{Name: "ALLOW_AUTH_WITHOUT_JWT", Default: "false", Doc: "Let clients connect without a token, as a client without a user.",
		kind: boolean(func(c *Config) *bool { return &c.Auth.AllowAnonymous })},

	{Group: "Connections", Name: "EVENT_LOOPS", Default: "0", Doc: "Number of event loops; 0 is one for each CPU Go may use. Set it in containers without a CPU limit.",
		kind: integer(0, 64, func(c *Config) *int { return &c.Connections.EventLoops })},
	{Name: "PING_INTERVAL", Default: "25000", Doc: "Time between two pings to a client. Proxies must allow connections to be idle for longer.",
		kind: millis(100, hour, func(c *Config) *time.Duration { return &c.Connections.PingInterval })},
	{Name: "PING_TIMEOUT", Default: "60000", Doc: "Time a client has to answer a ping; then its session ends.",
		kind: millis(100, hour, func(c *Config) *time.Duration { return &c.Connections.PingTimeout })},
	{Name: "CONNECT_TIMEOUT", Default: "45000", Doc: "Time from the Engine.IO handshake to the Socket.IO CONNECT packet; then the session ends.",
		kind: millis(100, hour, func(c *Config) *time.Duration { return &c.Connections.ConnectTimeout })},
	{Name: "HEAD_TIMEOUT", Default: "10000", Doc: "Time from the start of a connection to a complete request head; then it is closed.",
		kind: millis(100, hour, func(c *Config) *time.Duration { return &c.Connections.HeadTimeout })},
	{Name: "KEEPALIVE_TIMEOUT", Default: "75000", Doc: "Time an HTTP connection may be idle between requests; then it is closed. Should be longer than the proxy's.",
		kind: millis(100, hour, func(c *Config) *time.Duration { return &c.Connections.KeepAliveTimeout })},
}

// serviceSettings are about the process and what it depends on.
var serviceSettings = []Setting{
	{Group: "Shutdown", Name: "DRAIN_PERIOD", Reload: true, Default: "10000",
		Doc:  "Time over which a shutdown spreads the disconnects, so that clients do not all reconnect at once.",
		kind: millis(0, hour, func(c *Config) *time.Duration { return &c.Shutdown.DrainPeriod })},
	{Name: "SHUTDOWN_TIMEOUT", Reload: true, Default: "30000", Doc: "Time after which a shutdown ends the process in any case. Must be below the timeout of whatever stops it.",
		kind: millis(100, hour, func(c *Config) *time.Duration { return &c.Shutdown.Timeout })},
	{Name: "HANDOVER_SOCKET",
		Doc:  "Path of a Unix socket in a folder of mode 0700. A gateway that starts with the path of a running one takes over its connections. Empty: off.",
		kind: checked("an absolute path of at most 92 bytes, or nothing", isSocketPath, func(c *Config) *string { return &c.Shutdown.HandoverSocket })},

	{Group: "Logs", Name: "LOG_LEVEL", Reload: true, Default: "info", Doc: "Least severe level that is logged.",
		kind: logLevel(func(c *Config) *slog.Level { return &c.Log.Level })},
	{Name: "LOG_FORMAT", Default: FormatAuto,
		Doc:  "Format on the console. auto is text on a terminal in development, else json. Files are always json.",
		kind: oneOf(func(c *Config) *string { return &c.Log.Format }, FormatAuto, FormatJSON, FormatText)},
	{Name: "LOG_DIR", Default: "logs", blank: true, Doc: "Directory of all.log and error.log. Set but empty: no files.",
		kind: anyText(func(c *Config) *string { return &c.Log.Dir })},
	{Name: "LOG_MAX_SIZE_MB", Default: "100", Doc: "Size in megabytes at which a log file is rotated.",
		kind: integer(1, 10_000, func(c *Config) *int { return &c.Log.MaxSizeMB })},
	{Name: "LOG_MAX_FILES", Default: "10", Doc: "How many rotated files of each kind are kept.",
		kind: integer(1, 1000, func(c *Config) *int { return &c.Log.MaxFiles })},
	{Name: "LOG_STATS_INTERVAL", Default: strconv.Itoa(minute), Doc: "Time between two log lines with figures (connections, events); 0: none.",
		kind: millis(0, 24*hour, func(c *Config) *time.Duration { return &c.Log.StatsInterval })},

	{Group: "Redis", Name: "USE_REDIS", Default: "true", Doc: "Whether this node shares rooms with other nodes through Redis.",
		kind: boolean(func(c *Config) *bool { return &c.Redis.Use })},
	{Name: "REDIS_HOST", Default: "redis", Doc: "Host of Redis.", kind: host(func(c *Config) *string { return &c.Redis.Host })},
	{Name: "REDIS_PORT", Default: "6379", Doc: "Port of Redis.",
		kind: integer(1, 65535, func(c *Config) *int { return &c.Redis.Port })},
	{Name: "REDIS_USERNAME", Doc: "User of Redis; empty for the default user.",
		kind: anyText(func(c *Config) *string { return &c.Redis.Username })},
	{Name: "REDIS_PASSWORD", Secret: true, blank: true, Doc: "Password of Redis; empty for none.",
		kind: anyText(func(c *Config) *string { return &c.Redis.Password })},
	{Name: "REDIS_DB", Default: "1", Doc: "Database number in Redis.",
		kind: integer(0, 1023, func(c *Config) *int { return &c.Redis.DB })},
	{Name: "KEY_PREFIX", Default: "ws:", blank: true, Doc: "Prefix of all keys and channels in Redis. Gateways with different prefixes do not see each other.",
		kind: anyText(func(c *Config) *string { return &c.Redis.KeyPrefix })},
	{Name: "REDIS_URL", Secret: true,
		Doc:  "Instead of host, port, user and password; for TLS, Sentinel and Redis Cluster. A database in it overrides REDIS_DB.",
		kind: redisURL(func(c *Config) *string { return &c.Redis.URL })},
	{Name: "NODE_LEASE", Default: "5000", Doc: "Time after which other nodes count a node as dead that has not renewed its lease in Redis.",
		kind: millis(500, hour, func(c *Config) *time.Duration { return &c.Cluster.Lease })},
	{Name: "ROOM_LINGER", Default: "30000", Doc: "How long other nodes keep forwarding a room after its last member here left.",
		kind: millis(10, hour, func(c *Config) *time.Duration { return &c.Cluster.RoomLinger })},
	{Name: "MAX_PUBLISH_QUEUE", Default: "65536", Doc: "How many client messages may wait to be published to other nodes. Beyond it they are dropped, typing beyond half of it (gateway_cluster_dropped_total).",
		kind: integer(1024, 16*mib, func(c *Config) *int { return &c.Cluster.PublishQueue })},
	{Name: "MAX_PUBLISH_BYTES", Default: strconv.Itoa(64 * mib), Doc: "Bytes that the messages of MAX_PUBLISH_QUEUE may have together; beyond it they are dropped.",
		kind: integer(mib, 4096*mib, func(c *Config) *int { return &c.Cluster.PublishBytes })},

	{Group: "Node servers", Name: "SOCKETIO_ADAPTER_KEY",
		Doc:  "Key of the @socket.io/redis-adapter whose Node servers this gateway shares rooms with, usually socket.io; empty: none.",
		kind: anyText(func(c *Config) *string { return &c.Adapter.Key })},
	{Name: "SOCKETIO_ADAPTER_EVENTS", Default: AdapterNotRouted,
		Doc:  "Which events of Node servers and emitters clients get. not-routed: all but those that a route emits, which come from the log. all: every event. compare: none; only counts how the Node servers' deliveries compare with the gateway's.",
		kind: oneOf(func(c *Config) *string { return &c.Adapter.Events }, AdapterNotRouted, AdapterAll, AdapterCompare)},

	{Group: "RabbitMQ", Name: "USE_RABBITMQ", Default: "true", Doc: "Whether this node takes the services' events from RabbitMQ.",
		kind: boolean(func(c *Config) *bool { return &c.RabbitMQ.Use })},
	{Name: "RABBITMQ_HOST", Default: "rabbitmq", Doc: "Host of RabbitMQ.",
		kind: host(func(c *Config) *string { return &c.RabbitMQ.Host })},
	{Name: "RABBITMQ_PORT", Default: "5672", Doc: "Port of RabbitMQ.",
		kind: integer(1, 65535, func(c *Config) *int { return &c.RabbitMQ.Port })},
	{Name: "RABBITMQ_USER", Default: "guest", Doc: "User of RabbitMQ.",
		kind: anyText(func(c *Config) *string { return &c.RabbitMQ.User })},
	{Name: "RABBITMQ_PASSWORD", Default: "guest", Secret: true, Doc: "Password of RabbitMQ.",
		kind: anyText(func(c *Config) *string { return &c.RabbitMQ.Password })},
	{Name: "RABBITMQ_VHOST", Default: "/", Doc: "Virtual host of RabbitMQ.",
		kind: anyText(func(c *Config) *string { return &c.RabbitMQ.VHost })},
	{Name: "RABBITMQ_EXCHANGE", Default: "hometrip_events", Doc: "Topic exchanges the services publish to.",
		kind: list(func(c *Config) *[]string { return &c.RabbitMQ.Exchanges })},
	{Name: "RABBITMQ_QUEUE_PREFIX", Default: "websocket-gateway", Doc: "Prefix of the gateway's stream and queues in RabbitMQ.",
		kind: anyText(func(c *Config) *string { return &c.RabbitMQ.QueuePrefix })},
	{Name: "RABBITMQ_PREFETCH", Default: "500", Doc: "How many events of the log this node reads ahead of their delivery.",
		kind: integer(1, 65535, func(c *Config) *int { return &c.RabbitMQ.Prefetch })},
	{Name: "RABBITMQ_URL", Secret: true,
		Doc:  "Instead of host, port, user, password and vhost: one address for each node of the cluster. With TLS, ?cacertfile= and, for a client certificate, &certfile= and &keyfile= may follow.",
		kind: amqpURLs(func(c *Config) *[]string { return &c.RabbitMQ.URLs })},

	{Group: "Events", Name: "EVENT_LOG", Default: LogAuto,
		Doc:  "Where the services' events are kept in order for the nodes to read: rabbitmq (a stream), redis (a Redis stream) or memory (this process, for one node alone). auto: rabbitmq if USE_RABBITMQ, or redis if RabbitMQ has no streams; without USE_RABBITMQ redis if USE_REDIS, else memory. In development auto uses memory until that server can be reached.",
		kind: oneOf(func(c *Config) *string { return &c.Events.Log }, LogAuto, LogRabbitMQ, LogRedis, LogMemory)},
	{Name: "EVENT_LOG_RETENTION", Default: strconv.Itoa(hour),
		Doc:  "How long RabbitMQ or Redis keeps events. A node that could not read for longer ends its sessions with missed_events. RabbitMQ takes a change only when the stream is created.",
		kind: millis(minute, 30*24*hour, func(c *Config) *time.Duration { return &c.Events.Retention })},
	{Name: "EVENT_LOG_MAX_BYTES", Default: strconv.Itoa(1024 * mib),
		Doc:  "Bytes of events that RabbitMQ keeps on disk, or Redis in memory; beyond it the oldest are removed. RabbitMQ takes a change only when the stream is created.",
		kind: integer(100*mib, 1<<40, func(c *Config) *int { return &c.Events.MaxBytes })},
	{Name: "EVENT_LOG_TAIL_BYTES", Default: strconv.Itoa(64 * mib),
		Doc:  "Bytes of the newest events that this process keeps in memory, for clients that come back and for EVENT_LOG=memory; beyond it the oldest are removed.",
		kind: integer(mib, 64*1024*mib, func(c *Config) *int { return &c.Events.TailBytes })},
	{Name: "ROUTES_FILE", Reload: true, Doc: "YAML file with routes; they add to the built-in ones and replace those of the same event.",
		kind: anyText(func(c *Config) *string { return &c.Events.RoutesFile })},
	{Name: "MAX_EVENT_SIZE", Default: "262144", Doc: "Bytes of the body of a service's event. Larger ones are refused or go to the dead letters.",
		kind: integer(1024, 16*mib, func(c *Config) *int { return &c.Events.MaxSize })},
	{Name: "PUBLISH_TOKEN", Reload: true, Secret: true,
		Doc:  "Bearer token that POST /events/{key} requires. Without it the endpoint is closed in production, and in development open to programs on this machine.",
		kind: anyText(func(c *Config) *string { return &c.Events.PublishToken })},

	{Group: "Presence", Name: "PRESENCE_EVENTS", Default: "false",
		Doc:  "Publish user.online, user.offline, room.occupied and room.vacated, and answer GET /users/{id} and POST /users. Requires Redis and RabbitMQ.",
		kind: boolean(func(c *Config) *bool { return &c.Presence.Events })},
	{Name: "PRESENCE_EXCHANGE", Default: "hometrip_presence", Doc: "Topic exchange of RabbitMQ to which these events are published.",
		kind: checked("a name", func(text string) bool { return text != "" }, func(c *Config) *string { return &c.Presence.Exchange })},
	{Name: "PRESENCE_LAST_SEEN", Default: strconv.Itoa(30 * 24 * hour),
		Doc:  "How long Redis keeps the time at which a user was last online. 0: not at all.",
		kind: millis(0, 366*24*hour, func(c *Config) *time.Duration { return &c.Presence.LastSeen })},

	{Group: "Services", Name: "MESSAGE_SERVICE_URL", Doc: "Address of the message service. Only gateway doctor uses it.",
		kind: webURL(func(c *Config) *string { return &c.Services.Message })},
	{Name: "BOOKING_SERVICE_URL", Doc: "Address of the booking service. Only gateway doctor uses it.",
		kind: webURL(func(c *Config) *string { return &c.Services.Booking })},
	{Name: "NOTIFICATION_SERVICE_URL", Doc: "Address of the notification service. Only gateway doctor uses it.",
		kind: webURL(func(c *Config) *string { return &c.Services.Notification })},
}

// Text returns the value that the setting has in c, as it would be set.
func (s Setting) Text(c *Config) string { return s.kind.text(c) }

// Set reads text into c. It returns false if text is not allowed.
func (s Setting) Set(c *Config, text string) bool { return s.kind.set(c, text) }

// Show returns text without secrets, including those in an address.
func (s Setting) Show(text string) string {
	if text != "" && (s.Secret || strings.Contains(text, "@")) {
		return hidden
	}
	return secret.HideInURLs(text)
}
