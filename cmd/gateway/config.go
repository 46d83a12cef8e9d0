package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/joho/godotenv"

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

// hidden stands for a secret wherever settings are shown.
const hidden = secret.Hidden

// A Config is the environment as values. It is read once at the start and not
// changed afterwards. The table in config_settings.go says what each field
// means; it is shown with its secrets hidden, however it is formatted.
type Config struct {
	Environment string // NODE_ENV
	Host        string
	Port        int // 0: any free one
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
	EphemeralSecret bool // JWTSecret was made up for this run

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
	JoinTimeout     time.Duration
	MaxPublishQueue int // messages
	MaxPublishBytes int

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

	RoutesFile   string // "": only the built-in routes
	MaxEventSize int    // bytes
	PublishToken string

	MessageServiceURL      string
	BookingServiceURL      string
	NotificationServiceURL string

	succeeds bool // it takes the place of a process that runs; not a setting
}

// readConfig returns the settings of the process: its environment first, then
// the file .env in the working directory, then the defaults.
func readConfig() (Config, error) {
	file, err := readDotenv(".env")
	if err != nil {
		return Config{}, settingsError{err}
	}
	return parseConfig(os.LookupEnv, file)
}

// parseConfig returns the settings found by lookup, or in file, or by default.
// The error names everything that is wrong, a line for each.
func parseConfig(lookup func(string) (string, bool), file map[string]string) (Config, error) {
	var cfg Config
	var wrong []error
	for _, s := range settings {
		if text := s.find(lookup, file); !s.kind.set(&cfg, text) {
			wrong = append(wrong, fmt.Errorf("%s=%q: want %s", s.name, s.show(text), s.kind.allowed))
		}
	}
	wrong = append(wrong, cfg.contradictions()...)
	if err := errors.Join(wrong...); err != nil {
		return Config{}, settingsError{err}
	}
	if cfg.keys() == 0 {
		cfg.JWTSecret, cfg.EphemeralSecret = rand.Text(), true
	}
	return cfg, nil
}

// find returns the text of a setting. An empty one counts as not set, unless
// empty means something.
func (s setting) find(lookup func(string) (string, bool), file map[string]string) string {
	if text, ok := lookup(s.name); ok && (text != "" || s.blank) {
		return text
	}
	if text, ok := file[s.name]; ok && (text != "" || s.blank) {
		return text
	}
	return s.def
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
	if c.RoomPolicy == authz.Webhook && c.RoomAuthURL == "" {
		wrong = append(wrong, errors.New("ROOM_AUTH_URL: want a value with ROOM_POLICY=webhook"))
	}
	if c.RoomPolicy == authz.Redis && !c.UseRedis {
		wrong = append(wrong, errors.New("ROOM_POLICY=redis: want USE_REDIS=true"))
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

// readDotenv returns the variables in the file, none when there is no file.
func readDotenv(path string) (map[string]string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	values, err := godotenv.Unmarshal(literalDollars(string(text)))
	if err != nil {
		// The parser quotes the rest of the file, and with it secrets.
		reason, _, _ := strings.Cut(err.Error(), " near ")
		return nil, fmt.Errorf("%s: %s", path, reason)
	}
	return values, nil
}

// literalDollars keeps "$" from meaning a variable, as it does not for the
// Node gateway, whose .env files and passwords are to work unchanged.
func literalDollars(text string) string {
	lines := strings.SplitAfter(text, "\n")
	for i, line := range lines {
		if _, value, _ := strings.Cut(line, "="); !strings.HasPrefix(strings.TrimSpace(value), "'") {
			lines[i] = strings.ReplaceAll(line, "$", `\$`)
		}
	}
	return strings.Join(lines, "")
}
