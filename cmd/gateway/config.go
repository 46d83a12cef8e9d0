package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/hometrip/gateway/internal/authz"
	"github.com/hometrip/gateway/rooms"

	"github.com/hometrip/gateway/internal/secret"
)

// Values of NODE_ENV.
const (
	development = "development"
	test        = "test"
	staging     = "staging"
	production  = "production"
)

// minSecret is how many bytes JWT_SECRET has at least where others than
// developers reach the gateway, unless ALLOW_WEAK_SECRET says otherwise.
const minSecret = 16

// hidden stands for a secret wherever settings are shown.
const hidden = secret.Hidden

// A Config is the environment as values. It is read once at the start and not
// changed afterwards. The table in config_settings.go says what each field
// means; it is shown with its secrets hidden, however it is formatted.
type Config struct {
	Environment string // NODE_ENV
	Host        string
	Port        int // 0: any free one
	SharePort   bool
	CORSOrigins []string
	Metrics     bool

	MetricsRoomsLimit int // rooms that GET /metrics lists
	MetricsToken      string
	AdminAddr         string // "": everything is on Port

	Canary         bool
	CanaryInterval time.Duration

	Console      string // "auto", "true" or "false"
	ConsoleToken string

	JWTSecret       string
	JWTPublicKey    string // PEM text or path
	JWTJWKSURL      string
	JWTIssuer       string
	JWTAudience     string
	AllowAnonymous  bool
	AllowWeakSecret bool
	EphemeralSecret bool   // JWTSecret was made up
	SecretFile      string // where a secret that was made up is kept; "": nowhere

	EventLoops       int // 0: GOMAXPROCS, at most 64
	PingInterval     time.Duration
	PingTimeout      time.Duration
	ConnectTimeout   time.Duration
	HeadTimeout      time.Duration
	KeepAliveTimeout time.Duration

	MaxConnections     int // 0: what RLIMIT_NOFILE allows, less a reserve
	MaxPerIP           int // 0: any number
	MaxPerUser         int // 0: any number
	MaxHandshakes      int // a second; 0: handshakesPerLoop for each loop
	MaxHandshakesPerIP int // a second; 0: any number
	TrustedProxies     []netip.Prefix
	ProxyProtocol      bool
	MaxHeadSize        int // bytes
	MaxHTTPBufferSize  int // bytes
	MaxEvents          int // a second; 0: any number
	MaxEventsBurst     int
	MaxBytes           int // a second; 0: any number
	MaxPendingBytes    int // bytes
	MaxTotalPending    int // bytes; 0: a share of the memory
	MaxMailbox         int // letters

	RoomPolicy          string // one of authz's
	NotificationRooms   string // "policy" or "own"
	RoomAuthURL         string
	RoomAuthToken       string
	RoomAuthTimeout     time.Duration
	RoomAuthTTL         time.Duration
	RoomAuthConcurrency int
	MaxRooms            int
	MaxUserRooms        int
	MaxRoomBytes        int
	MaxRoomID           int // bytes
	RoomIDCharacters    rooms.Alphabet
	PresenceMaxMembers  int // 0: any number
	MaxPresence         int // a second and event loop; 0: any number

	DrainPeriod     time.Duration
	ShutdownTimeout time.Duration
	HandoverSocket  string // "": connections are not handed over

	LogLevel         slog.Level
	LogFormat        string // "auto", "json" or "text"
	LogDir           string // "": no files
	LogMaxSizeMB     int
	LogMaxFiles      int
	LogStatsInterval time.Duration // 0: never

	UseRedis      bool
	RedisHost     string
	RedisPort     int
	RedisPassword string
	RedisDB       int
	KeyPrefix     string
	RedisUsername string
	RedisURL      string // instead of host, port, user and password

	NodeLease       time.Duration
	RoomLinger      time.Duration
	MaxPublishQueue int // messages
	MaxPublishBytes int

	AdapterKey    string // "": no fleet on Node
	AdapterEvents string // adapterNotRouted, adapterAll or adapterCompare

	UseRabbitMQ         bool
	RabbitMQHost        string
	RabbitMQPort        int
	RabbitMQUser        string
	RabbitMQPassword    string
	RabbitMQVHost       string
	RabbitMQExchanges   []string
	RabbitMQQueuePrefix string
	RabbitMQPrefetch    int
	RabbitMQURLs        []string // empty: one made of the five above

	EventLog          string // one of the values in eventlog.go
	EventLogRetention time.Duration
	EventLogMaxBytes  int
	EventLogTailBytes int

	Recovery            string // one of recoveryModes
	RecoveryWindow      time.Duration
	RecoveryMaxEvents   int
	RecoveryMaxBytes    int
	PresenceGrace       time.Duration
	MaxRecoverySessions int
	MaxRecoveryBytes    int
	MaxRecoveryPerUser  int

	PresenceEvents   bool
	PresenceExchange string
	PresenceLastSeen time.Duration

	RoutesFile   string // "": only the built-in routes
	MaxEventSize int    // bytes
	PublishToken string

	MessageServiceURL      string
	BookingServiceURL      string
	NotificationServiceURL string
}

// makeUpSecret makes up JWT_SECRET where there is no key at all.
func (c *Config) makeUpSecret() {
	if c.keys() == 0 {
		c.JWTSecret, c.EphemeralSecret = rand.Text(), true
	}
}

// contradictions returns what is wrong between settings.
func (c Config) contradictions() (wrong []error) {
	if c.keys() > 1 {
		wrong = append(wrong, errors.New("JWT_SECRET, JWT_PUBLIC_KEY, JWT_JWKS_URL: want only one of them"))
	}
	if c.keys() == 0 && c.deployed() {
		wrong = append(wrong, fmt.Errorf(
			"JWT_SECRET: want a value with NODE_ENV=%s (or JWT_PUBLIC_KEY, or JWT_JWKS_URL)", c.Environment))
	}
	if c.deployed() && c.JWTSecret != "" && len(c.JWTSecret) < minSecret && !c.AllowWeakSecret {
		wrong = append(wrong, fmt.Errorf("JWT_SECRET: %d bytes, want %d or more: openssl rand -base64 48 makes one; ALLOW_WEAK_SECRET=true takes it as it is",
			len(c.JWTSecret), minSecret))
	}
	if c.RoomPolicy == authz.Webhook && c.RoomAuthURL == "" {
		wrong = append(wrong, errors.New("ROOM_AUTH_URL: want a value with ROOM_POLICY=webhook"))
	}
	if c.RoomPolicy == authz.Redis && !c.UseRedis {
		wrong = append(wrong, errors.New("ROOM_POLICY=redis: want USE_REDIS=true"))
	}
	if c.EventLog == logRedis && !c.UseRedis {
		wrong = append(wrong, errors.New("EVENT_LOG=redis: want USE_REDIS=true"))
	}
	if c.PresenceEvents && (!c.UseRedis || !c.UseRabbitMQ) {
		wrong = append(wrong, errors.New("PRESENCE_EVENTS=true: want USE_REDIS=true and USE_RABBITMQ=true"))
	}
	if c.MaxEvents > 0 && c.MaxEventsBurst > 3600*c.MaxEvents {
		wrong = append(wrong, fmt.Errorf("MAX_EVENTS_BURST=%d: want at most an hour's worth of MAX_EVENTS_PER_SECOND (%d)",
			c.MaxEventsBurst, 3600*c.MaxEvents))
	}
	if c.ProxyProtocol && len(c.TrustedProxies) == 0 {
		wrong = append(wrong, errors.New("PROXY_PROTOCOL=true: want the load balancers in TRUSTED_PROXIES"))
	}
	if c.Canary && c.keys() > 0 && c.JWTSecret == "" {
		wrong = append(wrong, errors.New("CANARY=true: want JWT_SECRET, with which it makes its token"))
	}
	if c.hasConsole() && c.ConsoleToken == "" && c.deployed() {
		wrong = append(wrong, fmt.Errorf("CONSOLE_TOKEN: want a value with CONSOLE=%s and NODE_ENV=%s", c.Console, c.Environment))
	}
	if c.HandoverSocket != "" && c.Port == 0 {
		wrong = append(wrong, errors.New("HANDOVER_SOCKET with PORT=0: want a port, which the next process can have too"))
	}
	if c.DrainPeriod > c.ShutdownTimeout {
		wrong = append(wrong, fmt.Errorf("DRAIN_PERIOD=%d: want at most SHUTDOWN_TIMEOUT (%d)",
			c.DrainPeriod.Milliseconds(), c.ShutdownTimeout.Milliseconds()))
	}
	return wrong
}

// deployed reports whether others than developers reach this gateway.
func (c Config) deployed() bool {
	return c.Environment == production || c.Environment == staging
}

// keys returns how many ways to verify tokens are configured.
func (c Config) keys() (n int) {
	for _, key := range []string{c.JWTSecret, c.JWTPublicKey, c.JWTJWKSURL} {
		if key != "" {
			n++
		}
	}
	return n
}

// String returns the settings as NAME=value, secrets hidden.
func (c Config) String() string {
	words := make([]string, len(settings))
	for i, s := range settings {
		words[i] = s.name + "=" + s.show(s.kind.text(&c))
	}
	return strings.Join(words, " ")
}

// GoString returns the same as String, so that %#v hides secrets too.
func (c Config) GoString() string { return c.String() }

// LogValue returns the settings as a group, secrets hidden.
func (c Config) LogValue() slog.Value {
	attrs := make([]slog.Attr, len(settings))
	for i, s := range settings {
		attrs[i] = slog.String(s.name, s.show(s.kind.text(&c)))
	}
	return slog.GroupValue(attrs...)
}
