// Package config reads the gateway's settings: environment variables, and files
// of NAME=value lines, become a Config. settings.go, limits.go and recovery.go
// list every setting; kinds.go says how each kind of value is read and checked.
package config

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/hometrip/gateway/internal/secret"
	"github.com/hometrip/gateway/rooms"
)

// Values of NODE_ENV.
const (
	Development = "development"
	Test        = "test"
	Staging     = "staging"
	Production  = "production"
)

// Values of CONSOLE.
const (
	ConsoleAuto = "auto"
	ConsoleOn   = "true"
	ConsoleOff  = "false"
)

// Values of LOG_FORMAT.
const (
	FormatAuto = "auto"
	FormatJSON = "json"
	FormatText = "text"
)

// Values of SOCKETIO_ADAPTER_EVENTS.
const (
	AdapterNotRouted = "not-routed"
	AdapterAll       = "all"
	AdapterCompare   = "compare"
)

// Values of EVENT_LOG.
const (
	LogAuto     = "auto"
	LogRabbitMQ = "rabbitmq"
	LogRedis    = "redis"
	LogMemory   = "memory"
)

// RecoveryModes are the values of RECOVERY.
var RecoveryModes = map[string]rooms.RecoveryMode{
	"off": rooms.RecoveryOff, "asked": rooms.RecoveryAsked, "all": rooms.RecoveryAll,
}

// MinSecret is the least number of bytes of JWT_SECRET in a deployed gateway,
// unless ALLOW_WEAK_SECRET is set.
const MinSecret = 16

// hidden replaces a secret wherever settings are shown.
const hidden = secret.Hidden

// A Config has the values of all settings, grouped by what uses them. It is
// read once at the start and not changed afterwards. The tables in settings.go
// and limits.go say what each field means; secrets are hidden however it is
// formatted.
type Config struct {
	Server      Server
	Metrics     Metrics
	Canary      Canary
	Console     Console
	Auth        Auth
	Connections Connections
	Limits      Limits
	Rooms       Rooms
	Shutdown    Shutdown
	Log         Log
	Redis       Redis
	Cluster     Cluster
	Adapter     Adapter
	RabbitMQ    RabbitMQ
	Events      Events
	Recovery    Recovery
	Presence    Presence
	Services    Services
}

// Server has the settings of the port, and who may connect to it.
type Server struct {
	Environment string // NODE_ENV
	Host        string
	Port        int // 0: any free one
	SharePort   bool
	CORSOrigins []string
	AdminAddr   string // "": everything is on Port
}

// Metrics are the settings of GET /metrics.
type Metrics struct {
	hiding

	Enabled    bool
	RoomsLimit int // rooms listed
	Token      string
}

// Canary are the settings of the client inside the gateway.
type Canary struct {
	Enabled  bool
	Interval time.Duration
}

// Console are the settings of the page at GET /.
type Console struct {
	hiding

	Mode  string // ConsoleAuto, ConsoleOn or ConsoleOff
	Token string
}

// Auth has the settings of which tokens are accepted.
type Auth struct {
	hiding

	Secret          string
	PublicKey       string // PEM text or path
	JWKSURL         string
	Issuer          string
	Audience        string
	AllowAnonymous  bool
	AllowWeakSecret bool
	EphemeralSecret bool   // Secret was made up
	SecretFile      string // where a secret that was made up is kept; "": nowhere
}

// Connections are the settings of TCP connections and sessions.
type Connections struct {
	EventLoops       int // 0: GOMAXPROCS, at most 64
	PingInterval     time.Duration
	PingTimeout      time.Duration
	ConnectTimeout   time.Duration
	HeadTimeout      time.Duration
	KeepAliveTimeout time.Duration
	TrustedProxies   []netip.Prefix
	ProxyProtocol    bool
}

// Limits bound what clients may do.
type Limits struct {
	Connections       int // 0: what RLIMIT_NOFILE allows, less a reserve
	PerIP             int // connections; 0: any number
	SocketsPerUser    int // 0: any number
	Handshakes        int // a second; 0: handshakesPerLoop for each loop
	HandshakesPerIP   int // a second; 0: any number
	HeadSize          int // bytes
	HTTPBufferSize    int // bytes
	Events            int // a second; 0: any number
	EventsBurst       int
	Bytes             int // a second; 0: any number
	PendingBytes      int
	TotalPendingBytes int // 0: a share of the memory
	Mailbox           int // messages
}

// Rooms has the settings of who may be in which room, and the limits of rooms.
type Rooms struct {
	hiding

	Policy            string // one of authz's
	Notifications     string // "policy" or "own"
	AuthURL           string
	AuthToken         string
	AuthTimeout       time.Duration
	AuthTTL           time.Duration
	AuthConcurrency   int
	PerSocket         int
	PerUser           int
	Bytes             int
	IDLength          int // bytes
	IDCharacters      rooms.Alphabet
	PresenceMembers   int // 0: any number
	PresencePerSecond int // for each event loop; 0: any number
}

// Shutdown has the settings of how the gateway stops.
type Shutdown struct {
	DrainPeriod    time.Duration
	Timeout        time.Duration
	HandoverSocket string // "": connections are not handed over
}

// Log are the settings of the gateway's log records.
type Log struct {
	Level         slog.Level
	Format        string // FormatAuto, FormatJSON or FormatText
	Dir           string // "": no files
	MaxSizeMB     int
	MaxFiles      int
	StatsInterval time.Duration // 0: never
}

// Redis has the settings of the connection to Redis.
type Redis struct {
	hiding

	Use       bool
	Host      string
	Port      int
	Username  string
	Password  string
	DB        int
	KeyPrefix string
	URL       string // instead of host, port, user and password
}

// Cluster are the settings of what the nodes send each other.
type Cluster struct {
	Lease        time.Duration
	RoomLinger   time.Duration
	PublishQueue int // messages
	PublishBytes int
}

// Adapter are the settings of a fleet shared with Node servers.
type Adapter struct {
	Key    string // "": none
	Events string // AdapterNotRouted, AdapterAll or AdapterCompare
}

// RabbitMQ has the settings of the connection to RabbitMQ.
type RabbitMQ struct {
	hiding

	Use         bool
	Host        string
	Port        int
	User        string
	Password    string
	VHost       string
	Exchanges   []string
	QueuePrefix string
	Prefetch    int
	URLs        []string // empty: one made of host, port, user, password and vhost
}

// Events are the settings of the services' events.
type Events struct {
	hiding

	Log          string // LogAuto, LogRabbitMQ, LogRedis or LogMemory
	Retention    time.Duration
	MaxBytes     int
	TailBytes    int
	RoutesFile   string // "": only the built-in routes
	MaxSize      int    // bytes
	PublishToken string
}

// Presence are the settings of the events that tell services which users and
// rooms have sockets.
type Presence struct {
	Events   bool
	Exchange string
	LastSeen time.Duration // 0: it is not kept
}

// Recovery are the settings of clients that come back.
type Recovery struct {
	Mode            string // a key of RecoveryModes
	Window          time.Duration
	MaxEvents       int
	MaxBytes        int
	PresenceGrace   time.Duration
	MaxSessions     int
	MaxSessionBytes int
	MaxPerUser      int
}

// Services has the addresses of the services that the doctor checks.
type Services struct {
	Message      string
	Booking      string
	Notification string
}
