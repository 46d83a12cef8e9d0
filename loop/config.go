package loop

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/hometrip/gateway/loop/limits"
	"github.com/hometrip/gateway/rooms"
)

// enginePath is the path of Engine.IO, which every client uses by default.
const enginePath = "/socket.io/"

// Limits that are not settings.
const (
	bodyTimeout    = 30 * time.Second // for a request's body, after its head
	writtenTimeout = 30 * time.Second // for the client to take the last reply
	upgradeTimeout = 10 * time.Second // from the probing WebSocket to its upgrade packet
	lingerTimeout  = 2 * time.Second  // for the peer to close after our close frame
	refusedTimeout = time.Second      // for the client to read the reason of a refusal
	adminHandlers  = 16               // batches of requests outside enginePath that are handled at once
	adminBatches   = 256              // batches that are handled or wait
	adminBytes     = 16 << 20         // of all their requests
	adminTimeout   = 10 * time.Second // for one request to be handled
	preparedMaxAge = 2 * time.Second  // of a prepared answer; an older one is not sent
	maxBatch       = 64               // pipelined requests answered together
	maxMoving      = 128              // connections on their way between loops; each holds two descriptors
)

// Shares of a turn: how much a loop does before it looks at its sockets again.
const (
	flushAtOnce  = 8         // sessions written to without waiting for the round's end
	writeAtOnce  = 4         // callbacks that write at once after a round with a single speaker
	flushBatch   = 128       // sessions written to; about 1 ms of write(2)
	lookAhead    = 16        // sessions whose memory is read ahead of the first write
	inputBatch   = 256       // packets of one client
	requestBatch = 16        // requests of one client: each is a write(2)
	deliverBatch = 256 << 10 // bytes of broadcasts from outside, each counted once
	readBuffer   = 64 << 10  // bytes, one for each loop
)

// Config configures a Server. It must not be modified after it has been passed
// to New.
type Config struct {
	Address string // host:port to listen on; port 0 picks one
	Loops   int    // event loops, the hub's number of shards

	// SharePort lets another process of the same user listen on the port.
	// Without it Run returns ErrPortTaken if one does.
	SharePort bool

	Hub     *rooms.Hub
	Handler http.Handler // answers what is not Engine.IO; nil: 404

	// Prepared are paths whose GET answers are prepared: the handler makes them
	// every prepareInterval, without a token, and the loops send the latest
	// one.
	Prepared []string

	// Authorised reports whether a bearer token belongs to a service. Requests
	// with such a token have a share of the handler of their own. nil: no token
	// does.
	Authorised func(token string) bool

	Log *slog.Logger

	PingInterval time.Duration // between a pong and the next ping
	PingTimeout  time.Duration // for the pong
	HeadTimeout  time.Duration // for a request head, from the start of the connection
	KeepAlive    time.Duration // that an HTTP connection may idle between requests
	DrainPeriod  time.Duration // over which Drain spreads its closes

	MaxHead        int // bytes of a request head
	MaxPayload     int // bytes of a request body or a packet
	MaxPending     int // bytes waiting for one session
	MaxReplay      int // bytes beside MaxPending, of what a client missed that has come back
	MaxConnections int // open at once; one more gets 503

	// MaxPerAddress limits the connections, and the polling sessions, of one
	// IPv4 address or IPv6 /64; 0: no limit.
	MaxPerAddress int

	Handshakes           rooms.Rate // of Engine.IO sessions; further ones get 503
	HandshakesPerAddress rooms.Rate // the same for each address
	Bytes                rooms.Rate // that a client may send

	// MaxHeld limits the bytes held for all clients of the node together: what
	// they have not read, and incomplete messages; 0: no limit.
	MaxHeld int

	// TrustedProxies are proxies whose X-Forwarded-For is believed, and, if
	// ProxyProtocol is set, whose headers of version 2 of the PROXY protocol.
	TrustedProxies []netip.Prefix
	ProxyProtocol  bool

	Origins    Origins // whose pages may connect
	LocalPages bool    // also origins of the browser's own machine, with any port

	// Successor: another process serves the port, and the kernel gives that
	// process every new connection until it hands over.
	Successor bool

	// peer creates what runs above Engine.IO; nil: the hub's sockets. Tests set
	// it to speak plain Engine.IO.
	peer func(w *worker, s *session, token string, now time.Time) peer
}

func (c *Config) check() error {
	switch {
	case c.Hub == nil || c.Log == nil:
		return errors.New("loop: Config needs a Hub and a Log")
	case c.Loops < 1 || c.Loops > rooms.MaxShards:
		return fmt.Errorf("loop: %d loops, allowed are 1 to %d", c.Loops, rooms.MaxShards)
	case c.Loops != c.Hub.Shards():
		return fmt.Errorf("loop: %d loops for a hub of %d shards, want as many", c.Loops, c.Hub.Shards())
	case c.PingInterval <= 0 || c.PingTimeout <= 0 || c.HeadTimeout <= 0 || c.KeepAlive <= 0:
		return errors.New("loop: PingInterval, PingTimeout, HeadTimeout and KeepAlive must be positive")
	case c.MaxHead <= 0 || c.MaxPayload <= 0 || c.MaxPending <= 0 || c.MaxConnections <= 0:
		return errors.New("loop: MaxHead, MaxPayload, MaxPending and MaxConnections must be positive")
	case c.Bytes.PerSecond > 0 && c.Bytes.Burst < 2*c.MaxPayload:
		return fmt.Errorf("loop: a burst of %d bytes does not let two messages of %d through", c.Bytes.Burst, c.MaxPayload)
	}
	return nil
}

// limits returns the limits by address and rate.
func (c *Config) limits() limits.Limits {
	return limits.Limits{PerSource: c.MaxPerAddress, SourceRate: c.HandshakesPerAddress, NodeRate: c.Handshakes}
}
