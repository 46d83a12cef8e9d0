package config

import (
	"net"
	"strconv"

	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/upstream/rabbitmq"
)

// Deployed reports whether the gateway is not only for developers.
func (c Config) Deployed() bool {
	return c.Server.Environment == Production || c.Server.Environment == Staging
}

// Keys returns how many ways to verify tokens are configured.
func (c Config) Keys() (n int) {
	for _, key := range []string{c.Auth.Secret, c.Auth.PublicKey, c.Auth.JWKSURL} {
		if key != "" {
			n++
		}
	}
	return n
}

// HasConsole reports whether GET / is the console.
func (c Config) HasConsole() bool {
	return c.Console.Mode == ConsoleOn || c.Console.Mode == ConsoleAuto && !c.Deployed()
}

// MintsTokens reports whether the gateway issues tokens for trying it.
func (c Config) MintsTokens() bool {
	return c.Server.Environment == Development && c.Auth.Secret != ""
}

// ShowsFigures reports whether the console may show figures. It may not if
// metrics on PORT require a token and the console does not.
func (c Config) ShowsFigures() bool {
	return c.Metrics.Enabled && (c.Console.Token != "" || c.Metrics.Token == "" && c.Server.AdminAddr == "")
}

// EventLogKind returns where the log is, one of the values of EVENT_LOG but
// auto.
func (c Config) EventLogKind() string {
	switch {
	case c.Events.Log != LogAuto:
		return c.Events.Log
	case c.RabbitMQ.Use:
		return LogRabbitMQ
	case c.Redis.Use:
		return LogRedis
	}
	return LogMemory
}

// Recovers reports whether clients can recover sessions.
func (c Config) Recovers() bool { return RecoveryModes[c.Recovery.Mode] != rooms.RecoveryOff }

// TailBytes is how many bytes of the log are kept for clients that come back.
func (c Config) TailBytes() int {
	if !c.Recovers() {
		return 0
	}
	return c.Events.TailBytes
}

const (
	// handshakesPerLoop is a fifth of what a loop can do, so that a deploy in
	// which all clients reconnect at once leaves time for those that are
	// connected.
	handshakesPerLoop = 2000

	// byteBurst and handshakeBurst are how many seconds' worth of bytes or
	// handshakes may come at once.
	byteBurst      = 4
	handshakeBurst = 2
)

// HandshakeRate returns the rate of new sessions of the node.
func (c Config) HandshakeRate(loops int) rooms.Rate {
	n := c.Limits.Handshakes
	if n == 0 {
		n = handshakesPerLoop * loops
	}
	return rooms.Rate{PerSecond: n, Burst: handshakeBurst * n}
}

// AddressHandshakeRate returns the rate of new sessions of one address.
func (c Config) AddressHandshakeRate() rooms.Rate {
	return rooms.Rate{PerSecond: c.Limits.HandshakesPerIP, Burst: handshakeBurst * c.Limits.HandshakesPerIP}
}

// ByteRate returns the rate at which a client may send.
func (c Config) ByteRate() rooms.Rate {
	return rooms.Rate{PerSecond: c.Limits.Bytes, Burst: byteBurst * max(c.Limits.Bytes, c.Limits.HTTPBufferSize)}
}

// RoomLimits returns what a client may do in rooms.
func (c Config) RoomLimits() rooms.Limits {
	return rooms.Limits{
		Rooms: c.Rooms.PerSocket, UserRooms: c.Rooms.PerUser, RoomBytes: c.Rooms.Bytes, RoomID: c.Rooms.IDLength, RoomIDs: c.Rooms.IDCharacters,
		Events:  rooms.Rate{PerSecond: c.Limits.Events, Burst: c.Limits.EventsBurst},
		PerUser: c.Limits.SocketsPerUser, Presence: c.Rooms.PresenceMembers,
		Telling: rooms.Rate{PerSecond: c.Rooms.PresencePerSecond, Burst: c.Rooms.PresencePerSecond},
	}
}

// RabbitMQAddresses returns the addresses of RabbitMQ's nodes.
func (c Config) RabbitMQAddresses() []string {
	if len(c.RabbitMQ.URLs) > 0 {
		return c.RabbitMQ.URLs
	}
	return []string{rabbitmq.Address(net.JoinHostPort(c.RabbitMQ.Host, strconv.Itoa(c.RabbitMQ.Port)),
		c.RabbitMQ.User, c.RabbitMQ.Password, c.RabbitMQ.VHost)}
}
